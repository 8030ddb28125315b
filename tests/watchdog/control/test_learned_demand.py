"""What a load asks of stations, against what can be reckoned by hand."""

import numpy as np
import pytest

from regrain_watchdog.control.learned_demand import Demands, alone_by_class, longest, taken
from regrain_watchdog.control.learned_load import seen
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work

HOP = 0.001


def station(place, after, *, rows, max_size=1, scope=PER_REQUEST, inner=None, pool=None, take=1.0):
    works = [Work(stage=place, scope=scope, seconds=np.array([[0.0], *([one] for one in rows)]), cv=0.0)]
    if inner is not None:
        works.append(Work(stage=place + 10, scope=0, seconds=np.array([[0.0], [inner]]), cv=0.0))
    return Station(
        stages=(f"s{place}",),
        after=after,
        scope=scope,
        works=tuple(works),
        max_size=max_size,
        max_wait=0.0,
        pool=place if pool is None else pool,
        take=take,
        hop=HOP,
    )


def model(*stations, pools=None, lists=0):
    return Model(
        stations=stations,
        pools=pools or tuple(Pool(servers=1, cards=(1.0,)) for _ in stations),
        sizes=np.zeros(1),
        lists=lists,
        slo=1.0,
        attainment=0.95,
        answer=HOP,
    )


def demands(rate=10.0, width=None):
    at = np.arange(1, 401) / rate
    widths = np.zeros((400, 0), np.int32) if width is None else np.full((400, 1), width, np.int32)
    return Demands(seen(Arrivals(at, np.zeros(400), widths, float(at[-1]))))


def test_the_longest_way_counts():
    plan = model(
        station(0, (), rows=[0.1]),
        station(1, (0,), rows=[0.3]),
        station(2, (0,), rows=[0.2]),
        station(3, (1, 2), rows=[0.1]),
    )
    asked = demands().asked(plan)

    assert longest(plan, [one.single for one in asked]) == pytest.approx(0.5 + 4 * HOP)
    assert alone_by_class(plan, asked) == [pytest.approx(0.5 + 4 * HOP)]


def test_a_list_takes_as_many_dispatches_as_it_fills():
    plan = model(station(0, (), rows=[0.1, 0.15], max_size=2, scope=0), lists=1)
    (asked,) = demands(width=5).asked(plan)

    assert asked.units == 5.0
    assert asked.alone == (pytest.approx(0.15 + HOP),)
    assert asked.drain == (pytest.approx(2 * (0.15 + HOP)),)  # 5 items are 3 dispatches


def test_a_list_inside_of_a_group_runs_in_one_dispatch():
    plan = model(station(0, (), rows=[0.1], inner=0.02), lists=1)
    (asked,) = demands(width=5).asked(plan)

    assert asked.single == pytest.approx(0.1 + 5 * 0.02 + HOP)


def test_a_batch_keeps_up_that_serves_as_many_as_come():
    plan = model(station(0, (), rows=[0.2, 0.22, 0.24, 0.26], max_size=4))
    (asked,) = demands(rate=10.0).asked(plan)

    assert asked.keeps_up == 3  # 3 take 0.24 s, in which 2.4 come; 2 take 0.22 s
    assert asked.most == pytest.approx(4 / (0.26 + HOP))
    assert taken(asked, 10.0) == pytest.approx(10.0 * (0.24 + HOP) / 3)


def test_stations_of_one_pool_share_its_servers():
    stations = [station(place, (place - 1,) * (place > 0), rows=[0.05], pool=0, take=0.5) for place in (0, 1)]
    asked = demands(rate=10.0).asked(model(*stations, pools=(Pool(servers=4, cards=(1.0,)),)))

    assert [one.servers for one in asked] == [pytest.approx(2 * (1 - 10.0 * (0.05 + HOP) / 2))] * 2
