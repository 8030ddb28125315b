"""What a load asks of stations, against what can be reckoned by hand."""

import math

import numpy as np
import pytest

from regrain_watchdog.control import learned_stations
from regrain_watchdog.control.learned_answers import LEVELS
from regrain_watchdog.control.learned_features import NAMES
from regrain_watchdog.control.learned_reader import Reader
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


def told(plan, *, rate=10.0, width=None):
    """What the predictor is told, by name; seconds and servers as they are, and the use of each pool."""
    at = np.arange(1, 401) / rate
    widths = np.zeros((400, 0), np.int32) if width is None else np.full((400, 1), width, np.int32)
    features, answers = Reader(Arrivals(at, np.zeros(400), widths, float(at[-1]))).read(plan)
    found = dict(zip(NAMES, features.tolist(), strict=True))
    logs = [name for name in found if name.startswith(("alone", "path", "servers"))]
    return found | {name: math.exp(found[name]) for name in logs} | {"busy": answers[len(LEVELS) :].tolist()}


def test_the_longest_way_counts():
    plan = model(
        station(0, (), rows=[0.1]),
        station(1, (0,), rows=[0.3]),
        station(2, (0,), rows=[0.2]),
        station(3, (1, 2), rows=[0.1]),
    )

    found = told(plan)

    assert found["path_single"] == pytest.approx(0.5 + 4 * HOP)
    assert found["alone_0"] == found["alone_5"] == pytest.approx(0.5 + 4 * HOP)


def test_a_list_takes_as_many_dispatches_as_it_fills():
    plan = model(station(0, (), rows=[0.1, 0.15], max_size=2, scope=0), lists=1)

    found = told(plan, width=5)

    assert found["use_single_0"] == pytest.approx(10.0 * 5 * (0.1 + HOP))
    assert found["alone_0"] == pytest.approx(3 * (0.15 + HOP) + HOP)  # 5 items are 3 dispatches


def test_a_list_inside_of_a_group_runs_in_one_dispatch():
    plan = model(station(0, (), rows=[0.1], inner=0.02), lists=1)

    assert told(plan, width=5)["path_single"] == pytest.approx(0.1 + 5 * 0.02 + 2 * HOP)


def test_a_batch_keeps_up_that_serves_as_many_as_come():
    plan = model(station(0, (), rows=[0.2, 0.22, 0.24, 0.26], max_size=4))

    found = told(plan)

    assert found["path_usual"] == pytest.approx(0.22 + 2 * HOP)  # half of 3
    assert found["use_0"] == pytest.approx(10.0 * (0.26 + HOP) / 4)
    assert found["busy"] == [pytest.approx(10.0 * (0.24 + HOP) / 3)]  # 3 take 0.24 s, in which 2.4 come


def test_stations_of_one_pool_share_its_servers():
    stations = [station(place, (place - 1,) * (place > 0), rows=[0.05], pool=0, take=0.5) for place in (0, 1)]

    found = told(model(*stations, pools=(Pool(servers=4, cards=(1.0,)),)))

    assert found["servers_1"] == pytest.approx(2 * (1 - 10.0 * (0.05 + HOP) / 2))


def test_a_station_may_have_larger_batches_than_all_before():
    rows = [0.1 + 0.01 * more for more in range(40)]
    reader = Reader(Arrivals(np.arange(1, 401) / 10.0, np.zeros(400), np.zeros((400, 0), np.int32), 40.0))
    small, large = (model(station(0, (), rows=rows[:size], max_size=size)) for size in (2, 40))

    alone = reader.features(small).tolist()
    found = dict(zip(NAMES, reader.features(large).tolist(), strict=True))

    assert math.exp(found["path_full"]) == pytest.approx(rows[-1] + 2 * HOP)
    assert reader.features(small).tolist() == alone


def test_stations_are_forgotten_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr(learned_stations, "KEPT", 2)
    reader = Reader(Arrivals(np.arange(1, 401) / 10.0, np.zeros(400), np.zeros((400, 0), np.int32), 40.0))
    plans = [model(station(0, (), rows=[run])) for run in (0.1, 0.2, 0.3, 0.1)]

    found = [math.exp(reader.features(plan)[NAMES.index("path_single")]) for plan in plans]

    assert found == pytest.approx([run + 2 * HOP for run in (0.1, 0.2, 0.3, 0.1)])
