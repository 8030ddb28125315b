import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.batch import (
    HASTE,
    MAX_PACKED,
    PACKED_WORK,
    due,
    may_hold,
    smoothed,
    timely,
    units_together,
)

seconds = st.floats(0, 1e6)
sizes = st.integers(1, 1000)


@pytest.mark.parametrize(
    ("waiting", "now", "when"),
    [
        pytest.param(3, 10.001, 10.005, id="three wait for more"),
        pytest.param(3, 10.006, 10.005, id="three have waited long enough"),
        pytest.param(8, 10.002, 10.002, id="a full batch goes at once"),
    ],
)
def test_a_batch_goes_when_it_is_full_or_its_first_unit_has_waited(waiting, now, when):
    assert due(waiting, 10.0, max_size=8, max_wait=0.005, now=now) == pytest.approx(when)


@given(sizes, seconds, sizes, seconds)
def test_without_a_wait_a_batch_goes_at_once(waiting, oldest, max_size, now):
    assert due(waiting, oldest, max_size=max_size, max_wait=0.0, now=now) == now


@given(sizes, seconds, sizes, st.floats(0, 60), st.floats(0, 60))
def test_no_unit_waits_longer_than_max_wait(waiting, oldest, max_size, max_wait, passed):
    now = oldest + passed

    assert due(waiting, oldest, max_size=max_size, max_wait=max_wait, now=now) <= max(now, oldest + max_wait)


@pytest.mark.parametrize(("service", "held"), [(40e-6, 2), (0.001, 1), (0.05, 1), (0.0, 1), (5e-324, 2)])
def test_behind_a_short_run_another_one_may_wait(service, held):
    assert may_hold(service) == held


@pytest.mark.parametrize(
    ("service", "max_size", "together"),
    [(10e-6, 1, 32), (100e-6, 1, 5), (0.001, 1, 1), (0.001, 8, 8), (0.0, 3, 3), (5e-324, 1, MAX_PACKED)],
)
def test_units_so_short_that_many_make_little_work_go_together(service, max_size, together):
    assert units_together(service, max_size=max_size) == pytest.approx(
        together, abs=1 if together == 5 else 0
    )


@given(st.floats(min_value=0, max_value=1e6), sizes)
def test_packing_never_goes_below_max_size_and_adds_little_work(service, max_size):
    together = units_together(service, max_size=max_size)

    assert together >= max_size
    assert together == max_size or (together <= MAX_PACKED and together * service <= PACKED_WORK * (1 + 1e-9))


@given(st.floats(1e-6, 1e3), st.floats(0, 1e3))
def test_a_mean_moves_towards_the_sample_and_never_past_it(mean, sample):
    low, high = sorted((mean, sample))

    assert low * (1 - 1e-9) <= smoothed(mean, sample) <= high * (1 + 1e-9)


def test_the_first_sample_is_the_mean():
    assert smoothed(0.0, 0.25) == 0.25


def test_a_batch_goes_early_enough_for_its_most_urgent_unit():
    assert due(3, 10.0, max_size=8, max_wait=0.005, now=10.001, latest=10.003) == 10.003 - HASTE
    assert due(3, 10.0, max_size=8, max_wait=0.005, now=10.001, latest=9.0) == 10.001


def test_a_batch_is_as_large_as_its_most_urgent_unit_has_time_for():
    assert timely(8, more=0.005, slack=0.012) == 3
    assert timely(8, more=0.005, slack=0.1) == 8
    assert timely(8, more=0.0, slack=-1.0) == 8


@given(sizes, st.floats(0, 1), st.floats(-1, 10))
def test_a_dispatch_holds_a_unit_and_no_more_than_are_in_time(size, more, slack):
    together = timely(size, more=more, slack=slack)

    assert 1 <= together <= size
    assert together == 1 or more * (together - 1) <= max(0.0, slack) * 1.000001
