"""Which settings are measured, and in which order."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.profile.points import Axes, by_halves, doubling, settings


@pytest.mark.parametrize(
    ("most", "batches"), [(1, (1,)), (2, (1, 2)), (8, (1, 2, 4, 8)), (12, (1, 2, 4, 8, 12))]
)
def test_batches_double_up_to_the_largest(most, batches):
    assert doubling(most) == batches


def test_the_ends_of_an_axis_come_first_then_its_middles():
    assert by_halves(9) == [0, 4, 3, 4, 2, 4, 3, 4, 1]


@given(st.integers(1, 200))
def test_after_each_round_the_gaps_of_an_axis_are_halved(count):
    rounds = by_halves(count)

    for turn in range(1, max(rounds) + 1):
        there = [place for place, its in enumerate(rounds) if its <= turn]
        widest = max(after - before for before, after in pairwise(there))
        assert widest <= 2 + (count - 1) / 2 ** (turn - 1)


AXES = {
    "detect": Axes(batches=(1, 2, 4, 8), requests=(0, 1, 2), shares=(0.25, 0.5, 0.75, 1.0)),
    "decode": Axes(batches=(1,), requests=(0, 1, 2), shares=(1.0, 2.0), loads=True),
}


def test_each_setting_comes_once():
    found = settings(AXES)

    assert len(found) == len(set(found)) == 4 * 3 * 4 + 3 * 2


def test_an_interruption_leaves_the_whole_range_of_every_stage():
    begun = settings(AXES)[:14]

    corners = {(one.share, one.batch) for one in begun if one.stage == "detect"}
    assert {(1.0, 1), (1.0, 8), (0.25, 1)} <= corners
    assert any(one.stage == "decode" for one in begun[:2])


def test_a_stage_that_has_to_be_loaded_for_another_share_is_loaded_once_for_each():
    shares = [one.share for one in settings(AXES) if one.stage == "decode"]

    assert shares == [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
