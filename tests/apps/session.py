"""Makes an onnxruntime session at import, which a fork would break."""

import importlib.resources

import onnxruntime

from regrain import App

_MODEL = importlib.resources.files("rapidocr") / "models" / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"
_OPTIONS = onnxruntime.SessionOptions()
_OPTIONS.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(str(_MODEL), _OPTIONS, providers=["CPUExecutionProvider"])
app = App("session")


@app.stage()
def count(number: int) -> int:
    return len(session.get_inputs()) + number


@app.flow
def run(number: int) -> int:
    return count(number)
