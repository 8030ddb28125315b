"""The skeleton of a value: msgpack where that has a word for it, an extension where it has none.

Whatever is large is a leaf, which the skeleton names by its turn: the first LEAF is the first of the value's
leaves. Nested extensions hold msgpack again. What does not occur in practice (a list of a million numbers
in which one has 65 bits) costs a second attempt, so that what does occur is encoded without being looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

import msgspec
from msgspec.msgpack import Ext

from regrain.errors import UnsupportedValueError
from regrain.lazy_numpy import is_exactly_array, is_scalar, np
from regrain.wire import arrays, records, tensors
from regrain.wire.arrays import INLINE, Sink, Source
from regrain.wire.frames import FrameError, Leaf, Value

T = TypeVar("T")

MAX_DEPTH = 100
"""Containers within containers; bounds the stack of whoever reads the value."""
INLINE_TOTAL = 1 << 16
"""Bytes of leaves that ride inline in one value; what comes after goes to a segment however small."""
SPILL = 1 << 18
"""Bytes from which the skeleton itself goes to a segment, so that frames stay small."""

LEAF, SCALAR, TUPLE, INTEGER, STRING, MAP, RECORD, NUMPY_STRING, NUMPY_BYTES, SPILLED = range(1, 11)
_NESTED = frozenset((TUPLE, MAP, RECORD, SPILLED))
_LEAF = Ext(LEAF, b"")
_SCALAR = Ext(SCALAR, b"")

ATOMS = frozenset((type(None), bool, int, float))
KEYS = ATOMS | {str, bytes}
_STRINGS = frozenset((str,))
_ALLOWED = (
    "None, bool, int, float, str, bytes, list, tuple, dict, dataclasses, numpy arrays and scalars "
    "and torch tensors"
)

encode = msgspec.msgpack.Encoder().encode
_ONE_LEAF = encode(_LEAF)
_ONE_SPILLED = encode(Ext(SPILLED, b""))


class _RefusalError(Exception):
    """A value that cannot travel, on its way out; `path` grows from its end."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.path: list[str] = []

    def within(self, step: str) -> _RefusalError:
        self.path.append(step)
        return self

    def __str__(self) -> str:
        place = f" at {''.join(reversed(self.path))}" if self.path else ""
        return f"{self.what}{place} cannot travel between stages; allowed are {_ALLOWED}"


class Packer:
    """Turns one value into what msgspec encodes, and collects its leaves.

    `careful` wraps every number and string that msgpack may lack; without it they raise OverflowError or
    UnicodeEncodeError.
    """

    __slots__ = ("_careful", "_inline", "_leaves", "_sink")

    def __init__(self, sink: Sink | None, *, careful: bool = False) -> None:
        self._sink = sink
        self._careful = careful
        self._leaves: list[Leaf] = []
        self._inline = INLINE_TOTAL

    def pack(self, value: object, size: float) -> Value:
        """Return the value as it travels; UnsupportedValueError if it cannot."""
        try:
            skeleton = encode(self._convert(value, 0))
        except _RefusalError as refusal:
            raise UnsupportedValueError(str(refusal)) from None
        if self._sink is not None and len(skeleton) > SPILL:
            self._leaves.insert(0, arrays.put_bytes(skeleton, self._sink))
            skeleton = _ONE_SPILLED
        return Value(skeleton, tuple(self._leaves), size)

    def _convert(self, value: object, depth: int) -> object:
        if type(value) in ATOMS:
            return self._integer(value) if self._careful and type(value) is int else value
        if type(value) is str:
            return self._string(value)
        if type(value) is bytes:
            return value if self._sink is None or len(value) <= INLINE else self._leaf(value, arrays.BYTES)
        if is_exactly_array(value):
            return self._put(arrays.put_array, value)
        if depth >= MAX_DEPTH:
            raise _RefusalError(f"a value of more than {MAX_DEPTH} containers within each other")
        return self._container(value, depth + 1)

    def _container(self, value: object, depth: int) -> object:
        if type(value) is list:
            return self._items(value, depth)
        if type(value) is dict:
            return self._dict(value, depth)
        if type(value) is tuple:
            return Ext(TUPLE, encode(self._items(value, depth)))
        if records.is_record(value):
            return self._record(value, depth)
        if is_scalar(value):
            return self._scalar(value)
        if tensors.is_tensor(value):
            return self._put(tensors.put_tensor, value)
        raise _RefusalError(records.type_name(value))

    def _integer(self, value: int) -> object:
        if -(1 << 63) <= value < 1 << 64:
            return value
        return Ext(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))

    def _string(self, value: str) -> object:
        if self._sink is not None and len(value) > INLINE:
            return self._leaf(arrays.encode_text(value), arrays.TEXT)
        return Ext(STRING, arrays.encode_text(value)) if self._careful else value

    def _leaf(self, data: bytes, kind: str) -> Ext:
        self._leaves.append(arrays.put_bytes(data, self._sink, kind))
        return _LEAF

    def _put(self, put: Callable[[T, Sink | None, int], Leaf], value: T) -> Ext:
        try:
            leaf = put(value, self._sink, INLINE if self._inline >= INLINE else 0)
        except UnsupportedValueError as error:
            raise _RefusalError(str(error)) from None
        self._leaves.append(leaf)
        self._inline -= len(leaf.inline)
        return _LEAF

    def _scalar(self, value: np.generic) -> Ext:
        if type(value) is np.str_:
            return Ext(NUMPY_STRING, arrays.encode_text(str(value)))
        if type(value) is np.bytes_:
            return Ext(NUMPY_BYTES, bytes(value))
        self._put(arrays.put_array, np.asarray(value))
        return _SCALAR

    def _items(self, items: list[object] | tuple[object, ...], depth: int) -> Collection[object]:
        if not self._careful and ATOMS.issuperset(map(type, items)):
            return items
        done: list[object] = []
        try:
            for item in items:
                done.append(self._convert(item, depth))  # noqa: PERF401  # their number is the failing one's place
        except _RefusalError as refusal:
            raise refusal.within(f"[{len(done)}]") from None
        return done

    def _dict(self, items: dict[object, object], depth: int) -> object:
        if self._careful or not _STRINGS.issuperset(map(type, items)):
            return self._map(items, depth)
        if ATOMS.issuperset(map(type, items.values())):
            return items
        done: dict[object, object] = {}
        key: object = None
        try:
            for key, item in items.items():
                done[key] = self._convert(item, depth)
        except _RefusalError as refusal:
            raise refusal.within(f"[{key!r:.80}]") from None
        return done

    def _map(self, items: dict[object, object], depth: int) -> Ext:
        done: list[object] = []
        for key, item in items.items():
            if type(key) not in KEYS:
                raise _RefusalError(f"a dict key of type {records.type_name(key)}")
            try:
                done += (self._convert(key, depth), self._convert(item, depth))
            except _RefusalError as refusal:
                raise refusal.within(f"[{key!r:.80}]") from None
        return Ext(MAP, encode(done))

    def _record(self, value: object, depth: int) -> Ext:
        try:
            name, fields, values = records.take_apart(value)
        except UnsupportedValueError as error:
            raise _RefusalError(str(error)) from None
        done: list[object] = [name]
        try:
            for field, item in zip(fields, values, strict=True):
                done += (field, self._convert(item, depth))
        except _RefusalError as refusal:
            raise refusal.within(f".{fields[len(done) // 2]}") from None
        return Ext(RECORD, encode(done))


