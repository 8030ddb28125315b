"""Leaves that no packer wrote: one clear error each, whatever bytes or names they point at."""

from __future__ import annotations

import os

import numpy as np
import pytest

from regrain.errors import UnsupportedValueError
from regrain.wire import codec, segments
from regrain.wire.arrays import EMPTY_ITEMS
from regrain.wire.frames import FrameError, Leaf, Value
from regrain.wire.segments import Mappings

SPACE = 1 << 20


@pytest.fixture
def mappings() -> Mappings:
    fd = segments.create(SPACE)
    made = Mappings()
    made.add(1, fd, SPACE, writable=False)
    os.close(fd)
    return made


@pytest.mark.parametrize(
    "leaf",
    [
        pytest.param(Leaf("<f4", (300,), (), 1, 0, 1000, 7), id="fewer bytes than the shape needs"),
        pytest.param(Leaf("<f4", (10,), (400,), 1, 0, 40, 7), id="strides that lead out of it"),
        pytest.param(Leaf("<f4", (10,), (-4,), 1, 0, 40, 7), id="strides that lead before it"),
        pytest.param(Leaf("<f4", (-1,), (), 1, 0, 40, 7), id="a negative length"),
        pytest.param(Leaf("<f4", (-1, -10), (), 1, 0, 40, 7), id="two negative lengths"),
        pytest.param(Leaf("<f4", (2**62, 2**62), (), 1, 0, 40, 7), id="a shape beyond memory"),
        pytest.param(Leaf("<f4", (2**64,), (), 1, 0, 40, 7), id="a length beyond 64 bits"),
        pytest.param(Leaf("<f4", (1 << 40,), (0,), 1, 0, 4, 7), id="one item over and over"),
        pytest.param(Leaf("<f4", (2, 2), (4, 4), 1, 0, 12, 7), id="items that overlap"),
        pytest.param(Leaf("<U0", (1 << 40,), (), 1, 0, 0, 7), id="any number of items without bytes"),
        pytest.param(
            Leaf("torch.bfloat16", (1 << 40,), (0,), 1, 0, 2, 7), id="a tensor of one item over and over"
        ),
        pytest.param(Leaf("<f4", (1,), (), 9, 0, 4, 7), id="an unknown segment"),
        pytest.param(Leaf("<f4", (1,), (), 1, SPACE - 2, 4, 7), id="beyond the segment"),
        pytest.param(Leaf("<f4", (1,), (), 1, -4, 4, 7), id="before the segment"),
        pytest.param(Leaf("|O", (1,), (), 1, 0, 8, 7), id="objects"),
        pytest.param(Leaf("O", (1,), (), 1, 0, 8, 7), id="objects by their short name"),
        pytest.param(Leaf("f4,O", (1,), (), 1, 0, 12, 7), id="objects in a list of dtypes"),
        pytest.param(
            Leaf('["struct",8,false,[["a",null,0,"|O"]]]', (1,), (), 1, 0, 8, 7), id="objects in a field"
        ),
        pytest.param(Leaf("nonsense", (1,), (), 1, 0, 8, 7), id="no dtype"),
        pytest.param(Leaf("[" * 5000, (1,), (), 1, 0, 8, 7), id="no dtype at great depth"),
        pytest.param(Leaf("bytes", (4,), (), -1, 0, 4, 0, b"abc"), id="inline bytes that are not all there"),
        pytest.param(Leaf("str", (2,), (), -1, 0, 2, 0, b"\xff\xff"), id="text that is no UTF-8"),
        pytest.param(Leaf("torch.nothing", (4,), (), 1, 0, 4, 7), id="no dtype of torch"),
        pytest.param(Leaf("torch.load", (4,), (), 1, 0, 4, 7), id="another name in torch"),
    ],
)
def test_a_leaf_that_is_none_is_a_frame_error(mappings: Mappings, leaf: Leaf) -> None:
    if leaf.dtype.startswith("torch"):
        pytest.importorskip("torch")
    skeleton = codec.pack(np.zeros(3), None).skeleton

    with pytest.raises(FrameError):
        codec.unpack(Value(skeleton, (leaf,)), mappings)


def test_a_leaf_in_a_segment_needs_a_source() -> None:
    skeleton = codec.pack(np.zeros(3), None).skeleton

    with pytest.raises(FrameError, match="everything must be inline"):
        codec.unpack(Value(skeleton, (Leaf("<f4", (1,), (), 1, 0, 4, 7),)), None)


def test_items_without_bytes_travel_up_to_a_number() -> None:
    empty = np.ndarray((EMPTY_ITEMS,), "U0", b"")

    found = codec.unpack(codec.pack(empty, None), None)

    assert isinstance(found, np.ndarray)
    assert (found.shape, found.dtype) == (empty.shape, empty.dtype)
    with pytest.raises(UnsupportedValueError, match="items without bytes"):
        codec.pack(np.ndarray((EMPTY_ITEMS + 1,), "U0", b""), None)
