"""Values as they travel between stages: a small skeleton, and a table of the runs of bytes in it.

The front counts, splits and joins lists without decoding them, and an array crosses processes with one copy.
Nothing that arrives is ever run: a dataclass is built field by field, from a class that this process has
imported already. Types are exact: a subclass of list or of an array is refused, not turned into its base.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Sequence
from itertools import repeat

import msgspec

from regrain.errors import UnsupportedValueError
from regrain.lazy_numpy import Array, is_exactly_array, is_scalar
from regrain.wire import records
from regrain.wire.arrays import INLINE, Sink, Source
from regrain.wire.frames import FrameError, Parts, Value
from regrain.wire.skeleton import ATOMS, KEYS, MAX_DEPTH, Packer, Unpacker, encode
from regrain.wire.tensors import is_dense, is_tensor, own

__all__ = [
    "INLINE",
    "Sink",
    "Source",
    "freeze",
    "fresh",
    "pack",
    "pack_inline",
    "pack_list",
    "plain",
    "renew",
    "unpack",
    "unpack_inline",
]


def pack(value: object, sink: Sink | None, *, size: float = 0.0) -> Value:
    """Write a value as it is now; without a sink everything rides inline.

    `size` is its measure for the consumer. What the sink raises comes out.

    Raises:
        UnsupportedValueError: it holds a type that cannot travel; the message says which and where.
    """
    if type(value) in ATOMS and type(value) is not int:
        return Value(encode(value), (), size)
    try:
        return Packer(sink).pack(value, size)
    except (OverflowError, UnicodeEncodeError):  # a number or a string that msgpack cannot hold
        return Packer(sink, careful=True).pack(value, size)


def pack_list(values: list[object], sink: Sink | None, *, sizes: Sequence[float] = ()) -> Parts:
    """Write a list whose items travel as values of their own; an error names the item by its place.

    sizes: each item's measure for its consumer; none where the consumer's cost depends on no measure.
    """
    done: list[Value] = []
    try:
        for value, size in zip(values, sizes or repeat(0.0), strict=False):
            done.append(pack(value, sink, size=size))  # their number is the failing one's place
    except UnsupportedValueError as error:
        raise UnsupportedValueError(f"item {len(done)}: {error}") from error
    return Parts(done, split=True)


def pack_inline(value: object) -> bytes:
    """Return a value as bytes that hold all of it; for constants of the flow."""
    return encode(pack(value, None))


def unpack(value: Value, source: Source | None) -> object:
    """Return a value as it was packed.

    Arrays are read-only views of their segment, which the caller keeps from being reused for as long as the
    value lives; everything else is a copy. A dataclass is built from the class of that name among the modules
    imported here by setting its fields: neither __init__ nor __post_init__ runs.

    Raises:
        UnsupportedValueError: it holds a dataclass that this process does not have, or has with other fields.
        FrameError: it is no value, or its bytes are not where it says.
    """
    return Unpacker(value.leaves, source, raw=False).unpack(value.skeleton)


def plain(value: Value, source: Source | None) -> object:
    """Return a value to those who have not imported the user's classes.

    Dataclasses are dicts and tensors are arrays (bfloat16 as float32); all else is as `unpack` gives it,
    numpy scalars included. Raises as `unpack` does.
    """
    return Unpacker(value.leaves, source, raw=True).unpack(value.skeleton)


def unpack_inline(data: bytes) -> object:
    """Return what `pack_inline` was given. Raises as `unpack` does."""
    try:
        value = msgspec.msgpack.decode(data, type=Value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FrameError(f"not a value: {error}") from error
    return unpack(value, None)


def freeze(value: object) -> object:
    """Return the same value with its arrays as read-only views; containers are rebuilt only around arrays.

    It is what a stage would be handed from another process, so a fused group answers as a split one does, and
    refuses what could not travel: UnsupportedValueError as from `pack`.
    """
    try:
        return _freeze(value, 0)
    except UnsupportedValueError:
        pack(value, None)  # says which part of it, and where
        raise


class _CannotTravelError(UnsupportedValueError):
    """Some part of a value cannot travel."""


def _freeze(value: object, depth: int) -> object:
    if type(value) in _AS_THEY_ARE:
        return value
    if depth > MAX_DEPTH:
        raise UnsupportedValueError(f"a value of more than {MAX_DEPTH} containers within each other")
    if type(value) is list or type(value) is tuple:
        return _freeze_items(value, depth)
    if type(value) is dict:
        return _freeze_dict(value, depth)
    if records.is_record(value):
        return records.change(value, lambda item: _freeze(item, depth + 1))
    if is_exactly_array(value):
        return _read_only(value)
    if is_scalar(value) or (is_tensor(value) and is_dense(value)):
        return value
    raise _CannotTravelError


def fresh(value: object) -> object:
    """Return a frozen value in containers and tensors of its own, as one who reads it from shared memory has it.

    So a stage that changes a list or a tensor which it was given changes nobody else's. Tensors are copied for
    that, for torch has no read-only ones.
    """
    return renew(value, _given)


def renew(value: object, leaf: Callable[[object], object], depth: int = 0) -> object:
    """Return a value in containers of its own, with `leaf` of all else that it holds but plain data.

    UnsupportedValueError where it lies in more containers than may travel: it may hold itself.
    """
    if type(value) in _AS_THEY_ARE:
        return value
    if depth > MAX_DEPTH:
        raise UnsupportedValueError(f"a value of more than {MAX_DEPTH} containers within each other")
    if type(value) is list and ATOMS.issuperset(map(type, value)):
        return value.copy()
    if type(value) is list or type(value) is tuple:
        items = [renew(item, leaf, depth + 1) for item in value]
        return items if type(value) is list else tuple(items)
    if type(value) is dict:
        return {key: renew(item, leaf, depth + 1) for key, item in value.items()}
    if records.is_record(value):
        return records.renew(value, lambda item: renew(item, leaf, depth + 1))
    return leaf(value)


def _given(leaf: object) -> object:
    return own(leaf) if is_tensor(leaf) else leaf


def _freeze_items(value: list[object] | tuple[object, ...], depth: int) -> object:
    if _AS_THEY_ARE.issuperset(map(type, value)):
        return value
    items = [_freeze(item, depth + 1) for item in value]
    return value if _same(items, value) else type(value)(items)


def _freeze_dict(value: dict[object, object], depth: int) -> object:
    if not KEYS.issuperset(map(type, value)):
        raise _CannotTravelError
    done = {key: _freeze(item, depth + 1) for key, item in value.items()}
    return value if _same(done.values(), value.values()) else done


_AS_THEY_ARE = ATOMS | {str, bytes}


def _same(new: Collection[object], old: Collection[object]) -> bool:
    return all(map(operator.is_, new, old))


def _read_only(array: Array) -> Array:
    if array.dtype.hasobject:
        raise _CannotTravelError
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view
