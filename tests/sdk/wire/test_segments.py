"""Segments, their mappings, and the writer that fills extents."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.wire import segments
from regrain.wire.frames import Extent, FrameError
from regrain.wire.segments import ALIGNMENT, GROWTH, Mappings, Writer

SPACE = 1 << 20


@pytest.fixture
def descriptor() -> Iterator[int]:
    fd = segments.create(SPACE)
    yield fd
    os.close(fd)


@pytest.fixture
def mappings(descriptor: int) -> Mappings:
    made = Mappings()
    made.add(1, descriptor, SPACE, writable=True)
    return made


def test_a_segment_has_all_its_memory_and_cannot_change_its_length(descriptor: int) -> None:
    found = os.fstat(descriptor)
    assert found.st_size == SPACE
    assert found.st_blocks * 512 >= SPACE
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 2 * SPACE)
    assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


@pytest.mark.parametrize("nbytes", [0, -1])
def test_a_segment_that_the_system_refuses_leaves_no_descriptor_behind(nbytes: int) -> None:
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(OSError, match="Invalid argument"):
        segments.create(nbytes)

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_read_only_descriptor_cannot_be_mapped_for_writing(descriptor: int) -> None:
    reader = segments.reopen_readonly(descriptor)

    with pytest.raises(PermissionError):
        Mappings().add(1, reader, SPACE, writable=True)
    with pytest.raises(PermissionError):
        mmap.mmap(reader, SPACE, mmap.MAP_SHARED, mmap.PROT_WRITE)

    assert fcntl.fcntl(reader, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    os.close(reader)


def test_what_one_mapping_writes_another_reads(descriptor: int, mappings: Mappings) -> None:
    other = Mappings()
    reader = segments.reopen_readonly(descriptor)
    other.add(9, reader, SPACE, writable=False)
    os.close(reader)  # the mapping keeps what it needs

    mappings.writable_view(Extent(1, 128, 5, 1))[:] = b"hello"

    assert other.view(9, 128, 5) == b"hello"
    assert other.view(9, 128, 5).readonly
    assert mappings.view(1, 128, 5).readonly


@pytest.mark.parametrize(
    ("offset", "nbytes"),
    [(-1, 2), (0, SPACE + 1), (SPACE, 1), (SPACE - 1, 2), (0, -1), (2**70, 1), (1, 2**70)],
)
def test_bytes_outside_of_a_segment_are_refused(mappings: Mappings, offset: int, nbytes: int) -> None:
    with pytest.raises(FrameError, match="of segment 1"):
        mappings.view(1, offset, nbytes)
    with pytest.raises(FrameError, match="of segment 1"):
        mappings.writable_view(Extent(1, offset, nbytes, 1))


def test_no_bytes_at_the_end_are_bytes(mappings: Mappings) -> None:
    assert mappings.view(1, SPACE, 0) == b""


def test_segments_are_known_by_their_id(descriptor: int, mappings: Mappings) -> None:
    mappings.add(2, segments.reopen_readonly(descriptor), SPACE, writable=False)

    assert 1 in mappings
    assert 3 not in mappings
    with pytest.raises(FrameError, match="3 is not mapped"):
        mappings.view(3, 0, 1)
    with pytest.raises(FrameError, match="2 is not mapped"):
        mappings.writable_view(Extent(2, 0, 1, 1))
    with pytest.raises(FrameError, match="1 is mapped already"):
        mappings.add(1, descriptor, SPACE, writable=True)
    with pytest.raises(FrameError, match="does not hold"):
        mappings.add(4, descriptor, 2 * SPACE, writable=True)
    with pytest.raises(FrameError, match="3 is not mapped"):
        mappings.drop(3)


def mapped_here() -> int:
    with open("/proc/self/maps") as lines:
        return sum("memfd:regrain" in line for line in lines)


def test_a_dropped_segment_stays_readable_for_as_long_as_it_is_read() -> None:
    before = mapped_here()
    fd = segments.create(SPACE)
    made = Mappings()
    made.add(1, fd, SPACE, writable=True)
    os.close(fd)
    made.writable_view(Extent(1, 0, 3, 1))[:] = b"abc"
    array = np.ndarray((3,), "u1", made.view(1, 0, 3))

    made.drop(1)

    assert array.tobytes() == b"abc"
    assert mapped_here() == before + 1
    del array
    assert mapped_here() == before


def test_closing_drops_every_segment() -> None:
    before = mapped_here()
    fd = segments.create(SPACE)
    made = Mappings()
    made.add(1, fd, SPACE, writable=True)
    made.add(2, fd, SPACE, writable=False)
    os.close(fd)

    made.close()

    assert mapped_here() == before
    assert 1 not in made


def refuse(nbytes: int) -> Extent:
    raise AssertionError(f"{nbytes} more bytes were asked for")


def test_values_are_placed_one_after_another_at_aligned_places(mappings: Mappings) -> None:
    writer = Writer(mappings, [Extent(1, 4096, 4096, 7)], refuse)

    places = [writer.place(nbytes) for nbytes in (1, 64, 65, 0, 10)]

    assert [(place[1], place[2], place[3]) for place in places] == [
        (1, 4096, 7), (1, 4160, 7), (1, 4224, 7), (1, 4352, 7), (1, 4352, 7),
    ]  # fmt: skip
    assert [len(place[0]) for place in places] == [1, 64, 65, 0, 10]


def test_an_extent_is_filled_to_its_last_byte(mappings: Mappings) -> None:
    writer = Writer(mappings, [Extent(1, 0, 100, 7)], refuse)

    assert writer.place(64)[2] == 0
    assert writer.place(36)[2] == 64


def test_room_left_in_an_earlier_extent_is_used(mappings: Mappings) -> None:
    writer = Writer(mappings, [Extent(1, 0, 4096, 7), Extent(1, 8192, 8192, 8)], refuse)

    assert [writer.place(nbytes)[3] for nbytes in (8000, 4000, 64)] == [8, 7, 7]


def test_more_is_asked_for_in_growing_steps(mappings: Mappings) -> None:
    asked: list[int] = []
    offsets = iter(range(0, SPACE, 1 << 14))

    def need(nbytes: int) -> Extent:
        asked.append(nbytes)
        return Extent(1, next(offsets), nbytes, 100 + len(asked))

    writer = Writer(mappings, [], need)
    for _ in range(8):
        writer.place(1024)

    assert asked == [1024, 1024, 2048, 4096]
    assert [extent.generation for extent in writer.extents] == [101, 102, 103, 104]


def test_one_step_is_never_more_than_the_value_or_the_growth_limit(mappings: Mappings) -> None:
    asked: list[int] = []

    def need(nbytes: int) -> Extent:
        asked.append(nbytes)
        return Extent(1, 0, nbytes, 1)

    writer = Writer(mappings, [Extent(1, 0, SPACE, 1)] * 4, need)
    for _ in range(4):
        writer.place(SPACE)
    writer.place(10)

    assert asked == [GROWTH]


def test_an_extent_that_is_too_small_is_refused(mappings: Mappings) -> None:
    writer = Writer(mappings, [], lambda nbytes: Extent(1, 0, nbytes - 1, 1))

    with pytest.raises(FrameError, match="99 bytes was granted where 100"):
        writer.place(100)


@given(sizes=st.lists(st.integers(1, 5000), max_size=60), given_=st.lists(st.integers(1, 6000), max_size=4))
def test_placed_values_never_overlap_and_lie_in_their_extents(sizes: list[int], given_: list[int]) -> None:
    fd = segments.create(SPACE)
    made = Mappings()
    made.add(1, fd, SPACE, writable=True)
    os.close(fd)
    granted: dict[int, Extent] = {}

    def grant(nbytes: int) -> Extent:
        start = sum(extent.nbytes + -extent.nbytes % ALIGNMENT for extent in granted.values())
        extent = Extent(1, start, nbytes, len(granted) + 1)
        granted[extent.generation] = extent
        return extent

    writer = Writer(made, [grant(nbytes) for nbytes in given_], grant)
    taken = []
    for nbytes in sizes:
        view, _, offset, generation = writer.place(nbytes)
        extent = granted[generation]
        assert len(view) == nbytes
        assert extent.offset <= offset <= offset + nbytes <= extent.offset + extent.nbytes
        assert offset % ALIGNMENT == 0
        taken.append((offset, offset + nbytes))
    taken = sorted(place for place in taken if place[0] < place[1])
    assert all(one[1] <= other[0] for one, other in pairwise(taken))
    assert writer.extents == list(granted.values())
    made.close()
