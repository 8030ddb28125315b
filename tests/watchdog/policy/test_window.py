from __future__ import annotations

import timeit

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.window import RecentArrivals


def test_what_was_noted_comes_back_in_order() -> None:
    recent = RecentArrivals(2, begin=100.0)
    first = recent.note(10.0, now=101.0)
    second = recent.note(20.0, now=102.0)
    recent.widen(second, 1, 7)
    recent.widen(first, 1, 5)
    recent.widen(first, 0, 3)

    seen = recent.arrivals(now=104.0)

    assert seen.at.tolist() == [1.0, 2.0]
    assert seen.size.tolist() == [10.0, 20.0]
    assert seen.widths.tolist() == [[3, 5], [3, 7]]
    assert seen.span == 4.0


def test_a_width_that_nobody_knows_is_one() -> None:
    recent = RecentArrivals(1, begin=0.0)
    recent.note(1.0, now=1.0)
    recent.widen(recent.note(1.0, now=2.0), 0, 4)
    recent.note(1.0, now=3.0)

    assert recent.arrivals(now=3.0).widths.tolist() == [[1], [4], [4]]


def test_a_full_ring_forgets_the_oldest_and_tells_the_shorter_window() -> None:
    recent = RecentArrivals(0, begin=0.0, most=4)
    for second in range(1, 11):
        recent.note(float(second), now=float(second))

    seen = recent.arrivals(now=10.5)

    assert seen.size.tolist() == [7.0, 8.0, 9.0, 10.0]
    assert seen.span == 3.5
    assert recent.count == 10


def test_a_time_of_which_all_is_forgotten_is_an_empty_window_of_no_span() -> None:
    recent = RecentArrivals(0, begin=0.0, most=4)
    for second in range(1, 11):
        recent.note(float(second), now=float(second))

    seen = recent.arrivals(now=5.0)

    assert (len(seen), seen.span, seen.rate) == (0, 0.0, 0.0)


def test_a_width_of_a_request_that_is_forgotten_changes_no_other() -> None:
    recent = RecentArrivals(1, begin=0.0, most=2)
    old = recent.note(1.0, now=1.0)
    for second in (2.0, 3.0):
        recent.widen(recent.note(1.0, now=second), 0, 2)

    recent.widen(old, 0, 99)

    assert recent.arrivals(now=4.0).widths.tolist() == [[2], [2]]


def test_an_idle_window_is_empty_and_has_its_span() -> None:
    recent = RecentArrivals(1, begin=0.0, seconds=60.0)
    recent.note(1.0, now=1.0)

    seen = recent.arrivals(now=500.0)

    assert (len(seen), seen.span, seen.rate) == (0, 60.0, 0.0)
    assert seen.widths.shape == (0, 1)


@given(
    st.lists(st.floats(0, 3), max_size=60),
    st.integers(1, 20),
    st.floats(0.1, 30),
)
def test_it_holds_what_a_list_of_all_requests_would(gaps: list[float], most: int, seconds: float) -> None:
    recent = RecentArrivals(1, begin=0.0, seconds=seconds, most=most)
    at = np.cumsum(gaps).tolist()
    for number, time in enumerate(at):
        recent.widen(recent.note(float(number), now=time), 0, number)
    now = at[-1] if at else 0.0

    seen = recent.arrivals(now=now)

    held = [number for number in range(len(at)) if number >= len(at) - most and at[number] >= now - seconds]
    assert seen.size.tolist() == held
    assert seen.widths[:, 0].tolist() == held
    assert (np.diff(seen.at) >= 0).all()
    assert all(0 <= time <= seen.span + 1e-9 for time in seen.at)


def test_noting_a_request_costs_next_to_nothing() -> None:
    """A microsecond and less; held to 20 here, so that a busy machine does not matter."""
    recent = RecentArrivals(1, begin=0.0)

    def note() -> None:
        recent.widen(recent.note(1.0, now=1.0), 0, 2)

    assert min(timeit.repeat(note, number=2000, repeat=5)) / 2000 < 20e-6
