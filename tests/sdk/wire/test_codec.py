"""Values come out as they went in, by frames alone and through shared memory."""

from __future__ import annotations

import collections
import contextlib
import pathlib
from dataclasses import dataclass, field, fields, is_dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from regrain.errors import UnsupportedValueError
from regrain.wire import codec, segments
from regrain.wire.frames import FrameError, Leaf, Parts, Value
from regrain.wire.skeleton import INLINE_TOTAL, MAX_DEPTH

SPACE = 8 << 20


class Memory:
    """One segment, written by one mapping and read by another, as by two processes."""

    def __init__(self) -> None:
        fd = segments.create(SPACE)
        self.own, self.other = segments.Mappings(), segments.Mappings()
        self.own.add(1, fd, SPACE, writable=True)
        self.other.add(1, segments.reopen_readonly(fd), SPACE, writable=False)
        self.start = 0

    def find(self, address: int, nbytes: int) -> None:
        return None

    def place(self, nbytes: int) -> tuple[memoryview, int, int, int]:
        start, self.start = self.start, self.start + nbytes
        return self.own.writable_view(codec_extent(start, nbytes)), 1, start, 7

    def carry(self, value: object) -> object:
        self.start = 0
        return codec.unpack(codec.pack(value, self), self.other)


def codec_extent(start: int, nbytes: int):
    return segments.Extent(1, start, nbytes, 7)


@pytest.fixture(scope="module")
def memory() -> Memory:
    return Memory()


@dataclass(frozen=True, slots=True)
class Box:
    x: int
    pixels: object


@dataclass
class Page:
    text: str
    boxes: list[Box] = field(default_factory=list)

    def __post_init__(self) -> None:
        raise AssertionError("no code of the class runs when a value arrives")


def page(text: str, boxes: list[Box]) -> Page:
    made = object.__new__(Page)
    made.text, made.boxes = text, boxes
    return made


@dataclass
class Tagged(dict):  # type: ignore[type-arg]
    tag: str = ""


class Derived(Box):
    pass


def assert_same(new: object, old: object) -> None:
    """Exactly the same: types, bits of floats, dtype, shape and layout of arrays, order of dicts."""
    assert type(new) is type(old)
    if isinstance(old, np.ndarray):
        assert_same_array(new, old)
    elif isinstance(old, np.generic | float):
        assert_same_array(np.asarray(new), np.asarray(old))
    elif isinstance(old, list | tuple):
        assert len(new) == len(old)
        for one, other in zip(new, old, strict=True):
            assert_same(one, other)
    elif isinstance(old, dict):
        assert_same(list(new.items()), list(old.items()))
    elif is_dataclass(old):
        for each in fields(old):
            assert_same(getattr(new, each.name), getattr(old, each.name))
    else:
        assert new == old


def assert_same_array(new: np.ndarray, old: np.ndarray) -> None:
    assert new.dtype == old.dtype
    assert new.shape == old.shape
    if old.flags.c_contiguous or old.flags.f_contiguous:
        assert new.flags.c_contiguous == old.flags.c_contiguous
        assert new.flags.f_contiguous == old.flags.f_contiguous
    if old.dtype.names is None:
        assert new.tobytes() == old.tobytes()
    else:
        for name in old.dtype.names:
            assert_same_array(new[name], old[name])


dtypes = st.one_of(
    hnp.scalar_dtypes(),
    hnp.byte_string_dtypes(min_len=1),
    hnp.unicode_string_dtypes(min_len=1),
    hnp.array_dtypes(hnp.scalar_dtypes()),
    hnp.nested_dtypes(hnp.scalar_dtypes()),
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=12))


@st.composite
def laid_out(draw: st.DrawFn) -> np.ndarray:
    """An array of any dtype in any layout: transposed, strided, reversed, in Fortran's order, broadcast."""
    array = draw(arrays)
    if draw(st.booleans()):
        array = np.asfortranarray(array)
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    steps = draw(st.tuples(*[st.sampled_from([1, 2, -1, -3])] * array.ndim))
    array = array[tuple(slice(None, None, step) for step in steps)]
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        return np.asarray(array)
    return np.broadcast_to(array, (3, *array.shape)) if draw(st.integers(0, 4)) == 0 else array


