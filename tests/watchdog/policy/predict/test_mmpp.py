import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain_watchdog.policy.predict.mmpp import FEWEST, Process, dispersions, fit, poisson


def phased(rates, stays, span, seed):
    """Draw arrivals of an MMPP(2)."""
    rng = np.random.default_rng(seed)
    now, phase, at = 0.0, 0, []
    while now < span:
        end = min(span, now + rng.exponential(stays[phase]))
        at.append(rng.uniform(now, end, rng.poisson(rates[phase] * (end - now))))
        now, phase = end, 1 - phase
    return np.sort(np.concatenate(at))


def test_a_process_of_two_phases_has_their_mean_rate_and_weighs_them_by_what_comes_in_each():
    process = Process((10.0, 40.0), (2.0, 1.0))

    assert process.rate == pytest.approx(20.0)
    assert process.weights == pytest.approx((1 / 3, 2 / 3))
    assert process.shares == pytest.approx((2 / 3, 1 / 3))


def test_the_dispersion_is_one_at_once_and_heffes_and_lucantonis_limit_in_the_end():
    process = Process((10.0, 40.0), (2.0, 1.0))
    limit = 1 + 2 * (2 / 3) * (1 / 3) * 30**2 / (20 * 1.5)

    assert process.dispersion(1e-9) == pytest.approx(1.0, abs=1e-6)
    assert process.dispersion(1e9) == pytest.approx(limit)


@settings(max_examples=25, deadline=None)
@given(rate=st.floats(5, 200), seed=st.integers(0, 1000))
def test_what_came_at_random_is_hardly_ever_called_bursty_by_much(rate, seed):
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0, 60, rng.poisson(rate * 60)))

    process = fit(at, 60.0)

    assert process.rate == pytest.approx(len(at) / 60)
    assert process.dispersion(1.0) < 1.8


@settings(max_examples=25, deadline=None)
@given(
    slow=st.floats(5, 50),
    factor=st.floats(3, 8),
    stay=st.floats(0.5, 3),
    share=st.floats(0.2, 0.8),
    seed=st.integers(0, 100),
)
def test_a_fit_has_the_rate_and_about_the_dispersion_of_the_window(slow, factor, stay, share, seed):
    span = 600.0
    at = phased((slow, slow * factor), (stay * 2 * (1 - share), stay * 2 * share), span, seed)

    process = fit(at, span)

    assert process.rate == pytest.approx(len(at) / span, rel=1e-6)
    scales, found, errors = dispersions(at, span)
    scales, found = scales[errors < 0.2], found[errors < 0.2]
    for scale, one in zip(scales, found, strict=True):
        assert process.dispersion(float(scale)) == pytest.approx(one, rel=0.6, abs=0.6)


def test_the_same_window_gives_the_same_process():
    at = phased((10.0, 80.0), (2.0, 1.0), 120.0, 5)

    assert fit(at, 120.0) == fit(at, 120.0)


def test_a_short_window_is_taken_for_poisson():
    at = np.concatenate((np.linspace(0, 1, FEWEST // 2), np.linspace(50, 51, FEWEST // 2 - 1)))

    assert fit(at, 60.0) == poisson(len(at) / 60)
    assert fit(np.empty(0), 60.0) == poisson(0.0)
    assert fit(np.empty(0), 0.0) == poisson(0.0)


@pytest.mark.parametrize(("on", "off"), [(0.3, 0.7), (0.8, 0.5), (1.0, 1.0)])
def test_bursts_that_come_by_a_clock_are_told_by_their_rate_and_share(on, off):
    rng = np.random.default_rng(7)
    at = np.concatenate(
        [
            np.sort(rng.uniform(begin, begin + on, rng.poisson(200 * on)))
            for begin in np.arange(0.0, 60.0, on + off)
        ]
    )

    process = fit(at, 60.0)

    assert process.rates[0] < 10.0
    assert process.rates[1] == pytest.approx(200.0, rel=0.15)
    assert process.shares[1] == pytest.approx(on / (on + off), rel=0.15)
    assert 0.2 * on < process.stays[1] < on
