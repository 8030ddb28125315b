"""Skeletons that no packer wrote: one clear error each, and nothing of them runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import msgspec
import pytest
from msgspec.msgpack import Ext

from regrain.errors import UnsupportedValueError
from regrain.wire import codec, skeleton
from regrain.wire.frames import FrameError, Value

encode = msgspec.msgpack.encode


@dataclass
class Known:
    x: int


def nested(code: int, depth: int) -> bytes:
    data = encode(1)
    for _ in range(depth):
        data = encode([Ext(code, data)])
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(encode(Ext(skeleton.LEAF, b"")), "more leaves than came", id="a leaf too many"),
        pytest.param(
            encode([Ext(skeleton.SCALAR, b"")]), "more leaves than came", id="a scalar without its leaf"
        ),
        pytest.param(encode(Ext(99, b"")), "unknown kind 99", id="an unknown extension"),
        pytest.param(encode(Ext(skeleton.TUPLE, encode(1))), "holds no list", id="a tuple of no list"),
        pytest.param(encode(Ext(skeleton.MAP, encode([1]))), "not a value", id="a key without its value"),
        pytest.param(encode(Ext(skeleton.MAP, encode([[], 1]))), "not a value", id="a key that is a list"),
        pytest.param(
            encode(Ext(skeleton.RECORD, encode([]))), "has no name", id="a dataclass without a name"
        ),
        pytest.param(
            encode(Ext(skeleton.RECORD, encode([7, "x", 1]))), "has no name", id="a number as its name"
        ),
        pytest.param(encode(Ext(skeleton.STRING, b"\xff")), "not UTF-8", id="text that is none"),
        pytest.param(nested(skeleton.TUPLE, 5000), "not a value|within each other", id="thousands of tuples"),
        pytest.param(b"\x91" * 100_000, "not a value", id="a hundred thousand lists"),
        pytest.param(b"\xdd\xff\xff\xff\xff", "not a value", id="a list that claims four billion items"),
        pytest.param(b"", "not a value", id="nothing"),
    ],
)
def test_a_skeleton_that_is_none_is_a_frame_error(data: bytes, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        codec.unpack(Value(data), None)


def record(name: str, *parts: object) -> Value:
    return Value(encode(Ext(skeleton.RECORD, encode([name, *parts]))))


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "colorsys_that_nobody_imported:X",
        "regrain:Client",
        "builtins:dict",
        f"{__name__}:record",
        f"{__name__}:Known.__init__",
        f"{__name__}:Missing",
        "",
        ":",
        "::..",
    ],
)
def test_a_name_that_is_no_dataclass_imported_here_is_refused(name: str) -> None:
    before = set(sys.modules)

    with pytest.raises(UnsupportedValueError, match="is no dataclass that this process has imported"):
        codec.unpack(record(name, "x", 1), None)

    assert set(sys.modules) == before


@pytest.mark.parametrize("parts", [[], ["y", 1], ["x", 1, "y", 2], [1, 1]])
def test_a_dataclass_with_other_fields_is_refused(parts: list[object]) -> None:
    with pytest.raises(UnsupportedValueError, match=r"here it has \['x'\]"):
        codec.unpack(record(f"{__name__}:Known", *parts), None)


def test_a_dataclass_is_built_from_its_name_and_fields() -> None:
    assert codec.unpack(record(f"{__name__}:Known", "x", 5), None) == Known(5)
