"""Values as they travel between stages: a small skeleton, and a table of the runs of bytes in it.

None, bools, numbers, strings, lists and dicts are msgpack as they are; what msgpack has no word for is an
extension, and whatever is large is a leaf that the skeleton refers to in order. So the front counts, splits
and joins lists without decoding them, and an array crosses processes with one copy. Nothing that arrives is
ever run: a dataclass is built field by field, from a class that this process has imported already.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator

import msgspec
import numpy as np
from msgspec.msgpack import Ext

from regrain.errors import UnsupportedValueError
from regrain.wire import arrays, records
from regrain.wire.arrays import INLINE, Sink, Source
from regrain.wire.frames import FrameError, Leaf, Parts, Value

__all__ = [
    "INLINE",
    "MAX_DEPTH",
    "Sink",
    "Source",
    "freeze",
    "pack",
    "pack_inline",
    "pack_list",
    "plain",
    "unpack",
    "unpack_inline",
]

MAX_DEPTH = 100
"""Containers within containers; bounds the stack of whoever reads the value."""
INLINE_TOTAL = 1 << 16
"""Bytes of leaves that ride inline in one value; what comes after goes to a segment however small."""
SPILL = 1 << 18
"""Bytes of skeleton from which it goes to a segment itself, so that frames stay small."""
ALLOWED = "None, bool, int, float, str, bytes, list, tuple, dict, dataclasses, numpy arrays and scalars, torch tensors"

LEAF, SCALAR, TUPLE, INTEGER, STRING, MAP, RECORD, NUMPY_STRING, NUMPY_BYTES, SPILLED = range(1, 11)
_LEAF = Ext(LEAF, b"")
_SCALAR = Ext(SCALAR, b"")
_ATOMS = frozenset((type(None), bool, int, float))
_KEYS = frozenset((type(None), bool, int, float, str, bytes))
_STR = frozenset((str,))
_encode = msgspec.msgpack.Encoder().encode
_ONE_LEAF = _encode(_LEAF)
_ONE_SPILLED = _encode(Ext(SPILLED, b""))


# writing ---------------------------------------------------------------------------------------------------


def pack(value: object, sink: Sink | None, *, size: float = 0.0) -> Value:
    """Write a value; without a sink everything rides inline.

    Arrays are written as they are now (later changes do not travel); `size` is the measure for the consumer.

    Raises:
        UnsupportedValueError: it holds something else than the allowed types; the message says what and where.
    """
    kind = type(value)
    try:
        if kind in _ATOMS or (kind is str or kind is bytes) and len(value) <= INLINE:  # type: ignore[arg-type]  # str or bytes by `kind`
            return Value(_encode(value), (), size)
        return _Writer(sink, careful=False).pack(value, size)
    except (OverflowError, UnicodeEncodeError):  # a rare value that msgpack cannot hold as it is
        return _Writer(sink, careful=True).pack(value, size)


def pack_list(values: list[object], sink: Sink | None) -> Parts:
    """Write a list whose items travel as values of their own; the error's path begins with the item's place."""
    done: list[Value] = []
    try:
        for value in values:
            done.append(pack(value, sink))  # noqa: PERF401  # the count so far is the failing item's place
    except UnsupportedValueError as error:
        raise UnsupportedValueError(f"item {len(done)}: {error}") from error
    return Parts(done, split=True)


def pack_inline(value: object) -> bytes:
    """Return a value as bytes that hold all of it; for constants of the flow."""
    return _encode(pack(value, None))


class _Refusal(Exception):
    """A value that cannot travel, on its way out; the path grows from its end."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.path: list[str] = []


