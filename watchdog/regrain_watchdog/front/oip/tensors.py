"""Tensors as the protocol moves them: raw bytes, JSON data or typed contents, and what they hold.

Raw is little-endian and row-major; an item of BYTES is behind its length in four bytes. Nothing is believed
before it is checked: a shape says how many items there must be, and the bytes must be as many.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import numpy as np

from regrain.arrays import DATATYPES, ArrayType, as_array
from regrain.errors import RequestError
from regrain.lazy_numpy import Array

BYTES = "BYTES"
ALLOWED = (*DATATYPES, BYTES)
LENGTH = struct.Struct("<I")
"""What an item of BYTES begins with."""
MAX_AXES = 32
"""Axes of an array; numpy has no more than 64, and nobody needs as many."""
MAX_LENGTH = 1 << 40
"""Items along one axis: what is longer is a mistake, and would overflow numpy's sizes."""
MAX_SIZE = 1 << 48
"""Items of an array that has none, its lengths of 0 taken for 1: numpy counts like that, up to a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A named tensor.

    data: an array of `shape`; for the datatype BYTES its items instead, row by row.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Array | list[bytes]


def from_raw(name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview) -> Tensor:
    """Return a tensor of raw bytes, without copying numbers; RequestError (400) if they are not of its shape."""
    count = _count(name, datatype, shape)
    if datatype == BYTES:
        items = list(_items(name, memoryview(raw)))
        if len(items) != count:
            raise _wrong(name, f"shape {list(shape)} has {count} items, its data has {len(items)}")
        return Tensor(name=name, datatype=datatype, shape=tuple(shape), data=items)
    dtype = np.dtype(DATATYPES[datatype]).newbyteorder("<")
    if len(raw) != count * dtype.itemsize:
        wanted = f"{count * dtype.itemsize} bytes of {datatype}"
        raise _wrong(name, f"shape {list(shape)} has {wanted}, its data has {len(raw)}")
    return _numbers(name, datatype, shape, np.frombuffer(raw, np.uint8 if datatype == "BOOL" else dtype))


def from_list(name: str, datatype: str, shape: Sequence[int], data: object) -> Tensor:
    """Return a tensor of JSON data (nested or flat) or of typed contents; RequestError (400) if they do not fit."""
    count = _count(name, datatype, shape)
    if datatype == BYTES:
        items = list(_texts(name, data))
        if len(items) != count:
            raise _wrong(name, f"shape {list(shape)} has {count} items, its data has {len(items)}")
        return Tensor(name=name, datatype=datatype, shape=tuple(shape), data=items)
    try:
        found = as_array(data, ArrayType(np.dtype(DATATYPES[datatype])), f"input {name!r}")
    except (ValueError, OverflowError, RecursionError) as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, str(error)) from error
    if not isinstance(found, np.ndarray) or found.size != count:
        size = np.size(found) if isinstance(found, np.ndarray) else 0
        raise _wrong(name, f"shape {list(shape)} has {count} items, its data has {size}")
    return _numbers(name, datatype, shape, found.ravel())


def to_raw(tensor: Tensor) -> bytes:
    """Return a tensor's data as raw bytes."""
    if isinstance(tensor.data, list):
        return b"".join([part for item in tensor.data for part in (LENGTH.pack(len(item)), item)])
    array = np.ascontiguousarray(tensor.data)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def to_list(tensor: Tensor) -> list[object]:
    """Return a tensor's data as a flat list for JSON; RequestError (400) for BYTES that are no text."""
    if isinstance(tensor.data, list):
        try:
            return [item.decode() for item in tensor.data]
        except UnicodeDecodeError as error:
            detail = f"output {tensor.name!r} is no text, which JSON could carry: ask for it with binary_data"
            raise RequestError(HTTPStatus.BAD_REQUEST, detail) from error
    flat: list[object] = tensor.data.ravel().tolist()
    return flat


def _count(name: str, datatype: str, shape: Sequence[int]) -> int:
    if datatype not in ALLOWED:
        raise _wrong(name, f"datatype was {datatype!r}, allowed are {', '.join(ALLOWED)}")
    if len(shape) > MAX_AXES or not all(0 <= length <= MAX_LENGTH for length in shape):
        shown = f"{list(shape)[:MAX_AXES]}"
        raise _wrong(name, f"shape was {shown}, allowed are up to {MAX_AXES} lengths of 0 or more")
    count = math.prod(shape)
    if not count and math.prod(length or 1 for length in shape) > MAX_SIZE:
        raise _wrong(name, f"shape was {list(shape)}, allowed are {MAX_SIZE} items beside lengths of 0")
    return count


def _numbers(name: str, datatype: str, shape: Sequence[int], flat: Array) -> Tensor:
    array = flat.reshape(tuple(shape)).astype(DATATYPES[datatype], copy=False)
    return Tensor(name=name, datatype=datatype, shape=tuple(shape), data=array)


def _items(name: str, raw: memoryview) -> Iterator[bytes]:
    place = 0
    while place < len(raw):
        start = place + LENGTH.size
        place = start + (LENGTH.unpack_from(raw, place)[0] if start <= len(raw) else 0)
        if start > len(raw) or place > len(raw):
            raise _wrong(name, "its data ends within an item")
        yield bytes(raw[start:place])


def _texts(name: str, data: object) -> Iterator[bytes]:
    """The items of BYTES in nested lists of strings."""
    stack = [data]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack.extend(reversed(value))
        elif isinstance(value, str | bytes):
            yield value.encode() if isinstance(value, str) else value
        else:
            raise _wrong(name, f"BYTES are strings in JSON, one was a {type(value).__name__}")


def _wrong(name: str, what: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, f"input {name!r}: {what}")
