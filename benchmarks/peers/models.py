"""Write the two small CNNs and the JPEG of the pipeline: `python -m benchmarks.peers.models FOLDER`.

Made from fixed seeds so that nothing binary is kept; a net costs 3 to 5 ms on one core of the 2020s. Needs
the `onnx` package, which install.sh puts into the `tool` venv.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

OPSET, IR_VERSION = 13, 8
LAYERS = [(16, 2), (32, 2), (64, 2), *[(64, 1)] * 6]
"""Channels and stride of each 3x3 convolution."""


def network(path: Path, *, seed: int, outputs: int, sigmoid: bool) -> None:
    """Write a CNN: x float32 [N, 3, 224, 224] -> y float32 [N, outputs]."""
    random = np.random.default_rng(seed)
    nodes, weights = [], []

    def weight(name: str, *shape: int, scale: float) -> str:
        values = (random.standard_normal(shape) * scale).astype(np.float32)
        weights.append(numpy_helper.from_array(values, name))
        return name

    source, channels = "x", 3
    for index, (width, stride) in enumerate(LAYERS):
        kernel = weight(f"w{index}", width, channels, 3, 3, scale=(2 / (9 * channels)) ** 0.5)
        bias = weight(f"b{index}", width, scale=0.1)
        window = {"kernel_shape": [3, 3], "strides": [stride, stride], "pads": [1, 1, 1, 1]}
        nodes.append(helper.make_node("Conv", [source, kernel, bias], [f"c{index}"], **window))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        source, channels = f"r{index}", width
    last = weight("w", channels, outputs, scale=channels**-0.5)
    nodes.append(helper.make_node("GlobalAveragePool", [source], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], axis=1))
    nodes.append(helper.make_node("MatMul", ["flat", last], ["linear"]))
    nodes.append(helper.make_node("Sigmoid" if sigmoid else "Identity", ["linear"], ["y"]))
    takes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 224, 224])
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", outputs])
    graph = helper.make_graph(nodes, "cnn", [takes], [gives], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def picture(path: Path, *, seed: int, width: int = 320, height: int = 240) -> None:
    """Write a JPEG of coloured waves and noise."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [127 + 90 * np.sin(columns / 37 + shift) + 30 * np.cos(rows / 23 - shift) for shift in range(3)]
    noise = np.random.default_rng(seed).normal(0, 8, (height, width, 3))
    pixels = (np.stack(waves, -1) + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, "JPEG", quality=85)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    network(folder / "detect.onnx", seed=1, outputs=4, sigmoid=True)
    network(folder / "classify.onnx", seed=2, outputs=100, sigmoid=False)
    picture(folder / "sample.jpg", seed=7)
