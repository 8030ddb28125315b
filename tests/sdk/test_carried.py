"""Types that no value of can travel are refused when a flow is described, and not request by request."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar
from uuid import UUID

import msgspec
import numpy as np
import pytest

from regrain.carried import check_key, check_type
from regrain.errors import SpecError, UnsupportedValueError
from regrain.schema import convert, describe, parameters, returned
from regrain.wire.codec import freeze

T = TypeVar("T")
Ages = NewType("Ages", list[int])


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Corner(NamedTuple):
    x: int


class Point(msgspec.Struct):
    x: int


class Row(TypedDict):
    name: str
    scores: NotRequired[list[float]]


class Tree(TypedDict):
    children: list["Tree"]


class Tagged(TypedDict):
    tags: set[str]


@dataclass
class Box(Generic[T]):
    held: T


@dataclass
class Visit:
    when: datetime


@dataclass
class Diary:
    visits: list[Visit]


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (Colour, "Colour"),
        (Level, "Level"),
        (datetime, "datetime"),
        (date, "date"),
        (time, "time"),
        (timedelta, "timedelta"),
        (UUID, "UUID"),
        (Decimal, "Decimal"),
        (set, "set"),
        (frozenset[int], "frozenset"),
        (bytearray, "bytearray"),
        (memoryview, "memoryview"),
        (Corner, "Corner"),
        (Point, "Point"),
        (Visit, "datetime"),
        (Diary, "datetime"),
        (Box[Colour], "Colour"),
        (Tagged, "set"),
        (datetime | None, "datetime"),
        (list[Colour], "Colour"),
        (tuple[int, UUID], "UUID"),
        (tuple[Corner, ...], "Corner"),
        (dict[str, Decimal], "Decimal"),
        (dict[Colour, int], "Colour as a key"),
        (dict[tuple[int, ...], int], "tuple as a key"),
        (Mapping[str, dict[tuple[int, int], int]], "tuple as a key"),
        (Annotated[datetime, msgspec.Meta(tz=True)], "datetime"),
        (Annotated[list[Colour], msgspec.Meta(max_length=3)], "Colour"),
    ],
    ids=str,
)
def test_a_type_that_no_request_carries_is_refused_by_the_name_of_what_cannot_travel(annotation, name):
    def take(value): ...

    def give(): ...

    take.__annotations__["value"] = annotation
    give.__annotations__["return"] = annotation
    told = rf"is of type .*, and no request carries {name}; allowed are None, bool"

    with pytest.raises(SpecError, match=rf"take: parameter 'value' {told}"):
        parameters(take)
    with pytest.raises(SpecError, match=rf"give: its answer {told}"):
        returned(give)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 3, 3),
        (Any, [3], [3]),
        (object, [3], [3]),
        (bytes, "aGk=", b"hi"),
        (int | None, None, None),
        (Literal["a", 1], "a", "a"),
        (Annotated[int, msgspec.Meta(ge=0)], 3, 3),
        (Annotated[list[int], msgspec.Meta(max_length=3)], [3], [3]),
        (Ages, [3], [3]),
        (Sequence[int], [3], [3]),
        (tuple[int, str], [3, "a"], (3, "a")),
        (tuple[()], [], ()),
        (Row, {"name": "a", "scores": [1]}, {"name": "a", "scores": [1.0]}),
        (Tree, {"children": [{"children": []}]}, {"children": [{"children": []}]}),
        (Box[int], {"held": 3}, Box(3)),
        (Mapping[str, int], {"a": 3}, {"a": 3}),
        (dict[int, str], {"3": "a"}, {3: "a"}),
        (dict[int | str, int], {"a": 3}, {"a": 3}),
        (dict[Literal["a"], int], {"a": 3}, {"a": 3}),
        (dict[Hashable, int], {"a": 3}, {"a": 3}),
        (dict[Any, int], {"a": 3}, {"a": 3}),
    ],
    ids=str,
)
def test_what_travels_is_described_and_read_as_before(annotation, value, expected):
    describe(annotation)

    assert freeze(convert(value, annotation)) == expected


def test_an_answer_may_have_what_msgspec_knows_by_a_schema_of_its_own_or_not_at_all():
    describe(dict[str | bytes, int])
    describe(Annotated[np.float32, msgspec.Meta(extra_json_schema={"type": "number"})])


def test_a_type_is_told_by_its_name():
    with pytest.raises(UnsupportedValueError, match=r"^Colour$"):
        check_type(list[Colour])
    with pytest.raises(UnsupportedValueError, match=r"^bytearray as a key$"):
        check_key(str | bytearray)


def test_a_class_of_attrs_is_no_dataclass():
    attrs = pytest.importorskip("attrs", reason="attrs is not installed")

    @attrs.define
    class Size:
        width: int

    with pytest.raises(UnsupportedValueError, match=r"Size$"):
        check_type(Size)
