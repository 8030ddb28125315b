"""The stages that every peer runs: imported by all of them, so that they differ in the serving alone.

hello: one stage that answers. noop: three stages that hand on one float32 tensor of 602,112 bytes and compute
nothing. pipeline: JPEG decode, a CNN that finds a box and crops it, a CNN that classifies the crop; the same
tensor is handed on twice.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

SHAPE = (3, 224, 224)
SIDE = SHAPE[1]
STAGES = {"hello": 1, "noop": 3, "pipeline": 3}
WORKLOADS = tuple(STAGES)


def hello(body: bytes) -> dict[str, int]:
    """Answer a constant."""
    return {"ok": len(body)}


def receive(body: bytes) -> np.ndarray:
    """Return the body as a tensor, in place."""
    return np.frombuffer(body, np.float32).reshape(SHAPE)


def hand_on(tensor: np.ndarray) -> np.ndarray:
    """Return what came."""
    return tensor


def count(tensor: np.ndarray) -> dict[str, int]:
    """Return the number of elements."""
    return {"n": int(tensor.size)}


def decode(body: bytes) -> np.ndarray:
    """Return a JPEG as a tensor in [-1, 1], channels first."""
    from PIL import Image

    image = Image.open(io.BytesIO(body)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    scaled = np.asarray(image, np.float32) * np.float32(1 / 127.5) - np.float32(1)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


class Detect:
    """Finds a box and returns it, enlarged to the full frame."""

    def __init__(self) -> None:
        self._session = _session("detect.onnx")

    def __call__(self, tensor: np.ndarray) -> np.ndarray:
        x, y, width, height = self._session.run(None, {"x": tensor[None]})[0][0].tolist()
        width, height = 0.5 + width / 2, 0.5 + height / 2
        left, top = min(max(x - width / 2, 0.0), 1 - width), min(max(y - height / 2, 0.0), 1 - height)
        grid = np.arange(SIDE) / SIDE
        columns = ((left + grid * width) * SIDE).astype(np.intp)
        rows = ((top + grid * height) * SIDE).astype(np.intp)
        return np.ascontiguousarray(tensor[:, rows][:, :, columns])


class Classify:
    """Returns the likeliest label and its score."""

    def __init__(self) -> None:
        self._session = _session("classify.onnx")

    def __call__(self, tensor: np.ndarray) -> dict[str, float]:
        scores = self._session.run(None, {"x": tensor[None]})[0][0]
        label = int(scores.argmax())
        return {"label": label, "score": round(float(scores[label]), 4)}


def stage(workload: str, place: int) -> Callable[[object], object]:
    """Return a stage, its model loaded."""
    if workload == "pipeline":
        return (lambda: decode, Detect, Classify)[place]()
    return {"hello": (hello,), "noop": (receive, hand_on, count)}[workload][place]


def fused(workload: str) -> Callable[[bytes], object]:
    """Return all stages as one function."""
    stages = [stage(workload, place) for place in range(STAGES[workload])]

    def run(body: bytes) -> object:
        value: object = body
        for call in stages:
            value = call(value)
        return value

    return run


def body(workload: str, seed: int) -> bytes:
    """Return what is sent. One byte for hello, since some peers refuse an empty body."""
    if workload == "hello":
        return b"x"
    if workload == "noop":
        return np.random.default_rng(seed).standard_normal(SHAPE, np.float32).tobytes()
    return (models() / "sample.jpg").read_bytes()


def models() -> Path:
    """Return the folder that `python -m benchmarks.peers.models` wrote."""
    return Path(os.environ["BENCH_MODELS"])


def _session(name: str):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(models() / name), options, providers=["CPUExecutionProvider"])