class _Writer:
    """Turns one value into what msgspec encodes, collecting its leaves. `careful` wraps what msgpack lacks."""

    __slots__ = ("careful", "inline", "leaves", "sink")

    def __init__(self, sink: Sink | None, *, careful: bool) -> None:
        self.sink = sink
        self.careful = careful
        self.leaves: list[Leaf] = []
        self.inline = INLINE_TOTAL

    def pack(self, value: object, size: float) -> Value:
        try:
            skeleton = _encode(self.convert(value, 0))
        except _Refusal as refusal:
            path = "".join(reversed(refusal.path))
            raise UnsupportedValueError(
                f"{refusal.what}{f' at {path}' if path else ''} cannot travel between stages; allowed are {ALLOWED}"
            ) from None
        if len(skeleton) > SPILL and self.sink is not None:
            self.leaves.insert(0, arrays.put_bytes(skeleton, self.sink))
            skeleton = _ONE_SPILLED
        return Value(skeleton, tuple(self.leaves), size)

    def convert(self, value: object, depth: int) -> object:
        kind = type(value)
        if kind in _ATOMS:
            return self._integer(value) if self.careful and type(value) is int else value
        if type(value) is str:
            return self._string(value)
        if type(value) is np.ndarray:
            return self._array(value)
        if type(value) is bytes:
            return value if self.sink is None or len(value) <= INLINE else self._bytes(value, arrays.BYTES)
        if depth >= MAX_DEPTH:
            raise _Refusal(f"more than {MAX_DEPTH} containers within each other")
        if type(value) is list:
            return self._items(value, depth + 1)
        if type(value) is dict:
            return self._dict(value, depth + 1)
        if type(value) is tuple:
            return Ext(TUPLE, _encode(self._items(value, depth + 1)))
        return self._other(value, depth + 1)

    def _other(self, value: object, depth: int) -> object:
        if records.is_record(value):
            return self._record(value, depth)
        if isinstance(value, np.generic):
            return self._scalar(value)
        if arrays.is_tensor(value):
            return self._tensor(value)
        raise _Refusal(records.type_name(value))

    def _integer(self, value: int) -> object:
        if -(1 << 63) <= value < 1 << 64:
            return value
        return Ext(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))

    def _string(self, value: str) -> object:
        if len(value) > INLINE and self.sink is not None:
            return self._bytes(arrays.encode_text(value), arrays.TEXT)
        return Ext(STRING, arrays.encode_text(value)) if self.careful else value

    def _bytes(self, data: bytes, kind: str) -> Ext:
        return self._leaf(arrays.put_bytes(data, self.sink, kind))

    def _leaf(self, leaf: Leaf) -> Ext:
        self.leaves.append(leaf)
        self.inline -= len(leaf.inline)
        return _LEAF

    def _room(self) -> int:
        return INLINE if self.inline >= INLINE else 0

    def _array(self, array: arrays.Array) -> Ext:
        try:
            return self._leaf(arrays.put_array(array, self.sink, inline=self._room()))
        except UnsupportedValueError as error:
            raise _Refusal(str(error)) from None

    def _tensor(self, tensor: object) -> Ext:
        try:
            return self._leaf(arrays.put_tensor(tensor, self.sink, inline=self._room()))
        except UnsupportedValueError as error:
            raise _Refusal(str(error)) from None

    def _scalar(self, value: np.generic) -> Ext:
        if type(value) is np.str_:
            return Ext(NUMPY_STRING, arrays.encode_text(str(value)))
        if type(value) is np.bytes_:
            return Ext(NUMPY_BYTES, bytes(value))
        self._array(np.asarray(value))
        return _SCALAR

    def _items(self, items: list[object] | tuple[object, ...], depth: int) -> Collection[object]:
        if not self.careful and _ATOMS.issuperset(map(type, items)):
            return items
        done: list[object] = []
        try:
            for item in items:
                done.append(self.convert(item, depth))  # noqa: PERF401  # the count so far is the failing place
        except _Refusal as refusal:
            refusal.path.append(f"[{len(done)}]")
            raise
        return done

    def _dict(self, items: dict[object, object], depth: int) -> object:
        if self.careful or not _STR.issuperset(map(type, items)):
            return self._map(items, depth)
        if _ATOMS.issuperset(map(type, items.values())):
            return items
        done: dict[object, object] = {}
        key: object = ""
        try:
            for key, item in items.items():
                done[key] = self.convert(item, depth)
        except _Refusal as refusal:
            refusal.path.append(f"[{key!r}]")
            raise
        return done

    def _map(self, items: dict[object, object], depth: int) -> Ext:
        done: list[object] = []
        for key, item in items.items():
            if type(key) not in _KEYS:
                raise _Refusal(f"a dict key of type {records.type_name(key)} ({key!r:.40})")
            try:
                done += (self.convert(key, depth), self.convert(item, depth))
            except _Refusal as refusal:
                refusal.path.append(f"[{key!r}]")
                raise
        return Ext(MAP, _encode(done))

    def _record(self, value: object, depth: int) -> Ext:
        try:
            name, fields = records.describe(value)
        except UnsupportedValueError as error:
            raise _Refusal(str(error)) from None
        done: list[object] = [name]
        for field in fields:
            try:
                done += (field, self.convert(getattr(value, field), depth))
            except AttributeError:
                raise _Refusal(f"a {name} without its field {field!r}") from None
            except _Refusal as refusal:
                refusal.path.append(f".{field}")
                raise
        return Ext(RECORD, _encode(done))


# reading ---------------------------------------------------------------------------------------------------


def unpack(value: Value, source: Source | None) -> object:
    """Return a value as it was packed.

    Arrays are read-only views of their segment, which the caller keeps from being reused for as long as the
    value lives; everything else is a copy. A dataclass is built from the class of that name in the modules
    imported here, by setting its fields: neither __init__ nor __post_init__ runs.

    Raises:
        UnsupportedValueError: it holds a dataclass that this process does not have, or has with other fields.
        FrameError: it is no value.
    """
    return _Reader(value.leaves, source, raw=False).read(value.skeleton)


