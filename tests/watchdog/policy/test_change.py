from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from regrain_watchdog.policy.change import Change, ChangeDetector

TICK = 0.25
Rate = Callable[[float], float]


def changes(
    rate: Rate,
    seconds: float,
    seed: int,
    *,
    size: Rate = lambda at: 1e4,
    width: Rate = lambda at: 4.0,
) -> list[tuple[float, Change]]:
    """Return what is found when, in a load with those means; sizes are lognormal, widths geometric."""
    rng = np.random.default_rng(seed)
    detector = ChangeDetector(1)
    found = []
    for tick in range(int(seconds / TICK)):
        at = tick * TICK
        count = int(rng.poisson(rate(at) * TICK))
        sizes = size(at) * rng.lognormal(0.0, 0.8, count)
        widths = rng.geometric(1 / width(at), count)
        found += [
            (at + TICK, change) for change in detector.update(TICK, count, sizes.tolist(), [widths.tolist()])
        ]
    return found


def switching(rates: tuple[float, float], dwell: tuple[float, float], seed: int) -> Rate:
    """An MMPP of two states, asked in the order of time."""
    rng = np.random.default_rng(seed)
    state, end = 0, float(rng.exponential(dwell[0]))

    def rate(at: float) -> float:
        nonlocal state, end
        while at >= end:
            state = 1 - state
            end += float(rng.exponential(dwell[state]))
        return rates[state]

    return rate


def step(before: float, after: float, at: float = 600.0) -> Rate:
    return lambda now: before if now < at else after


@pytest.mark.parametrize("rate", [2.0, 20.0])
def test_a_poisson_load_gives_at_most_one_false_alarm_an_hour(rate: float) -> None:
    hours = 1

    found = [change for seed in range(3) for change in changes(lambda at: rate, 3600 * hours, seed)]

    assert len(found) <= 3 * hours


@pytest.mark.parametrize(
    ("rates", "dwell"),
    [pytest.param((20, 60), (20, 20), id="even"), pytest.param((5, 40), (20, 5), id="bursts")],
)
def test_a_bursty_load_gives_at_most_one_false_alarm_an_hour_once_it_is_known(
    rates: tuple[float, float], dwell: tuple[float, float]
) -> None:
    known = 600.0

    found = [
        change
        for seed in range(3)
        for change in changes(switching(rates, dwell, seed), known + 3600, seed)
        if change[0] > known
    ]

    assert len(found) <= 3


@pytest.mark.parametrize("rate", [3.0, 10.0, 100.0])
@pytest.mark.parametrize("seed", range(3))
def test_ten_times_the_rate_is_found_within_two_seconds(rate: float, seed: int) -> None:
    found = changes(step(rate, 10 * rate), 610, seed)

    (at, change), *_ = [one for one in found if one[0] > 600]
    assert at <= 602
    assert change.what == "rate"
    assert change.before < 2 * rate
    assert change.after > 3 * rate


def test_ten_times_one_request_a_second_is_found_in_the_time_of_about_ten_requests() -> None:
    """More cannot be asked of it: chance alone makes so many of fewer now and then."""
    late = [
        next(at for at, _ in changes(step(1.0, 10.0, 120.0), 130, seed) if at > 120) - 120
        for seed in range(12)
    ]

    assert sum(seconds <= 2.0 for seconds in late) >= 10
    assert max(late) <= 4.0


def test_a_load_that_changes_every_few_minutes_is_found_each_time() -> None:
    turning = lambda at: 3.0 if at % 400 < 200 else 25.0  # noqa: E731 - a square wave

    found = [at for at, change in changes(turning, 2000, 1) if change.what == "rate"]

    assert [at // 200 for at in found] == list(range(1, 10))
    assert max(at % 200 for at in found) < 12.0


@pytest.mark.parametrize("seed", range(2))
def test_ten_times_the_rate_is_found_within_two_seconds_in_a_bursty_load_too(seed: int) -> None:
    bursty = switching((20, 60), (20, 20), seed)

    found = changes(lambda at: bursty(at) if at < 900 else 400.0, 910, seed)

    assert next(at for at, _ in found if at > 900) <= 902


@pytest.mark.parametrize(("factor", "bound"), [(2.0, 60.0), (0.5, 220.0), (0.1, 60.0)])
def test_smaller_steps_are_found_in_the_time_that_is_stated(factor: float, bound: float) -> None:
    """30 D / lambda and 110 D / lambda seconds in the mean; D comes out near 1.5 at most. Twice that is allowed."""
    rate = 2 * 30 * 1.5 / 60 * 10

    found = changes(step(rate, factor * rate), 600 + bound, 1)

    assert [change.what for at, change in found if at > 600][:1] == ["rate"]


def test_larger_requests_and_wider_ones_are_found() -> None:
    larger = changes(lambda at: 20.0, 630, 1, size=step(1e4, 4e4))
    wider = changes(lambda at: 20.0, 630, 1, width=step(3.0, 12.0))

    assert [(change.what, at < 605) for at, change in larger] == [("size", True)]
    assert [(change.what, at < 605) for at, change in wider] == [("width 0", True)]
    assert larger[0][1].after > 2 * larger[0][1].before


def test_requests_of_one_size_may_stay_so_forever() -> None:
    detector = ChangeDetector(0)

    found = [detector.update(TICK, 5, [1e4] * 5, []) for _ in range(4000)]

    assert set(found) == {()}


def test_a_load_that_swings_again_and_again_is_reported_less_and_less() -> None:
    swinging = lambda at: 10.0 if at % 60 < 30 else 100.0  # noqa: E731 - a square wave

    found = changes(swinging, 1800, 1)

    assert 1 <= len(found) <= 8
    assert not [at for at, _ in found if at > 1200]


def test_nothing_is_said_before_a_load_is_known() -> None:
    assert changes(step(5.0, 50.0, at=3.0), 9.0, 1) == []
