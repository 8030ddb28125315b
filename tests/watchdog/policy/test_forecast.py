from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.forecast import HORIZONS, Forecaster


def after(counts: list[int]) -> Forecaster:
    forecaster = Forecaster()
    for count in counts:
        forecaster.update(1.0, count)
    return forecaster


def test_a_steady_load_is_forecast_with_the_margin_of_its_noise() -> None:
    counts = np.random.default_rng(1).poisson(20, 1500).tolist()

    told = after(counts).forecast(10.0)

    assert told.rate == pytest.approx(20, rel=0.1)
    assert told.rate < told.high < 26
    assert told.error < 0.15
    assert 0.9 < told.coverage <= 1.0


@pytest.mark.parametrize("seconds", [30, 60, 75])
def test_before_any_memory_has_proved_best_all_that_was_seen_counts(seconds: int) -> None:
    off = [
        after(np.random.default_rng(seed).poisson(10, seconds).tolist()).forecast(60.0).rate - 10
        for seed in range(40)
    ]

    assert np.sqrt(np.mean(np.square(off))) < 1.3 * math.sqrt(10 / seconds)


def test_forecasts_from_the_first_seconds_do_not_widen_the_margin() -> None:
    counts = [0, 0, 0, *np.random.default_rng(1).poisson(1, 90).tolist()]

    told = after(counts).forecast(60.0)

    assert told.high < 2 * told.rate


def test_a_forecast_follows_a_load_that_has_changed() -> None:
    counts = np.random.default_rng(1).poisson([5] * 600 + [50] * 120).tolist()

    told = after(counts).forecast(10.0)

    assert told.rate == pytest.approx(50, rel=0.25)


def test_longer_horizons_average_over_more() -> None:
    rng = np.random.default_rng(1)
    forecaster = after(rng.poisson(20, 1500).tolist())

    margins = [forecaster.forecast(horizon).high - forecaster.forecast(horizon).rate for horizon in HORIZONS]

    assert margins == sorted(margins, reverse=True)


def test_a_load_that_swings_widens_the_margin() -> None:
    steady = after([20] * 600).forecast(10.0)
    swinging = after(([5] * 30 + [35] * 30) * 10).forecast(10.0)

    assert swinging.high > steady.high + 5
    assert swinging.error > steady.error


def test_before_anything_could_be_judged_errors_are_not_told() -> None:
    told = after([3, 4]).forecast(60.0)

    assert math.isnan(told.error)
    assert math.isnan(told.coverage)
    assert told.high > told.rate
    assert Forecaster().forecast(10.0).rate == 0.0


def test_a_horizon_between_those_kept_is_answered_by_the_next() -> None:
    forecaster = after([1] * 5)

    assert [forecaster.forecast(horizon).horizon for horizon in (1.0, 10.0, 11.0, 60.0, 900.0)] == [
        10,
        10,
        30,
        60,
        60,
    ]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=120), st.lists(st.integers(0, 100), max_size=30))
def test_a_forecast_knows_nothing_of_what_comes_after(past: list[int], future: list[int]) -> None:
    forecaster = after(past)
    told = [forecaster.forecast(horizon) for horizon in HORIZONS]

    whole = Forecaster()
    seen = []
    for count in past + future:
        whole.update(1.0, count)
        seen.append([whole.forecast(horizon) for horizon in HORIZONS])

    assert repr(seen[len(past) - 1]) == repr(told)


def test_after_a_change_the_forecast_follows_at_once_and_its_errors_are_kept() -> None:
    rng = np.random.default_rng(1)
    forecaster = after(rng.poisson(5, 900).tolist())
    before = forecaster.forecast(60.0)

    forecaster.restart(48.0)
    for count in rng.poisson(50, 90).tolist():
        forecaster.update(1.0, count)

    told = forecaster.forecast(60.0)
    assert told.rate == pytest.approx(50, rel=0.1)
    assert told.high < 60
    assert told.error < 2 * before.error


def test_parts_of_a_second_are_put_together() -> None:
    parts = Forecaster()
    for _ in range(30):
        for count in (1, 2, 0, 1):
            parts.update(0.25, count)

    assert parts.forecast(10.0) == after([4] * 30).forecast(10.0)
