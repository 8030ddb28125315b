import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.restart import LONGEST, LOOP, SETTLED, deaths_in_a_row, delay, is_loop


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
