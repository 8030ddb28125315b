"""The pipeline on Regrain. What the stages import is imported here, before replicas are forked."""

import numpy as np
import onnxruntime  # noqa: F401 - shared by all replicas
from PIL import JpegImagePlugin  # noqa: F401 - likewise

from benchmarks.peers import workloads
from regrain import App

app = App("pipeline")


@app.stage()
def decode(body: bytes) -> np.ndarray:
    return workloads.decode(body)


detect = app.stage()(workloads.Detect)
classify = app.stage()(workloads.Classify)


@app.flow
def pipeline(body: bytes) -> dict[str, float]:
    return classify(detect(decode(body)))
