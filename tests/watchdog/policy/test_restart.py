import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.restart import (
    LONGEST,
    LOOP,
    SETTLED,
    SLOW,
    deaths_in_a_row,
    delay,
    is_loop,
    may_start,
)


@pytest.mark.parametrize(
    ("deaths", "seconds"), [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.4), (6, 3.2), (7, 5.0), (10_000, 5.0)]
)
def test_each_death_in_a_row_doubles_the_wait_up_to_a_limit(deaths, seconds):
    assert delay(deaths) == pytest.approx(seconds)


@given(st.integers(0, 10_000))
def test_more_deaths_never_wait_less(deaths):
    assert delay(deaths) <= delay(deaths + 1) <= LONGEST


def test_a_replica_that_had_settled_starts_the_count_anew():
    assert deaths_in_a_row(5, SETTLED) == 0
    assert deaths_in_a_row(5, SETTLED - 0.01) == 6


def test_a_replica_that_answered_a_request_starts_the_count_anew():
    assert deaths_in_a_row(5, 0.01, served=True) == 0


def test_a_group_whose_replicas_never_last_is_in_a_crash_loop():
    deaths = 0
    counts = []
    for _ in range(LOOP + 1):
        deaths = deaths_in_a_row(deaths, 0.1)
        counts.append(is_loop(deaths))

    assert counts == [False] * (LOOP - 1) + [True] * 2


def test_all_start_at_once_while_nobody_serves_and_by_half_of_the_cores_beside_those_that_do():
    assert may_start([0.1] * 9, 2, serving=False)
    assert may_start([], 1, serving=True)
    assert [may_start([0.1] * count, 8, serving=True) for count in (3, 4)] == [True, False]


def test_a_start_that_hangs_keeps_no_other_back():
    assert not may_start([SLOW - 0.1], 2, serving=True)
    assert may_start([SLOW, 1e9], 2, serving=True)
