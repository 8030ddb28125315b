"""Measures of a stage's input that its cost may depend on: what `size="bytes"` and its siblings mean.

They are evaluated by whoever produced the input, so that batches can be formed by size without decoding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sized
from dataclasses import fields, is_dataclass
from itertools import chain

CHANNELS = 4
"""The longest axis of a picture that is taken for its channels: (height, width, 3) or (3, height, width)."""


def measure(name: str, values: tuple[object, ...]) -> float:
    """Return a named measure of a stage's arguments; 0.0 where they have none.

    "bytes" is what all of them hold together; "items" the length of the first that has one (an array's
    first axis); "pixels" those of the first array of two or more axes.
    """
    if name == "bytes":
        return float(sum(map(_bytes, values)))
    find = _items if name == "items" else _pixels
    return next((found for value in values if (found := find(value)) is not None), 0.0)


def _bytes(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode(errors="surrogatepass"))
    if isinstance(value, bytes):
        return len(value)
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    return sum(map(_bytes, _parts(value)))


def _items(value: object) -> float | None:
    shape = _shape(value)
    if shape:
        return float(shape[0])
    return float(len(value)) if isinstance(value, Sized) and shape is None else None


def _pixels(value: object) -> float | None:
    shape = _shape(value)
    if shape is None:
        return next((found for part in _parts(value) if (found := _pixels(part)) is not None), None)
    if len(shape) < 2:
        return None
    if len(shape) > 2:
        if shape[-1] <= CHANNELS:
            shape = shape[:-1]
        elif shape[-3] <= CHANNELS:
            shape = (*shape[:-3], *shape[-2:])
    return float(math.prod(shape))


def _shape(value: object) -> tuple[int, ...] | None:
    shape = getattr(value, "shape", None)
    return tuple(shape) if isinstance(shape, tuple) and not _is_record(value) else None


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        return chain(value.keys(), value.values())
    if isinstance(value, list | tuple):
        return iter(value)
    if _is_record(value):
        return (getattr(value, field.name) for field in fields(value))  # type: ignore[arg-type]  # is_dataclass
    return iter(())


def _is_record(value: object) -> bool:
    return is_dataclass(value) and not isinstance(value, type)
