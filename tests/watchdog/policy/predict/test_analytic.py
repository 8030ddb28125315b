from dataclasses import replace

import numpy as np
import pytest

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work
from regrain_watchdog.policy.predict.analytic import Analytic, mixed

RUN = 0.02


def station(place, after=(), *, scope=PER_REQUEST, max_size=1, pool=None, take=1.0):
    seconds = np.array([[0.0], *([RUN * (1 + 0.3 * more)] for more in range(max_size))])
    return Station(
        stages=(f"s{place}",),
        after=after,
        scope=scope,
        works=(Work(stage=place, scope=scope, seconds=seconds, cv=0.0),),
        max_size=max_size,
        max_wait=0.0,
        pool=place if pool is None else pool,
        take=take,
        hop=0.0,
    )


def model(*stations, servers=1, slo=0.5, lists=0, pools=None):
    return Model(
        stations=stations,
        pools=pools or tuple(Pool(servers=servers, cards=(float(servers),)) for _ in stations),
        sizes=np.zeros(1),
        lists=lists,
        slo=slo,
        attainment=0.95,
        answer=0.0,
    )


def load(rate, widths=None, seed=0, count=3000):
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.exponential(1 / rate, count))
    none = np.zeros((count, 0), dtype=np.int32)
    return Arrivals(at, np.zeros(count), none if widths is None else widths(rng, count), float(at[-1]))


def test_branches_side_by_side_take_as_long_as_the_longer_and_not_as_both():
    diamond = model(station(0), station(1, (0,)), station(2, (0,)), station(3, (1, 2)))
    chain = model(*(station(place, (place - 1,) if place else ()) for place in range(4)))
    seen = load(0.5)

    assert Analytic().predict(diamond, seen).p50 == pytest.approx(3 * RUN, abs=0.01)
    assert Analytic().predict(chain, seen).p50 == pytest.approx(4 * RUN, abs=0.01)


def test_a_list_that_one_dispatch_cannot_hold_takes_several_after_each_other():
    def four(rng, count):
        return np.full((count, 1), 4, dtype=np.int32)

    alone = model(station(0, scope=0), lists=1)
    batched = model(station(0, scope=0, max_size=4), lists=1)
    many = model(station(0, scope=0), servers=4, lists=1)
    seen = load(0.5, four)

    assert Analytic().predict(alone, seen).p50 == pytest.approx(4 * RUN, abs=0.01)
    assert Analytic().predict(batched, seen).p50 == pytest.approx(1.9 * RUN, abs=0.01)
    assert Analytic().predict(many, seen).p50 == pytest.approx(RUN, abs=0.01)


def test_wide_requests_miss_first():
    def one_in_ten_is_wide(rng, count):
        return np.where(rng.random((count, 1)) < 0.1, 20, 1).astype(np.int32)

    found = Analytic().predict(model(station(0, scope=0), lists=1, slo=0.25), load(0.5, one_in_ten_is_wide))

    assert found.hit_rate == pytest.approx(0.9, abs=0.05)


def test_stations_of_a_common_pool_leave_each_other_what_they_do_not_take():
    pool = (Pool(servers=4, cards=(1.0,)),)
    fluid = model(station(0, pool=0, take=0.5), station(1, (0,), pool=0, take=0.5), pools=pool)
    apart = model(station(0), station(1, (0,)))
    predictor = Analytic()

    light, heavy = (predictor.predict(fluid, load(rate)) for rate in (5.0, 80.0))

    assert light.hit_rate > 0.99
    assert light.busy == pytest.approx((5.0 * RUN,), rel=0.1)
    assert heavy.hit_rate == pytest.approx(50.0 / 80.0, abs=0.12)
    assert predictor.predict(apart, load(80.0)).hit_rate == pytest.approx(50.0 / 80.0, abs=0.12)


def test_a_plan_of_which_one_group_differs_is_predicted_alike_with_and_without_what_is_kept():
    first = model(station(0), station(1, (0,)), servers=2)
    other = replace(first, pools=(first.pools[0], Pool(servers=3, cards=(3.0,))))
    seen = load(60.0)
    used = Analytic()
    used.predict(first, seen)

    assert used.predict(other, seen) == Analytic().predict(other, seen)


def test_bursts_cost_hits_that_the_same_rate_without_them_does_not():
    even = load(35.0)
    gaps = np.where(np.arange(3000) // 300 % 2, 0.4, 1.6) * np.diff(even.at, prepend=0.0)
    at = np.cumsum(gaps)
    bursty = Arrivals(at, even.size, even.widths, float(at[-1]))
    plan = model(station(0), slo=0.2)
    predictor = Analytic()

    assert predictor.predict(plan, bursty).hit_rate < predictor.predict(plan, even).hit_rate - 0.1


def test_waiting_for_company_ends_in_time_for_the_most_urgent():
    patient = replace(station(0, max_size=4), max_wait=0.2)

    found = Analytic().predict(model(patient, slo=0.1), load(0.5))

    assert found.p50 == pytest.approx(0.1, abs=0.01)


def test_a_time_in_which_replicas_load_is_a_mixture():
    seen = load(60.0)
    warm = Analytic().predict(model(station(0), servers=2), seen)
    cold = Analytic().predict(model(station(0), servers=1), seen)

    found = mixed([(0.25, cold), (0.75, warm)])

    assert found.hit_rate == pytest.approx(0.25 * cold.hit_rate + 0.75 * warm.hit_rate)
    assert mixed([(1.0, warm)]) == warm
