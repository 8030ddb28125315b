"""Names of dtypes on the wire: numpy's own for plain ones, a description in JSON for structured ones.

Every dtype whose items are plain bytes has a name that gives it back exactly: byte order, units of dates,
nested, aligned and overlapping fields. One that holds Python objects has none, for they cannot travel.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TypeAlias

import msgspec
from msgspec import Struct

from regrain.errors import UnsupportedValueError
from regrain.lazy_numpy import np
from regrain.wire.frames import FrameError

DType: TypeAlias = "np.dtype[np.generic]"

_PLAIN = re.compile(r"[<>|=][biufcSUVmM]\d*(\[[0-9A-Za-z/]+\])?")


class _Array(Struct, frozen=True, tag="array", array_like=True):
    """A field that is an array itself."""

    base: _Layout
    shape: tuple[int, ...]


class _Field(Struct, frozen=True, array_like=True):
    name: str
    title: str | None
    offset: int
    layout: _Layout


class _Record(Struct, frozen=True, tag="struct", array_like=True):
    """A structured dtype; `itemsize` and offsets in bytes."""

    itemsize: int
    aligned: bool
    fields: tuple[_Field, ...]


_Layout = str | _Array | _Record
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(_Array | _Record)


@lru_cache(maxsize=512)
def dtype_name(dtype: DType) -> str:
    """Return a dtype's name; UnsupportedValueError for one whose items are not plain bytes."""
    layout = _layout(dtype)
    return layout if isinstance(layout, str) else _encode(layout).decode()


def _layout(dtype: DType) -> _Layout:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return _Array(_layout(base), shape)
    if dtype.fields is not None and dtype.names is not None:
        fields = tuple(_field(name, *dtype.fields[name]) for name in dtype.names)
        return _Record(dtype.itemsize, dtype.isalignedstruct, fields)
    if dtype.hasobject or not _PLAIN.fullmatch(dtype.str) or np.dtype(dtype.str) != dtype:
        raise UnsupportedValueError(f"an array of dtype {dtype} (its items are not plain bytes)")
    return dtype.str


def _field(name: str, dtype: DType, offset: int, title: object = None) -> _Field:
    return _Field(name, None if title is None else str(title), offset, _layout(dtype))


@lru_cache(maxsize=512)
def dtype_of(name: str) -> DType:
    """Return the dtype of a name; FrameError if it is none."""
    try:
        return _dtype(_decoder.decode(name) if name.startswith("[") else name)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise FrameError(f"{name[:80]!r} is no dtype: {error}") from error


def _dtype(layout: _Layout) -> DType:
    if isinstance(layout, _Array):
        return np.dtype((_dtype(layout.base), layout.shape))
    if isinstance(layout, _Record):
        described = {
            "names": [field.name for field in layout.fields],
            "titles": [field.title for field in layout.fields],
            "offsets": [field.offset for field in layout.fields],
            "formats": [_dtype(field.layout) for field in layout.fields],
            "itemsize": layout.itemsize,
        }
        return np.dtype(described, align=layout.aligned)  # type: ignore[call-overload, no-any-return]  # numpy's stub knows no None as title
    if not _PLAIN.fullmatch(layout):
        raise ValueError("its items are not plain bytes")
    return np.dtype(layout)
