"""Runs of bytes that belong to a value: bytes, text, arrays and tensors, in a segment or inline.

An array is written once, in the order that its axes have in memory, so that a transposed image arrives
transposed and sums come out the same to the last bit; it is read as a view, without a copy. torch is never
imported to write (a tensor is at hand only where torch is) and only where a tensor is read.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from importlib import import_module
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from regrain.errors import UnsupportedValueError
from regrain.wire.frames import FrameError, Leaf

Array = NDArray[np.generic]
DType = np.dtype[np.generic]

INLINE = 1024
"""Bytes up to which a leaf rides in its frame: below that a segment costs more than it saves."""
NOWHERE = -1
"""`Leaf.segment` of what rides inline."""
TENSOR = "torch."
BYTES = "bytes"
TEXT = "str"
_UTF8 = ("utf-8", "surrogatepass")
_SIMPLE = re.compile(r"[<>|=]?[biufcSUVmM]\d*(\[[0-9A-Za-z/]+\])?")
_TORCH_CARRIERS = {1: "uint8", 2: "int16", 4: "int32", 8: "int64", 16: "complex128"}
_PLAIN_TENSORS = {
    "bool": "|b1",
    "uint8": "|u1",
    "int8": "|i1",
    "uint16": "<u2",
    "int16": "<i2",
    "uint32": "<u4",
    "int32": "<i4",
    "uint64": "<u8",
    "int64": "<i8",
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
    "complex64": "<c8",
    "complex128": "<c16",
}


class Sink(Protocol):
    """Where the bytes of a value are written."""

    def place(self, nbytes: int) -> tuple[memoryview, int, int, int]:
        """Return a writable view of exactly `nbytes` bytes, and its segment, offset and generation."""


class Source(Protocol):
    """Where the bytes of a value are read."""

    def view(self, segment: int, offset: int, nbytes: int) -> memoryview:
        """Return a read-only view of a segment; FrameError if it does not lie in one that is mapped."""


# dtypes ----------------------------------------------------------------------------------------------------

_Field = tuple[str, str | None, int, "_Layout"]
_Layout = str | tuple[str, "_Layout", tuple[int, ...]] | tuple[str, int, bool, list[_Field]]


@lru_cache(maxsize=512)
def dtype_name(dtype: DType) -> str:
    """Return a dtype's name on the wire; UnsupportedValueError for one whose items are not plain bytes."""
    layout = _layout(dtype)
    return layout if isinstance(layout, str) else msgspec.json.encode(layout).decode()


def _layout(dtype: DType) -> _Layout:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ("array", _layout(base), shape)
    if dtype.fields is not None and dtype.names is not None:
        fields: list[_Field] = []
        for name in dtype.names:
            kind, offset, *title = dtype.fields[name]
            fields.append((name, str(title[0]) if title else None, offset, _layout(kind)))
        return ("struct", dtype.itemsize, dtype.isalignedstruct, fields)
    if dtype.hasobject or not _SIMPLE.fullmatch(dtype.str) or np.dtype(dtype.str) != dtype:
        raise UnsupportedValueError(f"an array of dtype {dtype} (its items are no plain bytes)")
    return dtype.str


@lru_cache(maxsize=512)
def dtype_of(name: str) -> DType:
    """Return the dtype of a name on the wire; FrameError if it is none."""
    try:
        layout: object = msgspec.json.decode(name) if name.startswith("[") else name
        return _dtype(layout)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise FrameError(f"{name[:80]!r} is no dtype: {error}") from error


def _dtype(layout: object) -> DType:
    match layout:
        case str() if _SIMPLE.fullmatch(layout):
            return np.dtype(layout)
        case ["array", inner, [*shape]]:
            return np.dtype((_dtype(inner), tuple(int(length) for length in shape)))
        case ["struct", int(itemsize), bool(aligned), [*fields]]:
            names, titles, offsets, formats = [], [], [], []
            for name, title, offset, inner in fields:
                names.append(str(name))
                titles.append(title)
                offsets.append(int(offset))
                formats.append(_dtype(inner))
            return np.dtype(
                {
                    "names": names,
                    "titles": titles,
                    "offsets": offsets,
                    "formats": formats,
                    "itemsize": itemsize,
                },
                align=aligned,
            )
    raise ValueError("its layout is unknown")


# writing ---------------------------------------------------------------------------------------------------


def put_bytes(data: bytes, sink: Sink | None, kind: str = BYTES) -> Leaf:
    """Write bytes, or (`kind` TEXT) what `encode_text` made of a str."""
    nbytes = len(data)
    if sink is None or nbytes == 0:
        return Leaf(kind, (nbytes,), (), NOWHERE, 0, nbytes, 0, data)
    view, segment, offset, generation = sink.place(nbytes)
    view[:] = data
    return Leaf(kind, (nbytes,), (), segment, offset, nbytes, generation)


def encode_text(text: str) -> bytes:
    """Return a str as UTF-8; lone surrogates (as in undecodable file names) pass."""
    return text.encode(*_UTF8)


