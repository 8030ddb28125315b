"""What every predictor does, whatever it is made of."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from regrain.errors import RegrainError
from regrain_watchdog.control.learned import Learned
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.predict.verified import Verified
from regrain_watchdog.simulate.predictor import Simulated

RUN = 0.02
NOTABLE = 0.03
"""Of hit rate; less is noise of a replay."""

PREDICTORS = {
    "analytic": Analytic,
    "learned": Learned,
    "simulated": Simulated,
    "verified": lambda: Verified(Analytic(), Simulated()),
    "verified, not ready": lambda: Verified(Analytic()),
}


@pytest.fixture(params=PREDICTORS.values(), ids=PREDICTORS)
def make(request):
    return request.param


@pytest.fixture
def predictor(make):
    return make()


def station(place, *, max_size=1, scope=PER_REQUEST, cv=0.05):
    seconds = np.array([[0.0], *([RUN * (1 + 0.3 * more)] for more in range(max_size))])
    return Station(
        stages=(f"s{place}",),
        after=(place - 1,) if place else (),
        scope=scope,
        works=(Work(stage=place, scope=scope, seconds=seconds, cv=cv),),
        max_size=max_size,
        max_wait=0.0,
        pool=place,
        take=1.0,
        hop=0.0002,
    )


def chain(*stations, servers=1, slo=0.2, lists=0):
    pools = tuple(Pool(servers=servers, cards=(float(servers),)) for _ in stations)
    return Model(
        stations=stations,
        pools=pools,
        sizes=np.zeros(1),
        lists=lists,
        slo=slo,
        attainment=0.95,
        answer=0.0002,
    )


def load(rate, *, count=3000, lists=0, width=3, seed=0):
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.exponential(1 / rate, count))
    return Arrivals(at, np.zeros(count), np.full((count, lists), width, dtype=np.int32), float(at[-1]))


MODELS = {
    "one": (chain(station(0)), 0),
    "batches": (chain(station(0, max_size=4), station(1, max_size=2)), 0),
    "items": (chain(station(0), station(1, max_size=4, scope=0), lists=1), 1),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def plan(request):
    return request.param


@pytest.mark.parametrize("rate", [1.0, 20.0, 45.0, 200.0])
def test_a_prediction_is_within_its_bounds(predictor, plan, rate):
    model, lists = plan

    found = predictor.predict(model, load(rate, lists=lists))

    assert 0.0 <= found.hit_rate <= 1.0
    assert 0.0 <= found.p50 <= found.p95 <= found.p99
    assert len(found.busy) == len(model.pools)
    assert all(0.0 <= busy <= 1.0 for busy in found.busy)


def test_the_same_seed_gives_the_same_prediction(predictor, plan):
    model, lists = plan
    seen = load(30.0, lists=lists)

    assert predictor.predict(model, seen, seed=3) == predictor.predict(model, seen, seed=3)


def test_what_was_predicted_before_has_no_bearing_on_what_is_predicted_next(make, plan):
    model, lists = plan
    predictor, alone = make(), make().predict(model, load(30.0, lists=lists))
    predictor.predict(chain(station(0), servers=3), load(10.0))
    predictor.predict(chain(station(0), servers=3, slo=0.1), load(10.0))

    assert predictor.predict(model, load(30.0, lists=lists)) == alone


@pytest.mark.parametrize("rate", [20.0, 40.0, 60.0])
def test_more_replicas_are_never_notably_worse(predictor, plan, rate):
    model, lists = plan
    more = replace(model, pools=tuple(Pool(servers=2, cards=(2.0,)) for _ in model.pools))
    seen = load(rate, lists=lists)

    fewer = predictor.predict(model, seen).hit_rate

    assert predictor.predict(more, seen).hit_rate >= fewer - NOTABLE


@pytest.mark.parametrize("rate", [20.0, 40.0, 60.0])
def test_a_looser_objective_is_never_notably_worse(predictor, plan, rate):
    model, lists = plan
    seen = load(rate, lists=lists)

    rates = [predictor.predict(replace(model, slo=slo), seen).hit_rate for slo in (0.05, 0.1, 0.2, 0.4, 0.8)]

    assert all(looser >= tighter - NOTABLE for tighter, looser in itertools.pairwise(rates))


def test_hardly_any_load_is_served_in_its_own_time(predictor, plan):
    model, lists = plan

    found = predictor.predict(model, load(0.1, lists=lists, count=300))

    assert found.hit_rate == pytest.approx(1.0, abs=0.01)
    assert found.p50 == pytest.approx(sum(_alone(one) for one in model.stations) + 0.0002, rel=0.12)
    assert max(found.busy) < 0.02


def _alone(one):
    units = 3 if one.scope == 0 else 1
    return one.hop + one.works[0].total(units)


def test_an_objective_shorter_than_the_service_is_never_met(predictor, plan):
    model, lists = plan

    assert predictor.predict(replace(model, slo=0.5 * RUN), load(5.0, lists=lists)).hit_rate < 0.01


@pytest.mark.parametrize("times", [2.0, 4.0])
def test_of_too_much_load_about_as_much_is_in_time_as_can_be_served(predictor, times):
    found = predictor.predict(chain(station(0), slo=0.4), load(times / RUN))

    assert found.hit_rate == pytest.approx(1 / times, abs=0.1)
    assert found.busy[0] == pytest.approx(1.0, abs=0.05)


def test_no_requests_are_all_in_time(predictor):
    nothing = Arrivals(np.empty(0), np.empty(0), np.empty((0, 0), np.int32), 60.0)

    found = predictor.predict(chain(station(0)), nothing)

    assert found.hit_rate == 1.0
    assert found.busy == (0.0,)


def test_a_plan_that_maps_over_lists_that_the_requests_lack_is_refused(predictor):
    model, _ = MODELS["items"]

    with pytest.raises(RegrainError, match="maps over 1 lists"):
        predictor.predict(model, load(10.0))
