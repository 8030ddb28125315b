"""A hold ends when it should, on a clock that stands still unless it is moved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_runtime.emulated.hold import Held, hold

TICK = 1e-6


class Clock:
    """A clock that moves by a microsecond whenever it is read; its sleeps end late by `overshoot`."""

    def __init__(self, overshoot=0.0):
        self.now = 100.0
        self.overshoot = overshoot
        self.slept = []

    def __call__(self):
        self.now += TICK
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds + self.overshoot


def held_on(clock, seconds, spin=0.0002):
    return hold(seconds, clock=clock, sleep=clock.sleep, spin=spin)


def test_it_sleeps_until_shortly_before_the_end_and_spins_the_rest():
    clock = Clock()

    held = held_on(clock, 0.01)

    assert clock.slept == [pytest.approx(0.0098)]
    assert held.took == pytest.approx(0.01, abs=2 * TICK)


def test_a_hold_as_short_as_the_spin_does_not_sleep():
    clock = Clock()

    held = held_on(clock, 0.0002)

    assert clock.slept == []
    assert held.took == pytest.approx(0.0002, abs=2 * TICK)


@given(st.floats(0.0, 0.01), st.floats(0.0, 0.0005))
def test_it_never_ends_early_and_late_only_by_what_the_sleep_is_late_beyond_the_spin(seconds, overshoot):
    held = held_on(Clock(overshoot), seconds)

    late = held.took - seconds
    assert late >= -1e-9
    assert late <= max(0.0, overshoot - 0.0002) + 3 * TICK


def test_the_error_is_a_part_of_what_was_asked():
    assert Held(asked=0.01, took=0.0105).error == pytest.approx(0.05)
    assert Held(asked=0.0, took=0.001).error == 0.0


def test_holding_for_no_time_returns_at_once():
    clock = Clock()

    assert held_on(clock, 0.0).took <= TICK * 2
    assert clock.slept == []


@pytest.mark.parametrize("seconds", [-0.001, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(SpecError, match="a hold lasts 0 seconds or more, was"):
        held_on(Clock(), seconds)


def test_on_the_real_clock_it_takes_at_least_what_was_asked():
    assert hold(0.002).took >= 0.002