class Unpacker:
    """Builds one value; `raw` gives dataclasses as dicts and tensors as arrays."""

    __slots__ = ("_depth", "_leaves", "_raw", "_source")

    def __init__(self, leaves: tuple[Leaf, ...], source: Source | None, *, raw: bool) -> None:
        self._leaves: Iterator[Leaf] = iter(leaves)
        self._source = source
        self._raw = raw
        self._depth = 0

    def unpack(self, skeleton: bytes) -> object:
        """Return the value; FrameError if it is none, UnsupportedValueError if it cannot be built here."""
        try:
            return self._read_leaf() if skeleton == _ONE_LEAF else self._decode(skeleton)
        except UnsupportedValueError:
            raise
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise FrameError(f"not a value: {error}") from error

    def _decode(self, data: bytes | memoryview) -> object:
        return msgspec.msgpack.decode(data, ext_hook=self._extension)

    def _next(self) -> Leaf:
        leaf = next(self._leaves, None)
        if leaf is None:
            raise FrameError("a value names more leaves than came with it")
        return leaf

    def _extension(self, code: int, data: memoryview) -> object:
        if code == LEAF:
            return self._read_leaf()
        if code in _NESTED:
            return self._nested(code, data)
        if code == SCALAR:
            return arrays.get_array(self._next(), self._source).copy()[()]
        read = _READ.get(code)
        if read is None:
            raise FrameError(f"a value with an extension of the unknown kind {code}")
        return read(data)

    def _read_leaf(self) -> object:
        leaf = self._next()
        kind = leaf.dtype
        if kind == arrays.BYTES:
            return bytes(arrays.get_bytes(leaf, self._source))
        if kind == arrays.TEXT:
            return arrays.decode_text(arrays.get_bytes(leaf, self._source))
        if not kind.startswith(tensors.PREFIX):
            return arrays.get_array(leaf, self._source)
        get = tensors.get_tensor_as_array if self._raw else tensors.get_tensor
        return get(leaf, self._source)

    def _nested(self, code: int, data: bytes | memoryview) -> object:
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            raise FrameError(f"a value of more than {MAX_DEPTH} containers within each other")
        if code == SPILLED:
            data = arrays.get_bytes(self._next(), self._source)
        inner = self._decode(data)
        self._depth -= 1
        if code == SPILLED:
            return inner
        if not isinstance(inner, list):
            raise FrameError("a value with an extension that holds no list")
        if code == TUPLE:
            return tuple(inner)
        return dict(zip(inner[::2], inner[1::2], strict=True)) if code == MAP else self._record(inner)

    def _record(self, parts: list[object]) -> object:
        name = parts[0] if parts else None
        if not isinstance(name, str):
            raise FrameError("a value with a dataclass that has no name")
        fields, values = parts[1::2], parts[2::2]
        return dict(zip(fields, values, strict=True)) if self._raw else records.build(name, fields, values)


_READ: dict[int, Callable[[memoryview], object]] = {
    INTEGER: lambda data: int.from_bytes(data, "little", signed=True),
    STRING: arrays.decode_text,
    NUMPY_STRING: lambda data: np.str_(arrays.decode_text(data)),
    NUMPY_BYTES: lambda data: np.bytes_(bytes(data)),
}
