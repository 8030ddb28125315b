import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.switch import PRIOR_DWELL, Reason, Standing, Terms, expected_dwell, judge

TERMS = Terms(attainment=0.95)
standings = st.builds(Standing, st.floats(0, 1), st.floats(0.01, 10))


def test_a_cheaper_plan_is_taken_once_it_earns_back_the_way_there():
    now, other = Standing(0.97, 1.0), Standing(0.96, 0.8)
    early = judge(now, other, charge=30.0, dwell=200.0, terms=TERMS)
    late = judge(now, other, charge=30.0, dwell=230.0, terms=TERMS)
    assert (early.goes, early.reason) == (False, Reason.CHARGE)
    assert (late.goes, late.reason) == (True, Reason.CHEAPER)
    assert early.needs == pytest.approx(225.0)


def test_a_plan_that_meets_the_objective_is_taken_whatever_it_costs():
    verdict = judge(Standing(0.9, 1.0), Standing(0.95, 9.0), charge=1e6, dwell=1.0, terms=TERMS)
    assert (verdict.goes, verdict.reason) == (True, Reason.MEETS)


def test_little_gains_move_nothing():
    assert (
        judge(Standing(0.96, 1.0), Standing(0.99, 0.98), charge=0.0, dwell=1e9, terms=TERMS).reason
        is Reason.MARGIN
    )
    assert (
        judge(Standing(0.5, 1.0), Standing(0.502, 1.0), charge=0.0, dwell=1e9, terms=TERMS).reason
        is Reason.MARGIN
    )


@given(standings, standings, st.floats(0, 100), st.floats(0, 1e5))
def test_nobody_goes_there_and_back(one, other, charge, dwell):
    there = judge(one, other, charge=charge, dwell=dwell, terms=TERMS)
    back = judge(other, one, charge=charge, dwell=dwell, terms=TERMS)
    assert not (there.goes and back.goes)


@given(standings, st.floats(0, 100), st.floats(0, 1e5))
def test_a_plan_is_never_left_for_itself(one, charge, dwell):
    assert not judge(one, one, charge=charge, dwell=dwell, terms=TERMS).goes


@given(standings, standings, st.floats(0, 100), st.floats(0, 1e5))
def test_what_meets_the_objective_is_never_left_for_what_does_not(one, other, charge, dwell):
    if one.hit_rate >= TERMS.attainment > other.hit_rate:
        assert not judge(one, other, charge=charge, dwell=dwell, terms=TERMS).goes


def test_dwell_is_learned_from_what_loads_have_lasted():
    assert expected_dwell([], 0.0) == PRIOR_DWELL
    assert expected_dwell([60.0] * 99, 0.0) == pytest.approx(65.4)
    assert expected_dwell([60.0], 7200.0) > 3000
    assert math.isfinite(expected_dwell([], 1e9))


def test_a_plan_in_force_that_misses_by_little_is_left_where_there_is_slack():
    near, other = Standing(0.94, 1.0), Standing(0.96, 1.2)
    strict, lenient = Terms(attainment=0.95), Terms(attainment=0.95, slack=0.02)

    assert judge(near, other, charge=0.0, dwell=1e9, terms=strict).reason is Reason.MEETS
    assert not judge(near, other, charge=0.0, dwell=1e9, terms=lenient).goes
    assert judge(Standing(0.92, 1.0), other, charge=0.0, dwell=1e9, terms=lenient).goes
