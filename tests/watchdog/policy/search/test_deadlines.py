"""Deadlines over groups: in proportion, ascending along paths, and never beyond the objective."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.search.deadlines import budgets, lengths, split

DIAMOND = ((), (0,), (0,), (1, 2))


@st.composite
def flows(draw):
    count = draw(st.integers(1, 7))
    after = [
        tuple(sorted(draw(st.sets(st.integers(0, place - 1))) if place else ())) for place in range(count)
    ]
    return after, [draw(st.floats(0.01, 10)) for _ in range(count)]


@given(flows())
def test_deadlines_ascend_along_every_path_and_end_at_the_objective(flow):
    after, length = flow
    ends = split(after, length, 2.0)

    for place, needed in enumerate(after):
        assert 0 < ends[place] <= 2.0 + 1e-9
        assert all(ends[before] < ends[place] for before in needed)
    taken = {before for needed in after for before in needed}
    assert all(ends[place] == pytest.approx(2.0) for place in range(len(after)) if place not in taken)
    assert all(seconds > 0 for seconds in budgets(after, ends))


def test_a_chain_is_shared_in_proportion():
    assert budgets(((), (0,), (1,)), split(((), (0,), (1,)), (1, 2, 5), 16.0)) == pytest.approx((2, 4, 10))


def test_branches_have_the_seconds_of_the_longest():
    ends = split(DIAMOND, (1, 2, 4, 1), 6.0)

    assert ends == pytest.approx((1, 5, 5, 6))
    assert budgets(DIAMOND, ends) == pytest.approx((1, 4, 4, 1))


def test_lengths_are_averaged_over_configurations_each_in_its_own_measure():
    assert lengths(((1, 3), (20, 20))) == pytest.approx((0.375, 0.625))
