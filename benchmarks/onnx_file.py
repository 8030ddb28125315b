"""Write ONNX models from a seed, without the onnx package: protobuf by hand, fields numbered as in onnx.proto."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Shape = Sequence[int | str]
FLOAT, INT, GRAPH, INTS, OPSET, IR_VERSION, EXTERNAL = 1, 2, 5, 7, 17, 8, 1
ALIGNMENT = 4096


def node(op: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int] | bytes) -> bytes:
    """Return a node; its attributes are whole numbers, lists of them, or graphs."""
    names = b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(4, op)
    return names + b"".join(_field(5, _attribute(name, value)) for name, value in attributes.items())


def graph(
    nodes: Sequence[bytes],
    weights: Mapping[str, Array],
    takes: Mapping[str, Shape],
    gives: Mapping[str, Shape],
    *,
    data: Path | None = None,
) -> bytes:
    """Return a graph of float32; its weights are in it, or in the file `data`."""
    tensors = []
    with (data or Path("/dev/null")).open("wb") as file:
        for name, array in weights.items():
            shape = b"".join(_field(1, length) for length in array.shape)
            tensor = shape + _field(2, FLOAT) + _field(8, name)
            if data is None:
                tensors.append(tensor + _field(9, array.tobytes()))
                continue
            file.seek(-file.tell() % ALIGNMENT, 1)
            place = {"location": data.name, "offset": str(file.tell()), "length": str(array.nbytes)}
            entries = (_field(13, _field(1, key) + _field(2, value)) for key, value in place.items())
            tensors.append(tensor + b"".join(entries) + _field(14, EXTERNAL))
            file.write(array.tobytes())
    parts = [_field(1, each) for each in nodes] + [_field(2, "g")] + [_field(5, each) for each in tensors]
    ports = [_field(11, _port(*port)) for port in takes.items()] + [
        _field(12, _port(*port)) for port in gives.items()
    ]
    return b"".join(parts + ports)


def write(path: Path, content: bytes) -> Path:
    """Write a graph as a model."""
    path.write_bytes(_field(1, IR_VERSION) + _field(7, content) + _field(8, _field(2, OPSET)))
    return path


def large(path: Path, *, seed: int, data: Path | None = None) -> Path:
    """Write a net of three convolutions and 25 matrices: 117 MB; x is (n, 3, 64, 64), y (n, 1024)."""
    random = np.random.default_rng(seed)
    weights: dict[str, Array] = {}
    nodes, last = [], "x"

    def weight(name: str, *shape: int) -> str:
        scale = np.float32(1 / np.sqrt(np.prod(shape[:-1] if len(shape) == 2 else shape[1:])))
        weights[name] = random.standard_normal(shape, np.float32) * scale
        return name

    for index, (taken, given) in enumerate(((3, 256), (256, 512), (512, 512))):
        inputs = [last, weight(f"c{index}", given, taken, 3, 3)]
        shape = {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
        nodes += [node("Conv", inputs, f"conv{index}", **shape), node("Relu", [f"conv{index}"], f"r{index}")]
        last = f"r{index}"
    nodes += [node("GlobalAveragePool", [last], "pool"), node("Flatten", ["pool"], "flat")]
    last = "flat"
    for index in range(25):
        inputs = [last, weight(f"w{index}", 1024 if index else 512, 1024)]
        nodes += [
            node("MatMul", inputs, f"m{index}"),
            node("Relu", [f"m{index}"], f"a{index}" if index < 24 else "y"),
        ]
        last = f"a{index}"
    return write(path, graph(nodes, weights, {"x": ("n", 3, 64, 64)}, {"y": ("n", 1024)}, data=data))


def _port(name: str, shape: Shape) -> bytes:
    lengths = (_field(1, length) if isinstance(length, int) else _field(2, length) for length in shape)
    dimensions = _field(2, b"".join(_field(1, length) for length in lengths))
    return _field(1, name) + _field(2, _field(1, _field(1, FLOAT) + dimensions))


def _attribute(name: str, value: int | Sequence[int] | bytes) -> bytes:
    if isinstance(value, int):
        return _field(1, name) + _field(3, value) + _field(20, INT)
    if isinstance(value, bytes):
        return _field(1, name) + _field(6, value) + _field(20, GRAPH)
    return _field(1, name) + b"".join(_field(8, each) for each in value) + _field(20, INTS)


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    payload = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])
