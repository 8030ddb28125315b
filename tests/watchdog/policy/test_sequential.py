import math

import numpy as np
import pytest

from regrain_watchdog.policy.sequential import Shortfall


def blamed(rate, *, predicted, blocks, size, seed, burst=0.0):
    """Whether a plan of a hit rate is blamed within so many blocks; with `burst`, some blocks miss nearly all."""
    rng = np.random.default_rng(seed)
    watch = Shortfall(predicted)
    for _ in range(blocks):
        p = 0.05 if rng.random() < burst else rate
        hits = int(rng.binomial(size, p))
        if watch.add(hits, size - hits):
            return True
    return False


@pytest.mark.parametrize("rate", [0.95, 0.92])
def test_a_plan_that_does_about_as_predicted_is_not_blamed(rate):
    assert sum(blamed(rate, predicted=0.96, blocks=240, size=60, seed=seed) for seed in range(20)) == 0


def test_a_plan_that_falls_far_short_is_blamed_within_a_few_blocks():
    assert all(blamed(0.7, predicted=0.96, blocks=10, size=60, seed=seed) for seed in range(50))


def test_bursts_of_misses_are_taken_for_what_they_are():
    """One block in thirty that misses nearly all makes a mean of 0.93: within the tolerance, if told from few draws."""
    found = sum(
        blamed(0.96, predicted=0.96, blocks=240, size=60, seed=seed, burst=1 / 30) for seed in range(30)
    )
    assert found <= 1


def test_nothing_is_said_without_requests():
    watch = Shortfall(0.9)
    assert not any(watch.add(0, 0) for _ in range(100))
    assert math.isnan(watch.measured)


@pytest.mark.parametrize("predicted", [0.0, 0.02, 1.0])
def test_predictions_at_the_ends_are_no_trouble(predicted):
    watch = Shortfall(predicted)
    assert [watch.add(10, 0) for _ in range(10)][-1] is False
    assert math.isfinite(watch.ratio())