def plain(value: Value, source: Source | None) -> object:
    """Return a value as those see it who have not imported the user's classes.

    Dataclasses are dicts and tensors are numpy arrays; everything else is as `unpack` gives it.
    """
    return _Reader(value.leaves, source, raw=True).read(value.skeleton)


def unpack_inline(data: bytes) -> object:
    """Return what `pack_inline` was given."""
    try:
        value = msgspec.msgpack.decode(data, type=Value)
    except msgspec.MsgspecError as error:
        raise FrameError(f"not a value: {error}") from error
    return unpack(value, None)


class _Reader:
    """Builds one value; `raw` leaves dataclasses and tensors to those who know them."""

    __slots__ = ("depth", "leaves", "raw", "source")

    def __init__(self, leaves: tuple[Leaf, ...], source: Source | None, *, raw: bool) -> None:
        self.leaves: Iterator[Leaf] = iter(leaves)
        self.source = source
        self.raw = raw
        self.depth = 0

    def read(self, skeleton: bytes) -> object:
        try:
            if skeleton == _ONE_LEAF:
                return self._leaf(next(self.leaves))
            return msgspec.msgpack.decode(skeleton, ext_hook=self._extension)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError, OverflowError) as error:
            if isinstance(error, UnsupportedValueError):
                raise
            raise FrameError(f"not a value: {error}") from error
        except StopIteration:
            raise FrameError("a value refers to more leaves than came with it") from None

    def _extension(self, code: int, data: memoryview) -> object:
        if code == LEAF:
            return self._leaf(next(self.leaves))
        if code in _NESTED:
            return self._nested(code, data)
        if code == SCALAR:
            return arrays.get_array(next(self.leaves), self.source).copy()[()]
        if code == INTEGER:
            return int.from_bytes(data, "little", signed=True)
        if code == STRING:
            return arrays.decode_text(data)
        if code == NUMPY_STRING:
            return np.str_(arrays.decode_text(data))
        if code == NUMPY_BYTES:
            return np.bytes_(bytes(data))
        raise FrameError(f"a value with an extension of the unknown kind {code}")

    def _nested(self, code: int, data: memoryview) -> object:
        if code == SPILLED:
            data = memoryview(arrays.get_bytes(next(self.leaves), self.source))
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:
            raise FrameError(f"a value of more than {MAX_DEPTH} containers within each other")
        inner: object = msgspec.msgpack.decode(data, ext_hook=self._extension)
        self.depth -= 1
        if code == SPILLED:
            return inner
        if not isinstance(inner, list):
            raise FrameError("an extension that holds no list")
        if code == TUPLE:
            return tuple(inner)
        return dict(_pairs(inner)) if code == MAP else self._record(inner)

    def _record(self, parts: list[object]) -> object:
        name = parts[0] if parts else None
        if not isinstance(name, str):
            raise FrameError("a dataclass without a name")
        fields = {str(field): item for field, item in _pairs(parts[1:])}
        return fields if self.raw else records.build(name, fields)

    def _leaf(self, leaf: Leaf) -> object:
        kind = leaf.dtype
        if kind == arrays.BYTES:
            return bytes(arrays.get_bytes(leaf, self.source))
        if kind == arrays.TEXT:
            return arrays.decode_text(arrays.get_bytes(leaf, self.source))
        if kind.startswith(arrays.TENSOR):
            get = arrays.get_tensor_as_array if self.raw else arrays.get_tensor
            return get(leaf, self.source)
        return arrays.get_array(leaf, self.source)


_NESTED = frozenset((TUPLE, MAP, RECORD, SPILLED))


def _pairs(flat: list[object]) -> Iterator[tuple[object, object]]:
    return zip(flat[::2], flat[1::2], strict=True)


def freeze(value: object) -> object:
    """Return the same value with its arrays as read-only views; containers are rebuilt only around arrays.

    It is what a stage would be handed from another process, so that a fused group answers as a split one does.
    """
    if type(value) is np.ndarray:
        return _read_only(value)
    if type(value) is list or type(value) is tuple:
        items = [freeze(item) for item in value]
        return value if _same(items, value) else type(value)(items)
    if type(value) is dict:
        done = {key: freeze(item) for key, item in value.items()}
        return value if _same(done.values(), value.values()) else done
    if records.is_record(value):
        return records.rebuild(value, freeze)
    return value


def _same(new: Collection[object], old: Collection[object]) -> bool:
    return all(map(operator.is_, new, old))


def _read_only(array: arrays.Array) -> arrays.Array:
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view