texts = st.text(st.characters(), max_size=50) | st.sampled_from(
    ["", "\ud800", "é" * 2000, "x" * 1024, "x" * 1025]
)
integers = (
    st.integers() | st.integers(-(2**200), 2**200) | st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63) - 1])
)
scalars = hnp.arrays(hnp.scalar_dtypes(), ()).map(lambda array: array[()])
atoms = st.none() | st.booleans() | integers | st.floats() | texts | st.binary() | st.just(b"y" * 3000)
keys = st.none() | st.booleans() | integers | st.floats(allow_nan=False) | texts | st.binary()
values = st.recursive(
    atoms | arrays | scalars | st.just(np.str_("s")) | st.just(np.bytes_(b"s")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.builds(Box, st.integers(), inner),
        st.builds(page, texts, st.lists(st.builds(Box, integers, inner), max_size=2)),
    ),
    max_leaves=8,
)


@given(value=values)
@settings(deadline=None, max_examples=300)
def test_a_value_comes_out_of_shared_memory_and_of_frames_alone_as_it_went_in(
    memory: Memory, value: object
) -> None:
    assert_same(memory.carry(value), value)
    assert_same(codec.unpack_inline(codec.pack_inline(value)), value)


@given(array=laid_out())
@settings(deadline=None, max_examples=300)
def test_an_array_of_any_dtype_and_layout_comes_out_as_a_read_only_one(
    memory: Memory, array: np.ndarray
) -> None:
    for new in (memory.carry(array), codec.unpack(codec.pack(array, None), None)):
        assert_same_array(new, array)
        assert not new.flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(
            np.arange(60.0).reshape(3, 4, 5).transpose(2, 0, 1), id="image with its channels in front"
        ),
        pytest.param(np.asfortranarray(np.arange(6000).reshape(60, 100)), id="Fortran's order, in a segment"),
        pytest.param(
            np.arange(6000).reshape(3, 20, 100).transpose(1, 2, 0), id="axes permuted, in a segment"
        ),
    ],
)
def test_the_axes_keep_their_order_in_memory(memory: Memory, array: np.ndarray) -> None:
    assert memory.carry(array).strides == array.strides


@pytest.mark.parametrize(
    "dtype", ["<M8[ns]", ">f8", "<m8[25s]", "<f2", "|V7", "?", "<c16", "<U3", "|S5", np.longdouble]
)
def test_every_plain_dtype_travels(memory: Memory, dtype: str) -> None:
    array = np.zeros(500, dtype)

    new = memory.carry(array)

    assert new.dtype == array.dtype
    assert new.tobytes() == array.tobytes()


def test_bytes_and_text_are_copies_that_outlive_the_segment(memory: Memory) -> None:
    packed = codec.pack([b"a" * 5000, "b" * 5000], memory)
    new = codec.unpack(packed, memory.other)

    for leaf in packed.leaves:
        memory.own.writable_view(codec_extent(leaf.offset, leaf.nbytes))[:] = b"z" * leaf.nbytes

    assert new == [b"a" * 5000, "b" * 5000]


def test_small_leaves_ride_inline_until_there_are_many(memory: Memory) -> None:
    memory.start = 0
    one = np.zeros(128)

    packed = codec.pack([one] * 200, memory)

    inline = [leaf for leaf in packed.leaves if leaf.segment < 0]
    assert len(inline) == INLINE_TOTAL // one.nbytes
    assert len(packed.leaves) == 200


def test_a_long_list_of_numbers_leaves_the_frame(memory: Memory) -> None:
    numbers = [float(number) for number in range(100_000)]
    memory.start = 0

    packed = codec.pack({"numbers": numbers, "array": np.arange(5000)}, memory)

    assert len(packed.skeleton) < 16
    new = codec.unpack(packed, memory.other)
    assert new["numbers"] == numbers
    assert new["array"].tolist() == list(range(5000))


def test_the_size_travels_with_the_value() -> None:
    assert codec.pack([1], None, size=2.5).size == 2.5


def test_a_list_is_packed_item_by_item(memory: Memory) -> None:
    parts = codec.pack_list([1, "a", b"b" * 2000], memory)

    assert parts.split
    assert [codec.unpack(value, memory.other) for value in parts.values] == [1, "a", b"b" * 2000]
    assert codec.pack_list([], memory) == Parts([], split=True)


class Words(list):  # type: ignore[type-arg]
    pass


def local_dataclass() -> object:
    @dataclass
    class Local:
        x: int = 0

    return Local()


def circle() -> object:
    around: list[object] = []
    around.append(around)
    return around


