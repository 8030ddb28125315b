"""The pool's books: who may write, who still reads, and what goes back."""

from __future__ import annotations

import gc
import os
from http import HTTPStatus

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from regrain.errors import RequestError, SpecError
from regrain.wire import codec, segments
from regrain.wire.frames import Extent, FrameError, Leaf
from regrain_watchdog.front.segments import FRONT, SEGMENT, SMALLEST, Pool


@pytest.fixture
def pool():
    made = Pool(8 * SEGMENT)
    yield made
    made.close()


def leaf(extent: Extent, *, shift: int = 0, nbytes: int | None = None, generation: int | None = None) -> Leaf:
    size = extent.nbytes if nbytes is None else nbytes
    life = extent.generation if generation is None else generation
    return Leaf("bytes", (size,), (), extent.segment, extent.offset + shift, size, life)


@pytest.mark.parametrize(
    ("nbytes", "granted"),
    [
        (0, SMALLEST),
        (1, SMALLEST),
        (SMALLEST, SMALLEST),
        (SMALLEST + 1, 2 * SMALLEST),
        (SEGMENT + 1, 2 * SEGMENT),
    ],
)
def test_an_extent_is_of_the_next_size_class(pool: Pool, nbytes: int, granted: int) -> None:
    extent = pool.grant(3, nbytes)

    assert extent.nbytes == granted
    assert pool.in_use == granted
    assert pool.held == max(SEGMENT, granted)
    assert pool.segment(extent.segment).nbytes == pool.held


