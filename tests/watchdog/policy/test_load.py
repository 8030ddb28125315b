from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.load import SCALES, Arrivals, counts, dispersion, traits


def arrivals(at: list[float], span: float, widths: int = 1) -> Arrivals:
    return Arrivals(
        np.array(at), np.arange(len(at), dtype=float), np.ones((len(at), widths), dtype=np.int32), span
    )


def poisson(rate: float, span: float, seed: int) -> Arrivals:
    rng = np.random.default_rng(seed)
    return arrivals(sorted(rng.uniform(0, span, rng.poisson(rate * span))), span)


def test_poisson_arrivals_have_no_bursts_at_any_scale() -> None:
    told = traits(poisson(20, 3600, 1))

    assert told.rate == pytest.approx(20, rel=0.05)
    assert told.cv2 == pytest.approx(1, rel=0.1)
    assert all(0.6 < value < 1.6 for value in told.dispersion)


def test_a_load_that_comes_and_goes_shows_its_swings_at_the_scales_that_hold_them() -> None:
    at = [30 * cycle + i / 40 for cycle in range(40) for i in range(400)]  # 10 s on, 20 s off

    told = traits(arrivals(at, 1200))

    assert told.cv2 > 5
    assert told.dispersion[0] < told.dispersion[1]


def test_what_is_too_short_to_tell_is_not_told() -> None:
    told = traits(arrivals([0.5, 0.7], 20.0))

    assert math.isnan(told.cv2)
    assert [math.isnan(value) for value in told.dispersion] == [False, True, True]
    assert traits(arrivals([], 0.0)).size == ()


def test_requests_are_counted_in_whole_stretches_alone() -> None:
    assert counts(arrivals([0.1, 0.2, 1.5, 2.9, 3.2], 3.5), 1.0).tolist() == [2, 1, 1]
    assert counts(arrivals([0.1], 0.5), 1.0).tolist() == []


def test_equal_counts_have_no_dispersion() -> None:
    assert dispersion(np.full(10, 3.0)) == 0.0


@given(st.lists(st.floats(0, 100), max_size=50).map(sorted), st.floats(0.5, 50))
def test_scaling_gives_another_rate_and_keeps_everything_else(at: list[float], rate: float) -> None:
    seen = arrivals(at, 100.0)
    if not at:
        return

    other = seen.scaled(rate)

    assert other.rate == pytest.approx(rate)
    assert len(other) == len(seen)
    assert other.at == pytest.approx(seen.at * seen.rate / rate)


@given(st.lists(st.floats(0, 100), max_size=50).map(sorted), st.floats(0, 100), st.floats(0, 100))
def test_two_parts_hold_what_the_whole_holds(at: list[float], one: float, other: float) -> None:
    seen = arrivals(at, 101.0)
    cut = min(one, other)

    first, second = seen.between(0.0, cut), seen.between(cut, 101.0)

    assert [*first.size, *second.size] == list(seen.size)
    assert len(SCALES) == len(traits(seen).dispersion)


@pytest.mark.parametrize("span", [0.0, -5.0])
def test_of_no_span_there_are_no_counts(span: float) -> None:
    assert counts(arrivals([], span), 1.0).tolist() == []
