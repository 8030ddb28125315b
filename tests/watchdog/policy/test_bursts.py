"""Whether a bursty load has gone beyond its bursts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain_watchdog.policy.bursts import LEAST, Bursts, high_level

LOW, HIGH, LULL, BURST = 0.5, 3.0, 40, 10


def counts(rate, cycles, seed):
    """Return the counts of each second of lulls and bursts, and the generator that goes on."""
    rng = np.random.default_rng(seed)
    rates = rate * np.array(([LOW] * LULL + [HIGH] * BURST) * cycles)
    return rng.poisson(rates).astype(float), rng


def known(rate, seed, cycles=8):
    found, rng = counts(rate, cycles, seed)
    bursts = Bursts()
    bursts.learn(found)
    return bursts, rng


@pytest.mark.parametrize("rate", [3.0, 10.0, 100.0])
def test_the_rate_of_the_bursts_is_told_apart(rate):
    high, spread = high_level(counts(rate, 12, 1)[0])

    assert high == pytest.approx(HIGH * rate, rel=0.1)
    assert spread < 1.5


@pytest.mark.parametrize(("rate", "within"), [(5.0, 10), (10.0, 5), (30.0, 2)])
@pytest.mark.parametrize("seed", range(4))
def test_ten_times_the_load_is_found_in_a_lull(rate, within, seed):
    """It brings five thirds of what the bursts brought before."""
    bursts, rng = known(rate, seed)

    found = [bursts.update(1.0, int(rng.poisson(10 * LOW * rate))) for _ in range(within)]

    assert found[-1] is not None
    assert found[-1].after == pytest.approx(10 * LOW * rate, rel=0.4)
    assert 0 < found[-1].seconds <= within


@given(rate=st.floats(2.0, 50.0), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_load_that_swings_as_before_is_no_other_one(rate, seed):
    """For the test's four false alarms in as many hours at most; there are hardly any."""
    bursts, _ = known(rate, seed)
    later, _ = counts(rate, 24, seed + 1)

    assert sum(bursts.update(1.0, int(count)) is not None for count in later) <= 4


def test_nothing_is_said_of_a_load_that_is_not_known():
    bursts = Bursts()
    bursts.learn(np.full(LEAST - 1, 5.0))
    bursts.learn(np.zeros(10 * LEAST))

    assert [bursts.update(1.0, 1000) for _ in range(5)] == [None] * 5


def test_what_is_forgotten_raises_no_alarm():
    bursts, _ = known(10.0, 1)
    before = bursts.update(1.0, 1000)
    bursts.forget()

    assert before is not None
    assert bursts.seconds == 0.0
    assert bursts.update(1.0, 1000) is None


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=200).filter(any))
def test_any_counts_have_a_high_level(found):
    high, spread = high_level(np.array(found, dtype=np.float64))

    assert 0 < high < np.inf
    assert 1 <= spread < np.inf
