"""What load is expected, and what counts as another one."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain_watchdog.control.outlook import BURSTY, LISTENING, Outlook


@pytest.fixture
def told(arriving, seeing):
    """Tell an outlook of Poisson phases; return it, and (second, what changed) of each change."""

    def tell(*phases, seed=1):
        outlook, found = Outlook(0, begin=0.0, window=300.0, lean=0.5), []
        for seen in seeing(arriving(*phases, seed=seed), None):
            found += [(seen.now, one.what) for one in outlook.take(seen)]
        return outlook, found

    return tell


def test_a_lone_step_is_another_load(told):
    outlook, found = told((4.0, 200.0), (40.0, 40.0))

    assert [what for _, what in found] == ["rate"]
    assert not outlook.is_bursty
    assert outlook.expected().rate == pytest.approx(40.0, rel=0.2)


def test_a_load_that_turns_to_and_fro_is_one_bursty_load(told):
    outlook, found = told((4.0, 100.0), *[(40.0, 20.0), (4.0, 40.0)] * 4)

    expected = outlook.expected()
    assert len(found) == 1
    assert expected.is_bursty
    assert 6.0 < expected.rate < 25.0
    assert expected.peak > 30.0
    assert expected.low < expected.rate < expected.least


def test_a_bursty_load_that_swings_for_long_stays_one(told):
    outlook, found = told(*[(4.0, 40.0), (40.0, 20.0)] * 30)

    assert len(found) == 1
    assert outlook.is_bursty


@pytest.mark.parametrize(("rate", "within"), [(200.0, 12.0), (0.2, 40.0)])
def test_a_bursty_load_that_goes_where_it_never_was_is_another_one(told, rate, within):
    swings = [(4.0, 40.0), (40.0, 20.0)] * 5
    _, found = told(*swings, (4.0, 40.0), (rate, 60.0))

    assert 340.0 < found[-1][0] <= 340.0 + within


@pytest.mark.parametrize("seed", range(4))
def test_ten_times_a_bursty_load_is_found_within_seconds_though_it_comes_in_a_lull(told, seed):
    """Its lull brings less than twice what the bursts did before, for which nobody waits that knows them."""
    swings = [(4.0, 40.0), (24.0, 10.0)] * 7
    _, found = told(*swings, (40.0, 12.0), seed=seed)

    assert [at for at, what in found if at > 350.0 and what == "rate"][:1] <= [356.0]
    assert [at for at, _ in found if at > 350.0]


def test_a_load_that_swings_is_not_saved_on_before_it_has_done_so_for_minutes(told):
    swings = [(4.0, 20.0), (24.0, 20.0)]
    early, late = (told((4.0, 60.0), *swings * times)[0] for times in (4, 9))

    assert early.is_bursty
    assert not early.expected().is_settled
    assert late.is_bursty
    assert late.expected().is_settled


def test_a_load_that_has_calmed_down_is_bursty_no_more(told):
    swings = [(4.0, 40.0), (40.0, 20.0)] * 5
    calm, _ = told(*swings, (4.0, 3 * BURSTY))

    assert not calm.is_bursty
    assert calm.expected().rate == pytest.approx(4.0, rel=0.2)


@pytest.mark.parametrize(("before", "after"), [(1.0, 10.0), (10.0, 1.0)])
def test_right_after_a_step_the_requests_before_it_show_how_they_come(told, before, after):
    """With those since then they would look like a burst."""
    outlook, _ = told((before, 300.0), (after, 10.0))

    load = outlook.expected().load
    halves = [len(load.between(0.0, load.span / 2)), len(load.between(load.span / 2, load.span))]
    assert max(halves) < 1.4 * min(halves)


def test_at_the_begin_no_plan_is_cheap_enough_to_be_trusted(told):
    assert told((10.0, LISTENING - 1.0))[0].expected().least == math.inf
    assert told((10.0, LISTENING + 1.0))[0].expected().least < 20.0


def test_a_change_of_the_rate_is_vague_for_a_while(told):
    assert told((4.0, 100.0))[0].young is None
    assert told((4.0, 100.0), (40.0, 10.0))[0].young == pytest.approx(40.0, rel=0.2)
    assert told((4.0, 100.0), (40.0, 60.0))[0].young is None


def test_a_rise_that_may_have_been_a_burst_is_not_saved_on_soon(told):
    assert told((4.0, 100.0), (40.0, 40.0))[0].expected().is_settled
    assert not told((4.0, 100.0), (40.0, 10.0), (4.0, 30.0))[0].expected().is_settled


def test_a_load_that_stays_for_minutes_each_time_is_another_one_each_time(told):
    outlook, found = told(*[(3.0, 200.0), (25.0, 200.0)] * 4)

    assert not outlook.is_bursty
    assert len(found) == 7
    assert outlook.expected().rate == pytest.approx(25.0, rel=0.2)


def test_right_after_a_step_the_load_before_the_last_one_does_not_count(told):
    outlook, _ = told((40.0, 100.0), (4.0, 150.0), (40.0, 3.0))

    load = outlook.expected().load
    halves = [len(load.between(0.0, load.span / 2)), len(load.between(load.span / 2, load.span))]
    assert max(halves) < 1.4 * min(halves)


def test_a_rate_that_is_vague_is_planned_for_with_a_margin(told):
    outlook, _ = told((4.0, 200.0), (40.0, 2.0))

    expected = outlook.expected()
    assert expected.is_fresh
    assert expected.load.rate > 1.05 * expected.rate


@given(seed=st.integers(0, 50), rate=st.floats(2.0, 30.0), lasts=st.integers(20, 300))
@settings(max_examples=8, deadline=None)
def test_what_is_sure_to_come_is_less_than_what_is_expected_and_no_less_the_longer_it_lasts(
    arriving, seeing, seed, rate, lasts
):
    outlook = Outlook(0, begin=0.0, window=300.0, lean=0.5)
    for seen in seeing(arriving((rate, float(lasts)), seed=seed), None):
        outlook.take(seen)

    expected = outlook.expected()
    assert not expected.is_fresh
    assert expected.low <= expected.rate <= 1.001 * expected.load.rate <= 1.002 * expected.least


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_saving_that_was_undone_makes_it_hold_on_for_longer(arriving, seeing, seed):
    """What was planned for counts on, so that a cheaper plan must bear no less than without regret, and later more."""
    plain, regretting = (Outlook(0, begin=0.0, window=300.0, lean=0.5) for _ in range(2))
    regretting.regret(0.0)

    least = []
    for seen in seeing(arriving((6.0, 150.0), (5.5, 700.0), seed=seed), None):
        plain.take(seen)
        regretting.take(seen)
        if seen.now % 50 == 0 and (told := plain.expected()) is not None:
            least.append((told.least, regretting.expected().least))

    assert all(one <= other for one, other in least)
    assert least[-1][0] < least[-1][1]


@pytest.mark.parametrize("seed", range(3))
def test_what_was_forecast_of_the_bursts_does_not_outlast_them(told, seed):
    swings = [(20.0, 40.0), (80.0, 20.0)] * 8

    outlook, found = told(*swings, (20.0, 40.0), (1.0, 90.0), seed=seed)

    assert [at for at, what in found if at > 520.0 and what == "rate"]
    assert outlook.expected().rate < 2.0


def test_after_a_silence_that_ended_the_bursts_a_step_is_found_at_once(told):
    """It is held against what came since, not against the bursts."""
    swings = [(4.0, 40.0), (40.0, 20.0)] * 8

    _, found = told(*swings, (4.0, 40.0), (0.5, 200.0), (8.0, 20.0))

    assert [at for at, what in found if at > 720.0 and what == "rate"][:1] <= [728.0]
    assert [at for at, _ in found if at > 720.0]


def test_a_bursty_load_of_so_many_requests_that_few_seconds_are_remembered_stays_one(told):
    outlook, found = told((10_000.0, 30.0), (20_000.0, 20.0), (10_000.0, 60.0))

    assert len(found) == 1
    assert outlook.is_bursty
