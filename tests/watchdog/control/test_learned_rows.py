"""A rough replay of a load under a plan, against what can be reckoned by hand and what must hold of any."""

import itertools

import numpy as np
import pytest

from regrain_watchdog.control.learned_features import NAMES
from regrain_watchdog.control.learned_load import APART, PARTS, REPLAYED, seen
from regrain_watchdog.control.learned_reader import Reader
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work
from regrain_watchdog.policy.predict.traffic import traffic

RUN = 0.1


def station(place, *, run=RUN, max_size=1, scope=PER_REQUEST, pool=None, take=1.0, max_wait=0.0):
    rows = np.array([[0.0], *([run * (1.0 + 0.1 * more)] for more in range(max_size))])
    return Station(
        stages=(f"s{place}",), after=(place - 1,) * (place > 0), scope=scope,
        works=(Work(stage=place, scope=scope, seconds=rows, cv=0.0),), max_size=max_size, max_wait=max_wait,
        pool=place if pool is None else pool, take=take, hop=0.0,
    )  # fmt: skip


def model(*stations, servers=1, pools=None, lists=0, slo=0.25):
    pools = pools or tuple(Pool(servers=servers, cards=(float(servers),)) for _ in stations)
    return Model(
        stations=stations, pools=pools, sizes=np.zeros(1), lists=lists, slo=slo, attainment=0.95, answer=0.0
    )


def told(plan, at, width=None):
    widths = np.zeros((len(at), 0), np.int32) if width is None else np.full((len(at), 1), width, np.int32)
    load = Arrivals(np.asarray(at, float), np.zeros(len(at)), widths, float(at[-1]))
    return dict(zip(NAMES, Reader(load).features(plan), strict=True))


def test_who_comes_one_by_one_waits_for_nobody():
    found = told(model(station(0)), np.arange(1, 401) * 0.2)

    assert (found["in_time"], found["turned_away"], found["waited"]) == (1.0, 0.0, 0.0)


def test_of_too_much_load_about_as_much_is_in_time_as_can_be_served():
    found = told(model(station(0)), np.arange(1, 1001) * 0.05)

    assert found["in_time"] == pytest.approx(0.5, abs=0.05)
    assert found["turned_away"] == pytest.approx(0.5, abs=0.05)


def test_a_list_takes_a_dispatch_for_each_item():
    plan = model(station(0, scope=0), lists=1, slo=0.55)

    assert told(plan, np.arange(1, 101) * 2.0, width=5)["in_time"] == 1.0
    assert told(plan, np.arange(1, 101) * 2.0, width=6)["in_time"] == 0.0


def test_items_are_handed_on_one_by_one():
    plan = model(station(0, scope=0), station(1, scope=0), lists=1, slo=0.65)

    assert told(plan, np.arange(1, 101) * 2.0, width=5)["in_time"] == 1.0  # 0.6 s, and not 1.0 s


def test_company_is_waited_for_until_the_most_urgent_must_go():
    pair = np.sort(np.concatenate((np.arange(1, 101), np.arange(1, 101) + 0.01)))

    alone, together = (told(model(station(0, max_size=2, max_wait=wait)), pair) for wait in (0.0, 0.02))

    assert alone["waited"] > together["waited"]
    assert together["in_time"] == 1.0


@pytest.mark.parametrize("width", [None, 3])
def test_more_servers_are_never_notably_worse(width):
    rng = np.random.default_rng(1)
    at = np.cumsum(rng.exponential(0.03, 1500))
    scope, lists = (PER_REQUEST, 0) if width is None else (0, 1)
    plans = [
        model(station(0, scope=scope), station(1), servers=count, lists=lists, slo=0.8)
        for count in (1, 2, 4, 8, 16)
    ]

    shares = [told(plan, at, width)["in_time"] for plan in plans]

    assert all(more >= less - 0.02 for less, more in itertools.pairwise(shares))
    assert shares[0] < 0.5
    assert shares[-1] > 0.95


def test_a_request_holds_a_common_pool_for_all_that_it_takes():
    stations = [station(place, pool=0, take=0.5) for place in (0, 1)]
    plan = model(*stations, pools=(Pool(servers=8, cards=(1.0,)),), slo=0.5)

    half = told(plan, np.arange(1, 1001) * 0.05)  # 0.2 s of two at once for each, and 20 a second

    assert half["in_time"] == pytest.approx(0.5, abs=0.06)


def test_stages_without_a_share_do_not_fill_the_cards():
    stations = [station(0, pool=0, take=0.0), station(1, pool=0, take=1.0)]
    plan = model(*stations, pools=(Pool(servers=8, cards=(1.0,)),), slo=0.5)

    assert told(plan, np.arange(1, 1001) * 0.11)["in_time"] > 0.95


def test_of_a_long_load_parts_are_replayed_that_lie_apart():
    at = np.arange(1, 5001) / 100.0
    load = Arrivals(at, np.zeros(5000), np.zeros((5000, 0), np.int32), 50.0)
    found = seen(load, traffic(load))

    gaps = np.diff(found.at)
    assert len(found.at) == REPLAYED == found.brings.shape[1]
    assert (gaps > 0.0).all()
    assert (gaps >= APART - 1.0).sum() == PARTS - 1
