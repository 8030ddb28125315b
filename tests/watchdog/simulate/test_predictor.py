from functools import partial

import numpy as np
import pytest

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.predict.predictor import Predictor
from regrain_watchdog.simulate.predictor import Simulated, replay_of, sample_of


@pytest.fixture(scope="module")
def served(plan):
    """Make a plan of so many servers, each busy for some 20 ms with a request."""
    return partial(plan, 0.02, slo=0.1, cv=0.2)


def window(rate: float, seconds: float) -> Arrivals:
    rng = np.random.default_rng(1)
    at = np.cumsum(rng.exponential(1 / rate, int(rate * seconds)))
    return Arrivals(at, np.zeros(len(at)), np.zeros((len(at), 0), np.int32), max(seconds, float(at[-1])))


def test_more_servers_hit_more_and_are_less_busy(served):
    predictor: Predictor = Simulated()
    load = window(100.0, 30.0)

    few, enough, many = (predictor.predict(served(servers), load) for servers in (1, 3, 6))

    assert few.hit_rate < 0.6 < enough.hit_rate <= many.hit_rate
    assert few.busy[0] > 0.9 > enough.busy[0] > many.busy[0]
    assert enough.busy[0] == pytest.approx(100 * 0.02 / 3, rel=0.05)
    assert 0.02 * 0.5 < many.p50 <= many.p95 <= many.p99


def test_equal_seeds_predict_the_same_and_others_do_not(served):
    load = window(100.0, 10.0)

    first, again, other = (Simulated().predict(served(3), load, seed=seed) for seed in (1, 1, 2))

    assert first == again != other


def test_the_spread_tells_how_far_predictions_lie_apart(served):
    model = served(3, slo=0.045)
    found = [Simulated().predict(model, window_of(seed)) for seed in range(20)]

    deviation = np.std([one.hit_rate for one in found])
    assert np.mean([one.spread for one in found]) == pytest.approx(deviation, rel=0.6)


def window_of(seed: int) -> Arrivals:
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.exponential(0.008, 3000))
    return Arrivals(at, np.zeros(3000), np.zeros((3000, 0), np.int32), float(at[-1]))


def test_a_short_window_is_followed_by_blocks_of_itself():
    load = window(5.0, 10.0)

    replayed, uncounted = replay_of(load, 1000, seed=1)

    assert len(replayed) == 1000 + uncounted
    assert replayed.rate == pytest.approx(load.rate, rel=0.15)
    assert (np.diff(replayed.at) >= 0).all()


def test_no_requests_are_all_answered(served):
    load = Arrivals(np.zeros(0), np.zeros(0), np.zeros((0, 0), np.int32), 10.0)

    assert Simulated().predict(served(1), load).hit_rate == 1.0


def test_of_a_long_window_pieces_from_all_of_it_are_replayed_at_its_rate(served):
    quiet, loud = window(10.0, 300.0), window(100.0, 300.0)
    load = Arrivals(
        np.concatenate([quiet.at, quiet.span + loud.at]),
        np.concatenate([np.zeros(len(quiet)), np.ones(len(loud))]),
        np.zeros((len(quiet) + len(loud), 0), np.int32),
        quiet.span + loud.span,
    )

    sample = sample_of(load, 5000)

    assert len(sample) == 5000
    assert sample.rate == pytest.approx(load.rate)
    assert sample.size.mean() == pytest.approx(load.size.mean(), abs=0.1)
    assert (np.diff(sample.at) >= 0).all()
    assert sample_of(quiet, 5000) is quiet
    assert Simulated(most=5000).predict(served(3), load) == Simulated().predict(served(3), sample)


@pytest.mark.parametrize("seed", range(5))
def test_bursts_have_the_share_in_the_pieces_that_they_have_in_the_window(seed):
    rng = np.random.default_rng(seed)
    counts = rng.geometric([1 / 1600, 1 / 900], (30, 2)).ravel()
    is_burst = np.repeat(np.tile([0.0, 1.0], 30), counts)
    gaps = rng.exponential(np.where(is_burst > 0, 0.01, 0.1))
    load = Arrivals(np.cumsum(gaps), is_burst, np.zeros((len(gaps), 0), np.int32), float(gaps.sum()) + 0.1)

    sample = sample_of(load, 10_000)

    assert sample.size.mean() == pytest.approx(is_burst.mean(), abs=0.03)
