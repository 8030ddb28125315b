"""One stage that loads a small ONNX model: the line classifier that ships inside the wheel of rapidocr."""

import numpy as np
import onnxruntime  # noqa: F401 - what the stages need is imported before replicas are forked

from regrain import App, onnx

MODEL = "rapidocr:models/ch_ppocr_mobile_v2.0_cls_mobile.onnx"
SHAPE = (1, 3, 48, 192)

app = App("model", sample=b"1")


class Classify:
    def __init__(self) -> None:
        self.net = onnx(MODEL)

    def __call__(self, body: bytes) -> list[float]:
        return self.net(np.full(SHAPE, float(body), np.float32))[0].ravel().tolist()


classify = app.stage()(Classify)


@app.flow
def model(body: bytes) -> list[float]:
    return classify(body)
