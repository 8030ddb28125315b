"""Replicas on GPUs: none is put where it does not fit, and one that fits somewhere is put."""

from hypothesis import given
from hypothesis import strategies as st

from regrain.plan import GpuShare
from regrain_watchdog.policy.place import Room, choose, place

floors = st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])
shares = st.builds(lambda memory, floor: GpuShare(memory=memory, floor=floor), st.integers(0, 40), floors)
rooms = st.lists(st.builds(Room, st.integers(0, 40), floors), max_size=4)


@given(rooms, shares)
def test_one_more_goes_where_most_is_free_of_where_it_fits(found, share):
    able = [room for room in found if share.memory <= room.memory and share.floor <= room.floor]

    at = choose(found, share)

    assert (at is None) == (not able)
    if at is not None:
        assert found[at] in able
        assert (found[at].floor, found[at].memory) == max((room.floor, room.memory) for room in able)


@given(rooms, st.lists(shares, max_size=6))
def test_no_device_is_given_more_than_it_has(found, wanted):
    seats = place(found, wanted)

    if seats is None:
        assert wanted
        return
    for number, room in enumerate(found):
        here = [share for share, seat in zip(wanted, seats, strict=True) if seat == number]
        assert sum(share.memory for share in here) <= room.memory
        assert sum(share.floor for share in here) <= room.floor + 1e-6


@given(rooms, shares)
def test_a_lone_share_finds_its_place_if_there_is_one(found, share):
    assert (place(found, [share]) is None) == (choose(found, share) is None)


def test_shares_that_fit_only_if_the_large_ones_go_first_are_placed():
    assert place([Room(10), Room(6)], [GpuShare(memory=6), GpuShare(memory=10)]) == [1, 0]


def test_shares_that_fit_only_if_large_floors_go_first_are_placed():
    wanted = [GpuShare(memory=4, floor=0.3), GpuShare(memory=3, floor=0.7), GpuShare(memory=2, floor=0.7)]
    wanted.append(GpuShare(memory=4, floor=0.3))

    assert place([Room(16), Room(16)], wanted) == [0, 0, 1, 1]


def test_more_than_there_is_fits_nowhere():
    assert place([Room(16), Room(16)], [GpuShare(floor=0.5)] * 5) is None
    assert place([], [GpuShare()]) is None


def test_a_slice_of_a_gpu_takes_no_lease_of_more_and_the_smallest_that_covers_one_is_chosen():
    slices = [Room(40, part=4 / 7), Room(10, part=1 / 7), Room(20, part=2 / 7)]

    assert choose(slices, GpuShare(fraction=1 / 7)) == 1
    assert choose(slices, GpuShare(fraction=0.2)) == 2
    assert choose(slices, GpuShare(fraction=0.2, memory=30)) == 0
    assert choose(slices, GpuShare(fraction=0.6)) is None
