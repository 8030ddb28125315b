from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.picture.settle import Item, settle

finite = st.floats(-1000, 1000)
items = st.lists(
    st.builds(Item, wish=finite, above=st.floats(0, 50), below=st.floats(0, 50), weight=st.floats(0.1, 100))
)


def test_things_that_do_not_meet_get_what_they_wish():
    assert settle([Item(wish=w, above=1, below=1, weight=1) for w in (0, 10)], gap=2) == [0, 10]


def test_two_that_want_the_same_place_part_evenly():
    assert settle([Item(wish=5, above=1, below=1, weight=1)] * 2, gap=2) == [3, 7]


def test_the_heavier_one_gives_way_less():
    heavy, light = settle(
        [Item(wish=0, above=1, below=1, weight=99), Item(wish=0, above=1, below=1, weight=1)], gap=0
    )

    assert heavy == pytest.approx(-0.02)
    assert light == pytest.approx(1.98)


@given(items, st.floats(0, 50))
def test_nothing_overlaps_and_the_order_is_kept(row, gap):
    places = settle(row, gap)

    for (upper, at), (lower, below) in pairwise(zip(row, places, strict=True)):
        assert below - at >= upper.below + gap + lower.above - 1e-6


@given(items.filter(bool), st.floats(0, 50), st.integers(0, 100), st.floats(-5, 5))
def test_no_other_way_to_place_them_is_nearer_to_the_wishes(row, gap, pick, shift):
    """Pushing any tail of the row, as far as that is allowed, makes it no better."""
    places = settle(row, gap)

    def cost(at):
        return sum(item.weight * (place - item.wish) ** 2 for item, place in zip(row, at, strict=True))

    start = pick % len(row)
    for other in ([*places[:start], *(p + abs(shift) for p in places[start:])], [p + shift for p in places]):
        assert cost(other) >= cost(places) - 1e-6 * (1 + cost(places))
