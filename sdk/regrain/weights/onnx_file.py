"""Lay the weights of an ONNX model out so that they can be used where they are mapped.

onnxruntime writes small weights and the matrices that it packed one after another, wherever the last one
ended, and then hands the mapped bytes to kernels that load 64 aligned bytes at once: a packed matrix off that
boundary ends the process (seen with 1.31 on AVX-512). So they are laid out anew. Of the graph only the places of
the weights are changed; the fields' numbers are those of onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

ALIGNMENT = 64
"""Bytes; a cache line, and the widest register of x86 and Arm."""
PACKED = frozenset(("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "ConvTranspose", "LSTM", "GRU"))
"""Operators whose packed weights are used from the file, as the tests do. What others pack is each process's own."""

_INNER = {
    ("model", 7): "graph",
    ("graph", 1): "node",
    ("graph", 5): "tensor",
    ("node", 5): "attribute",
    ("attribute", 6): "graph",
    ("attribute", 11): "graph",
    ("tensor", 13): "entry",
}
"""The messages that lie on the way to a weight's place: (message, field) -> message."""
_KEY, _VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


def locations(graph: Path) -> set[str]:
    """Return the names of the files that hold weights of this model, as it gives them; weights are not read.

    Raises:
        ValueError: the file is no ONNX model.
        OSError: it cannot be read.
    """
    return set(_locations(_mapped(graph), "model"))


def align(graph: Path, data: Path, to_graph: Path, to_data: Path) -> None:
    """Write a model anew, with each weight on a boundary of 64 bytes.

    Args:
        graph: the model as onnxruntime writes it with its weights beside it.
        data: the weights; need not exist where the model has none.
        to_graph: where the model goes.
        to_data: where its weights go, in the same folder.

    Raises:
        ValueError: the file is no such model.
        OSError: it cannot be read or written.
    """
    with to_data.open("wb") as target:
        to_graph.write_bytes(_Aligned(_mapped(data), target, to_data.name).message(_mapped(graph)))


class _Aligned:
    """Copies weights from `source` to `target`, and tells the messages where they are now."""

    def __init__(self, source: memoryview, target: BinaryIO, name: str) -> None:
        self._source = source
        self._target = target
        self._name = name

    def message(self, data: memoryview, kind: str = "model") -> bytes:
        """Return a message with the places of all weights in it as they are in the target."""
        if kind == "tensor":
            return self._tensor(data)
        written = bytearray()
        for number, whole, payload in _fields(data):
            inner = _INNER.get((kind, number))
            written += _field(number, self.message(payload, inner)) if inner else whole
        return bytes(written)

    def _tensor(self, data: memoryview) -> bytes:
        entries: dict[str, str] = {}
        written = bytearray()
        for number, whole, payload in _fields(data):
            if _INNER.get(("tensor", number)) == "entry":
                key, value = _entry(payload)
                entries[key] = value
            else:
                written += whole
        for key, value in self._moved(entries).items():
            written += _field(13, _field(_KEY, key.encode()) + _field(_VALUE, value.encode()))
        return bytes(written)

    def _moved(self, entries: dict[str, str]) -> dict[str, str]:
        if "location" not in entries:
            return entries
        length = int(entries["length"])
        moved = {
            "location": self._name,
            "offset": str(self._copy(int(entries["offset"]), length)),
            "length": str(length),
        }
        for key, value in entries.items():
            if key.startswith("prepacked") and value.partition("+")[0] in PACKED:
                moved[key] = self._packed(value)
        return moved

    def _packed(self, value: str) -> str:
        """Return "MatMul+HASH|OFFSET;LENGTH;FLAGS|..." with new offsets."""
        name, *blobs = value.split("|")
        places = []
        for blob in blobs:
            offset, length, *flags = blob.split(";")
            places.append(";".join((str(self._copy(int(offset), int(length))), length, *flags)))
        return "|".join((name, *places))

    def _copy(self, offset: int, length: int) -> int:
        if offset < 0 or length < 0 or offset + length > len(self._source):
            raise ValueError(f"a weight of {length} bytes at {offset} in a file of {len(self._source)}")
        self._target.write(bytes(-self._target.tell() % ALIGNMENT))
        start = self._target.tell()
        self._target.write(self._source[offset : offset + length])
        return start


def _mapped(path: Path) -> memoryview:
    """Return a file's bytes, mapped for as long as anybody refers to them; none where there is no such file."""
    if not path.exists() or not path.stat().st_size:
        return memoryview(b"")
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))


def _locations(data: memoryview, kind: str) -> Iterator[str]:
    for number, _, payload in _fields(data):
        inner = _INNER.get((kind, number))
        if inner == "entry":
            key, value = _entry(payload)
            if key == "location":
                yield value
        elif inner:
            yield from _locations(payload, inner)


def _entry(data: memoryview) -> tuple[str, str]:
    texts = {number: str(payload, "utf-8") for number, _, payload in _fields(data)}
    return texts.get(_KEY, ""), texts.get(_VALUE, "")


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield each field of a protobuf message: its number, all of its bytes, and its payload if it has a length."""
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        begin = at
        if wire == _VARINT:
            _, at = _varint(data, at)
        elif wire == _BYTES:
            length, begin = _varint(data, at)
            at = begin + length
        elif wire in _FIXED:
            at += _FIXED[wire]
        else:
            raise ValueError(f"no protobuf: wire type {wire}")
        if at > len(data):
            raise ValueError("no protobuf: it ends within a field")
        yield number, data[start:at], data[begin:at] if wire == _BYTES else data[:0]


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return a number of seven bits per byte, the lowest first, and the place behind it."""
    number = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise ValueError("no protobuf: it ends within a number")


def _field(number: int, payload: bytes) -> bytes:
    return _as_varint(number << 3 | _BYTES) + _as_varint(len(payload)) + payload


def _as_varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