def decode_text(data: bytes | memoryview) -> str:
    """Return what `encode_text` was given; FrameError if it is no UTF-8."""
    try:
        return str(data, *_UTF8)
    except UnicodeDecodeError as error:
        raise FrameError(f"not UTF-8: {error}") from error


def put_array(array: Array, sink: Sink | None, *, inline: int = INLINE, kind: str = "") -> Leaf:
    """Write an array of any layout; up to `inline` bytes ride in the leaf, everything without a sink.

    `kind` is the leaf's dtype where it is not the array's own (a tensor's).
    """
    dtype = array.dtype
    name = kind or dtype_name(dtype)
    shape = array.shape
    nbytes = array.nbytes
    strides: tuple[int, ...] = ()
    dense = array
    if nbytes and not array.flags.c_contiguous:
        order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        dense = array.transpose(order)
        strides = _strides(order, dense.shape, dtype.itemsize)
    if sink is None or nbytes <= inline:
        return Leaf(name, shape, strides, NOWHERE, 0, nbytes, 0, dense.tobytes())
    view, segment, offset, generation = sink.place(nbytes)
    np.copyto(np.ndarray(dense.shape, dtype, view), dense)
    return Leaf(name, shape, strides, segment, offset, nbytes, generation)


def _strides(order: list[int], lengths: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Strides of axes that lie densely in memory, `order` outermost first; empty where that is C order."""
    if order == list(range(len(order))):
        return ()
    strides = [0] * len(order)
    step = itemsize
    for axis, length in zip(reversed(order), reversed(lengths), strict=True):
        strides[axis] = step
        step *= length
    return tuple(strides)


def is_tensor(value: object) -> bool:
    """Whether a value is a torch.Tensor (exactly, so no Parameter)."""
    torch = sys.modules.get("torch")
    return torch is not None and type(value) is getattr(torch, "Tensor", None)


def put_tensor(tensor: object, sink: Sink | None, *, inline: int = INLINE) -> Leaf:
    """Write a dense torch tensor: its values, dtype and axis order; not its device nor its gradient."""
    torch = import_module("torch")
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise UnsupportedValueError(
            f"a tensor of layout {tensor.layout} and dtype {tensor.dtype} (neither dense nor plain)"
        )
    host = tensor.detach().cpu().resolve_conj().resolve_neg()
    carrier = getattr(torch, _TORCH_CARRIERS[host.element_size()])
    flat = host if host.dtype == carrier else host.view(carrier)
    return put_array(flat.numpy(), sink, inline=inline, kind=str(tensor.dtype))


# reading ---------------------------------------------------------------------------------------------------


def get_bytes(leaf: Leaf, source: Source | None) -> bytes | memoryview:
    """Return the bytes of a leaf: those that rode in it, or a read-only view of its segment."""
    if leaf.segment == NOWHERE:
        if len(leaf.inline) != leaf.nbytes:
            raise FrameError(f"a leaf of {leaf.nbytes} bytes came with {len(leaf.inline)}")
        return leaf.inline
    if source is None:
        raise FrameError(f"a leaf in segment {leaf.segment}, where everything must be inline")
    return source.view(leaf.segment, leaf.offset, leaf.nbytes)


def get_array(leaf: Leaf, source: Source | None) -> Array:
    """Return a leaf as a read-only view of its bytes; FrameError if they do not hold it."""
    dtype = dtype_of(leaf.dtype)
    try:
        return np.ndarray(leaf.shape, dtype, get_bytes(leaf, source), 0, leaf.strides or None)
    except (TypeError, ValueError, OverflowError) as error:
        raise FrameError(f"no array {leaf.dtype}{leaf.shape} in {leaf.nbytes} bytes: {error}") from error


def get_tensor(leaf: Leaf, source: Source | None) -> object:
    """Return a leaf as a torch tensor of its own memory, on the CPU."""
    torch = import_module("torch")
    dtype = getattr(torch, leaf.dtype.removeprefix(TENSOR), None)
    if not isinstance(dtype, torch.dtype):
        raise FrameError(f"{leaf.dtype!r} is no torch dtype that this side knows")
    carrier = getattr(torch, _TORCH_CARRIERS[dtype.itemsize])
    carried = Leaf(
        np.dtype(_PLAIN_TENSORS[str(carrier).removeprefix(TENSOR)]).str,
        leaf.shape,
        leaf.strides,
        leaf.segment,
        leaf.offset,
        leaf.nbytes,
        leaf.generation,
        leaf.inline,
    )
    own = torch.from_numpy(get_array(carried, source).copy(order="K"))
    return own if dtype == carrier else own.view(dtype)


def get_tensor_as_array(leaf: Leaf, source: Source | None) -> Array:
    """Return a tensor's leaf as an array, without torch; bfloat16 widens to float32, which holds it exactly."""
    name = leaf.dtype.removeprefix(TENSOR)
    known = _PLAIN_TENSORS.get(name)
    if known is not None:
        return get_array(msgspec.structs.replace(leaf, dtype=known), source)
    if name == "bfloat16":
        half = get_array(msgspec.structs.replace(leaf, dtype="<u2"), source)
        return (half.astype("<u4") << 16).view("<f4")
    raise UnsupportedValueError(f"a tensor of {leaf.dtype} has no counterpart outside torch")