def unset() -> object:
    return object.__new__(Box)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param({1, 2}, "^set cannot travel", id="a set"),
        pytest.param(
            {"a": [0, Box(1, (object(),))]}, r"^object at \['a'\]\[1\]\.pixels\[0\] cannot", id="deep inside"
        ),
        pytest.param({1: {"b": {2}}}, r"^set at \[1\]\['b'\] cannot", id="below other keys than str"),
        pytest.param(pathlib.PurePosixPath("x"), r"^pathlib.*PurePosixPath cannot travel", id="a path"),
        pytest.param(Words(), "Words cannot travel", id="a subclass of list"),
        pytest.param(collections.namedtuple("P", "x")(1), "P cannot travel", id="a named tuple"),
        pytest.param({(1, 2): 3}, "a dict key of type tuple", id="a key that is a tuple"),
        pytest.param(np.array([None]), "dtype object", id="an array of objects"),
        pytest.param(np.ma.masked_array([1]), "MaskedArray", id="a subclass of arrays"),
        pytest.param(np.zeros(2, [("a", "O")]), "dtype object", id="a field of objects"),
        pytest.param(local_dataclass(), "not to be found by this name", id="a dataclass made in a function"),
        pytest.param(Derived(1, 2), "is none itself", id="a class that extends a dataclass"),
        pytest.param(Tagged(), "extends a built-in type", id="a dataclass that is a dict"),
        pytest.param(unset(), "without one of its fields", id="a field that is not set"),
        pytest.param(circle(), f"more than {MAX_DEPTH} containers", id="a list that holds itself"),
    ],
)
def test_what_cannot_travel_is_named_with_its_place(value: object, message: str) -> None:
    with pytest.raises(UnsupportedValueError, match=message):
        codec.pack(value, None)


def test_an_item_that_cannot_travel_is_named_by_its_place_in_the_list() -> None:
    with pytest.raises(
        UnsupportedValueError, match=r"^item 1: set at \['x'\] cannot travel.*allowed are None, bool"
    ):
        codec.pack_list([1, {"x": set()}], None)


def test_the_deepest_value_that_is_packed_is_read_back() -> None:
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = (value,)

    assert codec.unpack(codec.pack(value, None), None) == value


def test_plain_needs_no_classes() -> None:
    packed = codec.pack([Box(1, np.arange(3)), np.float32(2)], None)

    box, scalar = codec.plain(packed, None)

    assert box["x"] == 1
    assert box["pixels"].tolist() == [0, 1, 2]
    assert type(scalar) is np.float32


def test_freeze_makes_every_array_read_only_and_leaves_the_original_alone() -> None:
    array = np.arange(3)
    value = {"a": [array, (array,)], "b": Box(1, array), "c": [1, 2]}

    frozen = codec.freeze(value)

    assert_same(frozen, value)
    for each in (frozen["a"][0], frozen["a"][1][0], frozen["b"].pixels):
        assert not each.flags.writeable
        assert np.shares_memory(each, array)
    assert array.flags.writeable
    assert frozen["c"] is value["c"]


def test_freeze_refuses_a_dataclass_that_could_not_travel() -> None:
    with pytest.raises(UnsupportedValueError, match="without one of its fields"):
        codec.freeze([unset()])


@pytest.mark.parametrize("value", [[1, [2]], ([1],), {"a": [1]}, Box(1, [2]), [Box([1], 2)]])
def test_fresh_gives_an_equal_value_in_containers_of_its_own(value: object) -> None:
    renewed = codec.fresh(value)

    assert renewed == value
    assert renewed is not value


@pytest.mark.parametrize("value", [[1, "a"], (1, 2), {"a": [Box(1, 2)]}, 3])
def test_freeze_rebuilds_nothing_without_need(value: object) -> None:
    assert codec.freeze(value) is value


@given(
    skeleton=st.binary(max_size=60),
    inline=st.binary(max_size=16),
    kind=st.sampled_from(["bytes", "str", "<i2"]),
)
@settings(deadline=None, max_examples=300)
def test_bytes_that_are_no_value_are_a_frame_error(skeleton: bytes, inline: bytes, kind: str) -> None:
    leaf = Leaf(kind, (len(inline),), (), -1, 0, len(inline), 0, inline)
    for read in (codec.unpack, codec.plain):
        with contextlib.suppress(FrameError, UnsupportedValueError):
            read(Value(skeleton, (leaf,)), None)


def test_a_constant_that_is_none_is_a_frame_error() -> None:
    with pytest.raises(FrameError, match="not a value"):
        codec.unpack_inline(b"\x01")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({1, 2}, id="a set"),
        pytest.param([{"a": (1, object())}], id="deep inside"),
        pytest.param({(1, 2): 3}, id="a key"),
        pytest.param(np.array([None, object()]), id="an array of objects"),
        pytest.param(circle(), id="too deep"),
    ],
)
def test_freezing_refuses_what_packing_refuses_in_the_same_words(value: object) -> None:
    with pytest.raises(UnsupportedValueError) as packed:
        codec.pack(value, None)
    with pytest.raises(UnsupportedValueError) as frozen:
        codec.freeze(value)

    assert str(frozen.value) == str(packed.value)
