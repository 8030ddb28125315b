"""Where queueing theory has the answer the engine gives it, within a stated tolerance at a fixed seed.

Service times come in by the requests' sizes and widths, which any distribution can be drawn for: a station that takes a
second for each unit of size, and one whose inner list has an item for each hundredth of its mean.
"""

import math

import numpy as np
import pytest

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work
from regrain_watchdog.simulate.engine import IN_TIME, Run

COUNT = 400_000
PARTS = 100
"""Items that stand for a mean service time."""
MEAN = 1.0


def station(place: int, work: Work) -> Station:
    return Station(
        stages=(f"stage{place}",),
        after=(place - 1,) if place else (),
        scope=PER_REQUEST,
        works=(work,),
        max_size=1,
        max_wait=0.0,
        pool=place,
        take=1.0,
        hop=0.0,
    )


def model(works: list[Work], servers: list[int], sizes: list[float], lists: int) -> Model:
    return Model(
        stations=tuple(station(place, work) for place, work in enumerate(works)),
        pools=tuple(Pool(servers=count, cards=(float(count),)) for count in servers),
        sizes=np.array(sizes),
        lists=lists,
        slo=1e9,
        attainment=0.95,
        answer=0.0,
    )


def by_size() -> Work:
    """A call takes as many seconds as the request's size."""
    return Work(0, PER_REQUEST, np.array([[0.0, 0.0], [0.0, 1000.0]]), 0.0)


def by_width(place: int) -> Work:
    return Work(place, place, np.array([[0.0], [MEAN / PARTS]]), 0.0)


def poisson(rate: float, rng: np.random.Generator) -> np.ndarray:
    return np.cumsum(rng.exponential(1 / rate, COUNT))


def mean_latency(one: Model, load: Arrivals) -> float:
    run = Run(one, load, max_queue=1 << 30)
    run.advance()
    result = run.result()
    assert (result.outcome == IN_TIME).all()
    return float(result.latency[COUNT // 10 :].mean())


def erlang_c(servers: int, offered: float) -> float:
    """Return the probability that who arrives at M/M/c waits (Erlang 1917); offered load in Erlang."""
    terms = [offered**count / math.factorial(count) for count in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(terms) + last)


@pytest.mark.parametrize(("servers", "offered"), [(1, 0.7), (4, 3.2), (10, 8.0)])
def test_waits_with_several_servers_are_those_of_erlang(servers, offered):
    rng = np.random.default_rng(servers)
    load = Arrivals(poisson(offered, rng), rng.exponential(MEAN, COUNT), np.zeros((COUNT, 0), np.int32), 1e9)

    latency = mean_latency(model([by_size()], [servers], [0.0, 1000.0], 0), load)

    wait = erlang_c(servers, offered) * MEAN / (servers - offered)
    assert latency - load.size[COUNT // 10 :].mean() == pytest.approx(wait, rel=0.05)


@pytest.mark.parametrize("offered", [0.5, 0.8])
def test_waits_for_constant_service_are_those_of_pollaczek_and_khinchine(offered):
    load = Arrivals(
        poisson(offered, np.random.default_rng(3)), np.full(COUNT, MEAN), np.zeros((COUNT, 0), np.int32), 1e9
    )

    latency = mean_latency(model([by_size()], [1], [0.0, 1000.0], 0), load)

    assert latency - MEAN == pytest.approx(offered * MEAN / (2 * (1 - offered)), rel=0.03)


def test_waits_for_varied_service_follow_its_second_moment():
    cv, offered = 0.8, 0.7
    work = Work(0, PER_REQUEST, np.array([[0.0], [MEAN]]), cv)
    load = Arrivals(
        poisson(offered, np.random.default_rng(5)), np.zeros(COUNT), np.zeros((COUNT, 0), np.int32), 1e9
    )

    latency = mean_latency(model([work], [1], [0.0], 0), load)

    assert latency == pytest.approx(MEAN + offered * MEAN * (1 + cv**2) / (2 * (1 - offered)), rel=0.04)


def test_stations_in_a_row_are_each_as_if_alone():
    """Product form (Jackson 1957): exponential service, drawn apart for each station."""
    rng, offered = np.random.default_rng(7), 0.6
    widths = np.rint(rng.exponential(PARTS, (COUNT, 3))).astype(np.int32)
    load = Arrivals(poisson(offered, rng), np.zeros(COUNT), widths, 1e9)

    latency = mean_latency(model([by_width(place) for place in range(3)], [1, 1, 1], [0.0], 3), load)

    assert latency == pytest.approx(3 * MEAN / (1 - offered), rel=0.04)
