"""The anchors of the two policies of others."""

from itertools import product

import numpy as np
import pytest
from benchmarks.granularity.esg import Step, cheapest
from benchmarks.granularity.infless import Configuration, busiest, instances, ranked

from regrain_watchdog.policy.load import Arrivals

RESNET = (
    Configuration(2, 0.0, 1, 0.152),
    Configuration(4, 0.1, 4, 0.0988),
    Configuration(1, 0.0, 1, 0.320),  # over the objective
    Configuration(4, 0.1, 8, 0.160),  # over half of it
)
"""ResNet-50 as INFless' authors measured it, as far as it is public: the two most efficient of its configurations."""


def test_infless_serves_resnet_50_within_300_ms_without_a_gpu():
    best, second = ranked(RESNET, 0.3, 100.0)

    assert (best.threads, best.share, best.batch, best.most()) == (2, 0.0, 1, 6)
    assert (second.threads, second.share, second.batch) == (4, 0.1, 4)
    assert (second.least(0.3), second.most()) == (19, 40)


def test_infless_batches_only_what_fills_in_time():
    assert [one.batch for one in ranked(RESNET, 0.3, 18.0)] == [1]


def test_infless_keeps_instances_below_its_alpha():
    second = RESNET[1]

    assert instances(second, 0.3, 35.0) == 1  # 19 + 0.8 * (40 - 19) = 35.8
    assert instances(second, 0.3, 36.0) == 2


def flow(rng, stages, configurations):
    """Return stages whose configurations are dearer the faster they are, with noise."""
    found = []
    for _ in range(stages):
        seconds = np.sort(rng.lognormal(-2.5, 0.6, configurations))
        cost = np.sort(rng.lognormal(0.0, 0.6, configurations))[::-1] * rng.uniform(0.8, 1.25, configurations)
        found.append([Step(0.1, 1, float(t), float(c)) for t, c in zip(seconds, cost, strict=True)])
    return found


@pytest.mark.parametrize("seed", range(20))
def test_esg_finds_what_exhaustive_search_finds(seed):
    rng = np.random.default_rng(seed)
    stages = flow(rng, int(rng.integers(2, 5)), 12)
    paths = [
        (sum(step.cost for step in path), sum(step.seconds for step in path)) for path in product(*stages)
    ]
    fastest = sum(min(step.seconds for step in one) for one in stages)

    for factor in (0.9, 1.05, 1.3, 2.0, 4.0):
        deadline = factor * fastest
        found = cheapest(stages, deadline)
        able = [cost for cost, seconds in paths if seconds <= deadline]
        if not able:
            assert found.path == ()
            continue
        assert found.cost == pytest.approx(min(able))
        assert sum(step.seconds for step in found.path) <= deadline


@pytest.mark.parametrize("seed", range(5))
def test_esg_looks_at_a_tenth_of_the_partial_paths_at_most(seed):
    stages = flow(np.random.default_rng(seed), 5, 60)
    fastest = sum(min(step.seconds for step in one) for one in stages)

    found = cheapest(stages, 1.5 * fastest)

    assert found.visited < 0.1 * sum(60**depth for depth in range(1, 6))
    assert found.path


def test_infless_is_made_for_the_rates_that_come_and_not_for_their_mean():
    calm = Arrivals(np.arange(0.0, 600.0, 0.5), np.zeros(1200), np.zeros((1200, 0), np.int32), 600.0)
    at = np.concatenate([np.arange(begin, begin + 60.0, 0.1) for begin in (0.0, 300.0)])
    bursty = Arrivals(at, np.zeros(len(at)), np.zeros((len(at), 0), np.int32), 600.0)

    assert calm.rate == bursty.rate == 2.0
    assert busiest(calm) == 2.0
    assert busiest(bursty) == 10.0