def test_small_extents_of_one_owner_share_a_segment_and_those_of_another_do_not(pool: Pool) -> None:
    mine = [pool.grant(3, SMALLEST) for _ in range(SEGMENT // SMALLEST)]
    other = pool.grant(4, SMALLEST)

    assert {extent.segment for extent in mine} == {mine[0].segment}
    assert len({extent.offset for extent in mine}) == len(mine)
    assert other.segment != mine[0].segment
    assert pool.segment(other.segment).owner == 4


def test_an_extent_is_free_after_its_last_release(pool: Pool) -> None:
    extent = pool.grant(3, 100)

    pool.commit(extent, 2)
    pool.retain(extent.generation)
    for held in (SMALLEST, SMALLEST, 0):
        pool.release(extent.generation)
        assert pool.in_use == held

    again = pool.grant(3, 100)
    assert (again.segment, again.offset) == (extent.segment, extent.offset)
    assert again.generation != extent.generation


def test_an_extent_that_nobody_reads_is_free_at_once(pool: Pool) -> None:
    pool.commit(pool.grant(3, 100), 0)

    assert pool.in_use == 0


def test_what_is_not_committed_or_freed_can_be_neither_retained_nor_released(pool: Pool) -> None:
    granted, freed = pool.grant(3, 1), pool.grant(3, 1)
    pool.commit(freed, 0)

    for generation in (granted.generation, freed.generation, 999):
        for verb in (pool.retain, pool.release):
            with pytest.raises(ValueError, match=f"generation {generation} is not committed"):
                verb(generation)


def test_an_extent_is_committed_once_and_as_it_was_granted(pool: Pool) -> None:
    extent = pool.grant(3, 1)
    larger = Extent(extent.segment, extent.offset, 2 * extent.nbytes, extent.generation)

    for wrong, references in ((larger, 1), (extent, -1)):
        with pytest.raises(ValueError, match="cannot be committed"):
            pool.commit(wrong, references)
    pool.commit(extent, 1)
    with pytest.raises(ValueError, match="cannot be committed"):
        pool.commit(extent, 1)


def test_over_the_limit_the_caller_is_told_when_to_come_back(pool: Pool) -> None:
    for _ in range(8):
        pool.grant(3, SEGMENT)

    with pytest.raises(RequestError, match="in use") as refused:
        pool.grant(FRONT, 1)

    assert refused.value.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert refused.value.headers == {"Retry-After": "1"}
    assert pool.held == pool.limit


def test_what_will_never_fit_is_refused_for_good(pool: Pool) -> None:
    idle = pool.grant(3, 1)
    pool.commit(idle, 0)

    with pytest.raises(RequestError, match=f"limit on shared memory is {pool.limit}") as refused:
        pool.grant(3, pool.limit + 1)

    assert refused.value.headers == {}
    assert pool.segment(idle.segment)


def test_a_limit_below_one_segment_is_refused() -> None:
    with pytest.raises(SpecError, match=f"at least {SEGMENT} bytes, was 5"):
        Pool(5)


def test_idle_segments_make_room_for_another_size_longest_idle_first(pool: Pool) -> None:
    extents = [pool.grant(owner, SEGMENT) for owner in range(1, 9)]
    for place in (2, 0, 1):
        pool.commit(extents[place], 0)

    extent = pool.grant(9, 2 * SEGMENT)

    assert extent.nbytes == 2 * SEGMENT
    assert pool.take_dropped() == [extents[2].segment, extents[0].segment]
    assert pool.take_dropped() == []
    assert pool.held == pool.limit
    with pytest.raises(KeyError):
        pool.segment(extents[2].segment)


def test_nothing_is_dropped_when_that_would_not_make_room(pool: Pool) -> None:
    extents = [pool.grant(1, SEGMENT) for _ in range(8)]
    pool.commit(extents[0], 0)

    with pytest.raises(RequestError):
        pool.grant(2, 2 * SEGMENT)

    assert pool.take_dropped() == []


def test_a_dead_owner_leaves_only_what_is_still_referenced(pool: Pool) -> None:
    written, unwritten, other = pool.grant(3, 1), pool.grant(3, SEGMENT), pool.grant(4, 1)
    pool.commit(written, 1)

    pool.retire(3)

    assert pool.take_dropped() == [unwritten.segment]
    assert pool.in_use == 2 * SMALLEST
    assert pool.view(written.segment, written.offset, 1) == b"\0"
    pool.release(written.generation)
    assert pool.take_dropped() == [written.segment]
    assert pool.segment(other.segment)


def test_a_leaf_is_its_owners_while_it_may_be_written(pool: Pool) -> None:
    extent = pool.grant(3, 100)

    assert pool.owns(3, leaf(extent))
    assert pool.owns(3, leaf(extent, shift=64, nbytes=10))
    assert pool.owns(3, leaf(extent, shift=SMALLEST, nbytes=0))
    assert pool.owns(3, Leaf("bytes", (2,), (), -1, 0, 2, 0, b"ab"))


def test_a_hostile_leaf_is_nobodys(pool: Pool) -> None:
    first, second, others = pool.grant(3, 100), pool.grant(3, 100), pool.grant(4, 100)
    committed = pool.grant(3, 100)
    pool.commit(committed, 1)
    elsewhere = Leaf("bytes", (1,), (), others.segment, others.offset, 1, first.generation)

    refused = {
        "another owner's": leaf(others),
        "beyond its end": leaf(first, nbytes=SMALLEST + 1),
        "before its start": leaf(second, shift=-1, nbytes=1),
        "a negative length": leaf(first, shift=10, nbytes=-1),
        "across its end": leaf(first, shift=SMALLEST - 1, nbytes=2),
        "a neighbour's generation": leaf(first, generation=second.generation),
        "no generation": leaf(first, generation=999),
        "another's segment": elsewhere,
        "already committed": leaf(committed),
        "huge": leaf(first, nbytes=2**63),
        "inline bytes that are not there": Leaf("bytes", (9,), (), -1, 0, 9, 0, b"ab"),
    }

    assert [name for name, each in refused.items() if pool.owns(3, each)] == []


def test_a_stale_generation_is_nobodys_though_the_place_was_granted_again(pool: Pool) -> None:
    stale = pool.grant(3, 100)
    pool.commit(stale, 0)
    fresh = pool.grant(3, 100)

    assert (fresh.segment, fresh.offset) == (stale.segment, stale.offset)
    assert not pool.owns(3, leaf(stale))
    assert pool.owns(3, leaf(fresh))


def test_the_front_writes_by_a_writer_and_reads_what_a_replica_wrote(pool: Pool) -> None:
    array = np.arange(50_000.0)

    writer = pool.writer()
    packed = codec.pack({"array": array, "text": "t" * 2000}, writer)

    assert all(pool.owns(FRONT, each) for each in packed.leaves)
    assert codec.unpack(packed, pool)["array"].tolist() == array.tolist()
    extent = pool.grant(3, 100)
    replica = segments.Mappings()
    found = pool.segment(extent.segment)
    replica.add(found.id, found.fd, found.nbytes, writable=True)
    replica.writable_view(extent)[:3] = b"abc"
    assert pool.view(extent.segment, extent.offset, 3) == b"abc"
    assert pool.view(extent.segment, extent.offset, 3).readonly


def test_a_replica_cannot_write_by_the_read_only_descriptor(pool: Pool) -> None:
    found = pool.segment(pool.grant(FRONT, 1).segment)

    with pytest.raises(PermissionError):
        segments.Mappings().add(1, found.readonly_fd, found.nbytes, writable=True)


def test_bytes_outside_of_the_pool_are_refused(pool: Pool) -> None:
    extent = pool.grant(3, 1)

    for segment, offset in ((99, 0), (extent.segment, SEGMENT)):
        with pytest.raises(FrameError):
            pool.view(segment, offset, 1)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_closing_gives_everything_back() -> None:
    gc.collect()  # what earlier tests left would be closed at any time
    before = open_descriptors()
    made = Pool(8 * SEGMENT)
    for owner in (FRONT, 1, 2):
        extent = made.grant(owner, 1)
        made.view(extent.segment, 0, 1)
    made.commit(extent, 1)

    made.close()

    assert open_descriptors() == before
    assert (made.held, made.in_use) == (0, 0)


OWNERS = st.integers(0, 3)


class Books(RuleBasedStateMachine):
    """Any order of grants, commits, references and deaths, against a plain list of what lives."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(4 * SEGMENT)
        self.granted: dict[int, tuple[int, Extent]] = {}
        self.references: dict[int, tuple[Extent, int]] = {}
        self.seen: set[int] = set()
        self.owner_ids = {owner: owner for owner in range(4)}
        self.dropped: set[int] = set()

    def teardown(self) -> None:
        for generation, (_, references) in list(self.references.items()):
            for _ in range(references):
                self.pool.release(generation)
        for _, extent in self.granted.values():
            self.pool.commit(extent, 0)
        assert self.pool.in_use == 0
        for owner in self.owner_ids.values():
            self.pool.retire(owner)
        assert self.pool.held == 0
        self.pool.close()

    @rule(owner=OWNERS, nbytes=st.integers(0, 2 * SEGMENT) | st.integers(0, 3 * SMALLEST))
    def grant(self, owner: int, nbytes: int) -> None:
        try:
            extent = self.pool.grant(self.owner_ids[owner], nbytes)
        except RequestError:
            assert self.pool.held + max(SEGMENT, nbytes) > self.pool.limit
            return
        assert extent.nbytes >= nbytes
        assert extent.generation not in self.seen
        self.seen.add(extent.generation)
        self.granted[extent.generation] = (owner, extent)

    @precondition(lambda self: self.granted)
    @rule(data=st.data(), references=st.integers(0, 3))
    def commit(self, data: st.DataObject, references: int) -> None:
        generation = data.draw(st.sampled_from(sorted(self.granted)))
        _, extent = self.granted.pop(generation)
        self.pool.commit(extent, references)
        if references:
            self.references[generation] = (extent, references)

    @precondition(lambda self: self.references)
    @rule(data=st.data(), by=st.sampled_from([1, -1]))
    def retain_or_release(self, data: st.DataObject, by: int) -> None:
        generation = data.draw(st.sampled_from(sorted(self.references)))
        extent, references = self.references.pop(generation)
        (self.pool.retain if by > 0 else self.pool.release)(generation)
        if references + by:
            self.references[generation] = (extent, references + by)

    @rule(owner=st.integers(1, 3))
    def die(self, owner: int) -> None:
        self.pool.retire(self.owner_ids[owner])
        self.owner_ids[owner] += 10
        self.granted = {key: value for key, value in self.granted.items() if value[0] != owner}

    @invariant()
    def what_lives_never_overlaps(self) -> None:
        live = [extent for _, extent in self.granted.values()] + [
            extent for extent, _ in self.references.values()
        ]
        places = {
            (extent.segment, extent.offset + at)
            for extent in live
            for at in range(0, extent.nbytes, SMALLEST)
        }
        assert len(places) * SMALLEST == sum(extent.nbytes for extent in live) == self.pool.in_use

    @invariant()
    def memory_is_within_the_limit_and_covers_what_lives(self) -> None:
        assert self.pool.in_use <= self.pool.held <= self.pool.limit

    @invariant()
    def what_is_referenced_or_being_written_is_mapped_and_never_dropped(self) -> None:
        self.dropped.update(self.pool.take_dropped())
        for extent, _ in self.references.values():
            assert extent.segment not in self.dropped
            assert len(self.pool.view(extent.segment, extent.offset, extent.nbytes)) == extent.nbytes
        for owner, extent in self.granted.values():
            assert self.pool.owns(self.owner_ids[owner], leaf(extent))
            assert not self.pool.owns(99, leaf(extent))


Books.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestBooks = Books.TestCase
