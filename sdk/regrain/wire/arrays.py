"""Runs of bytes that belong to a value: bytes, text and arrays, in a segment or inline.

An array is written once, in the order that its axes have in memory, so that a transposed image arrives
transposed and sums come out the same to the last bit. It is read as a view, without a copy.
"""

from __future__ import annotations

import math
from typing import Protocol

from regrain.errors import UnsupportedValueError
from regrain.lazy_numpy import Array, np
from regrain.wire.dtypes import dtype_name, dtype_of
from regrain.wire.frames import FrameError, Leaf

INLINE = 1024
"""Bytes up to which a leaf rides in its frame: below that a segment costs more than it saves."""
NOWHERE = -1
"""`Leaf.segment` of what rides inline."""
EMPTY_ITEMS = 1 << 16
"""Items that an array may have whose items have no bytes, such as empty strings."""
BYTES = "bytes"
TEXT = "str"


class Sink(Protocol):
    """Where the bytes of a value are written."""

    def place(self, nbytes: int) -> tuple[memoryview, int, int, int]:
        """Return a writable view of exactly `nbytes` bytes, and its segment, offset and generation."""

    def find(self, address: int, nbytes: int) -> tuple[int, int, int] | None:
        """Return segment, offset and generation of bytes in memory that the reader has already; None if it has not."""


class Source(Protocol):
    """Where the bytes of a value are read."""

    def view(self, segment: int, offset: int, nbytes: int) -> memoryview:
        """Return a read-only view of a segment; FrameError if these bytes are not there to be read."""


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
    return text.encode("utf-8", "surrogatepass")


def decode_text(data: bytes | memoryview) -> str:
    """Return what `encode_text` was given; FrameError if it is no UTF-8."""
    try:
        return str(data, "utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise FrameError(f"not UTF-8: {error}") from error


def put_array(array: Array, sink: Sink | None, inline: int = INLINE, kind: str = "") -> Leaf:
    """Write an array of any layout; up to `inline` bytes ride in the leaf, without a sink all of them.

    `kind` is the leaf's dtype where it is not the array's. UnsupportedValueError if the dtype cannot travel, or there
    are over EMPTY_ITEMS items that have no bytes.
    """
    dtype = array.dtype
    name = kind or dtype_name(dtype)
    shape = array.shape
    nbytes = array.nbytes
    if not dtype.itemsize and array.size > EMPTY_ITEMS:
        raise UnsupportedValueError(f"an array of {array.size} items without bytes (over {EMPTY_ITEMS})")
    strides: tuple[int, ...] = ()
    if nbytes and not array.flags.c_contiguous:
        order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        array = array.transpose(order)
        strides = _strides(order, array.shape, dtype.itemsize)
    if sink is None or nbytes <= inline:
        return Leaf(name, shape, strides, NOWHERE, 0, nbytes, 0, array.tobytes())
    if not array.flags.writeable and array.flags.c_contiguous:
        found = sink.find(array.__array_interface__["data"][0], nbytes)
        if found is not None:  # what came in goes out: nothing is copied
            segment, offset, generation = found
            return Leaf(name, shape, strides, segment, offset, nbytes, generation)
    view, segment, offset, generation = sink.place(nbytes)
    np.copyto(np.ndarray(array.shape, dtype, view), array)
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


def get_bytes(leaf: Leaf, source: Source | None) -> bytes | memoryview:
    """Return the bytes of a leaf: those that rode in it, or a read-only view of its segment."""
    if leaf.segment == NOWHERE:
        if len(leaf.inline) != leaf.nbytes:
            raise FrameError(f"a leaf of {leaf.nbytes} bytes came with {len(leaf.inline)}")
        return leaf.inline
    if source is None:
        raise FrameError(f"a leaf in segment {leaf.segment}, where everything must be inline")
    return source.view(leaf.segment, leaf.offset, leaf.nbytes)


def get_array(leaf: Leaf, source: Source | None, dtype: str = "") -> Array:
    """Return a leaf as a read-only view of its bytes, by its own dtype or another.

    FrameError if its bytes do not hold such an array.
    """
    if min(leaf.shape, default=0) < 0:  # numpy takes a pair of them for a length
        raise FrameError(f"no array has the shape {leaf.shape}")
    kind = dtype_of(dtype or leaf.dtype)
    _refuse_more_than_came(leaf, kind.itemsize)
    try:
        return np.ndarray(leaf.shape, kind, get_bytes(leaf, source), 0, leaf.strides or None)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise FrameError(f"{leaf.nbytes} bytes are no {leaf.dtype} array {leaf.shape}: {error}") from error


def _refuse_more_than_came(leaf: Leaf, itemsize: int) -> None:
    """FrameError for more items than bytes: strides of 0, or items of none, make any number of them out of nothing."""
    items = math.prod(leaf.shape)
    if items * itemsize > leaf.nbytes or (not itemsize and items > EMPTY_ITEMS):
        raise FrameError(f"{leaf.nbytes} bytes are no {leaf.dtype[:80]} array {leaf.shape}")
