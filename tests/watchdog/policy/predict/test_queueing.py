import math

import numpy as np
import pytest

from regrain_watchdog.policy.predict import queueing
from regrain_watchdog.policy.predict.demand import Demand
from regrain_watchdog.policy.predict.queueing import station_law

ENDLESS = np.array([math.inf])
RUN = 0.01


def asked(*, servers=1, max_size=1, scatter=0.0, slope=0.0, max_wait=0.0):
    seconds = np.array([0.0, *(RUN * (1 + slope * more) for more in range(max_size))])
    return Demand(
        units=1.0,
        bunch=1.0,
        widths=np.ones(1),
        seconds=seconds,
        own=np.zeros(1),
        scatter=scatter,
        cv=0.0,
        max_size=max_size,
        max_wait=max_wait,
        servers=servers,
        mark=None,
    )


def law(rate, **options):
    return station_law(asked(**options), np.array([rate]), ENDLESS, slo=0.384, patience=1.5)


def mean_wait(found):
    times = (np.arange(found.sojourn.shape[1]) + 0.5) * found.step
    return float(found.sojourn[0] @ times) - RUN


def erlang_c(servers, offered):
    terms = [offered**one / math.factorial(one) for one in range(servers)]
    last = offered**servers / math.factorial(servers) / (1 - offered / servers)
    return last / (sum(terms) + last)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8, 0.9])
def test_one_server_with_constant_times_has_the_wait_of_pollaczek_and_khinchine(load):
    assert mean_wait(law(load / RUN)) == pytest.approx(load * RUN / (2 * (1 - load)), rel=0.05, abs=5e-4)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8, 0.9])
def test_one_server_with_exponential_times_has_the_wait_of_m_m_1(load):
    assert mean_wait(law(load / RUN, scatter=1.0)) == pytest.approx(
        load * RUN / (1 - load), rel=0.05, abs=5e-4
    )


@pytest.mark.parametrize("servers", [2, 5])
@pytest.mark.parametrize("load", [0.5, 0.8, 0.9])
def test_many_servers_with_exponential_times_have_the_wait_of_m_m_c(servers, load):
    wait = erlang_c(servers, load * servers) * RUN / (servers * (1 - load))

    assert mean_wait(law(load * servers / RUN, servers=servers, scatter=1.0)) == pytest.approx(
        wait, rel=0.1, abs=5e-4
    )


@pytest.mark.parametrize("load", [0.2, 0.5, 0.9])
def test_servers_are_busy_by_what_is_offered(load):
    assert law(load * 3 / RUN, servers=3).busy == pytest.approx(load, rel=0.02)


@pytest.mark.parametrize("load", [1.1, 1.5, 3.0])
def test_more_than_a_station_can_do_is_lost_and_no_more(load):
    found = law(load / RUN)

    assert found.lost[0] == pytest.approx(1 - 1 / load, abs=0.01)
    assert found.busy == pytest.approx(1.0, abs=0.01)


def test_batches_fill_as_the_load_grows_so_that_a_station_bears_more():
    single, batched = (law(600.0, max_size=size) for size in (1, 8))

    assert single.lost[0] > 0.8
    assert batched.lost[0] < 0.01


def test_phases_of_a_burst_that_a_station_cannot_bear_lose_what_is_too_much():
    found = station_law(asked(), np.array([50.0, 200.0]), np.array([100.0, 100.0]), slo=1.0, patience=0.3)

    assert found.lost[0] < 0.05
    assert found.lost[1] == pytest.approx(0.5, abs=0.02)


def test_a_burst_shorter_than_the_line_is_borne():
    found = station_law(asked(), np.array([50.0, 200.0]), np.array([0.02, 0.01]), slo=1.0, patience=0.9)

    assert found.lost.max() < 0.2


def test_a_window_holds_the_first_unit_up_where_nobody_else_comes():
    patient = law(1.0, max_size=4, max_wait=0.05)

    assert mean_wait(patient) == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize("stay", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("station", [(1, 1), (1, 8), (4, 1), (4, 8)])
@pytest.mark.parametrize("phases", [(0.5, 1.5), (0.3, 3.0), (0.8, 1.2)])
def test_a_line_in_segments_fills_and_drains_as_fast_as_one_unit_by_unit(stay, station, phases, monkeypatch):
    one = asked(servers=station[0], max_size=station[1], slope=0.3)
    rates, stays = np.array(phases) * one.most, np.array([stay, stay / 3])

    found = station_law(one, rates, stays, slo=1.2, patience=1.0)
    monkeypatch.setattr(queueing, "SEGMENTS", 10**6)
    whole = station_law(one, rates, stays, slo=1.2, patience=1.0)

    weights = rates * stays / (rates @ stays)
    assert weights @ found.lost == pytest.approx(weights @ whole.lost, abs=0.06)
    times = np.arange(found.sojourn.shape[1]) * found.step
    assert found.sojourn @ times == pytest.approx(whole.sojourn @ times, abs=0.1)
