"""How much more load is planned for where plans did worse than predicted."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.control.caution import FORGETTING, MISSED, MOST, Caution
from regrain_watchdog.control.outlook import Expected


@pytest.fixture(scope="session")
def expected(arriving):
    return Expected(load=arriving((10.0, 60.0)).scaled(10.0), rate=10.0, peak=12.0, dwell=600.0, low=8.0)


def over(caution, expected, now=0.0, in_vain=math.inf):
    return caution.over(expected, now, in_vain=in_vain)


def test_without_a_reason_what_comes_is_planned_for(expected):
    assert over(Caution(0.0), expected) is expected


@given(times=st.integers(1, 40))
def test_more_is_planned_for_with_each_reason_up_to_a_bound(expected, times):
    caution = Caution(0.0)
    for _ in range(times):
        caution.grow(MISSED)

    told = over(caution, expected)

    more = min(MISSED**times, MOST)
    assert [told.load.rate, told.low, told.rate] == pytest.approx([10 * more, 8 * more, 10.0])
    assert told.peak == pytest.approx(max(12.0, 10 * more))


def test_it_is_forgotten(expected):
    caution = Caution(0.0)
    caution.grow(1.5)

    rates = [over(caution, expected, now).load.rate for now in (0.0, FORGETTING, 20 * FORGETTING)]

    assert rates == pytest.approx([15.0, 10 * (1 + 0.5 / math.e), 10.0])


@pytest.mark.parametrize(("in_vain", "planned"), [(14.0, 10.0), (16.0, 15.0)])
def test_what_nothing_can_do_is_not_asked_for(expected, in_vain, planned):
    caution = Caution(0.0)
    caution.grow(1.5)

    assert over(caution, expected, in_vain=in_vain).load.rate == pytest.approx(planned)
