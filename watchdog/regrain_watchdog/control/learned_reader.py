"""A plan under a load, read by one compiled function: a plan is told to it as few flat arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.control import (
    learned_answers,
    learned_demand,
    learned_features,
    learned_load,
    learned_pool,
    learned_replay,
    learned_rows,
)
from regrain_watchdog.control.learned_answers import answers
from regrain_watchdog.control.learned_demand import POOLED, STATION, Plan, ask
from regrain_watchdog.control.learned_features import features, looked
from regrain_watchdog.control.learned_load import Seen, seen
from regrain_watchdog.control.learned_stations import Known, Stations
from regrain_watchdog.policy import admit, batch, deadline, fluid
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Model
from regrain_watchdog.policy.predict import demand
from regrain_watchdog.policy.predict.traffic import traffic
from regrain_watchdog.simulate.compiled import digest, entry

Floats = NDArray[np.float64]

SOURCES = (
    *(admit, batch, deadline, demand, fluid),
    *(
        learned_answers,
        learned_demand,
        learned_features,
        learned_load,
        learned_pool,
        learned_replay,
        learned_rows,
    ),
    sys.modules[__name__],
)
"""What is compiled into one."""


def _make(sources: int) -> Callable[..., tuple[Floats, Floats]]:
    def read(load: Seen, known: Known, plan: Plan) -> tuple[Floats, Floats]:
        """Return a plan's (NAMES,) features and its (LEVELS + pools,) answers.

        Args:
            load: under which it is read.
            known: the stations; those that are new are worked out.
            plan: of these.
        """
        if sources >= 0:  # always; but so it is compiled anew where a source has changed
            ask(load, known.tables, known.new, known.parts, known.asked)
        look = looked(load, plan, known.asked)
        return features(load, plan, look), answers(load, plan, look)

    return read


read = entry(_make(digest(SOURCES)))


class Reader:
    """Reads plans under one load that is not empty."""

    def __init__(self, load: Arrivals) -> None:
        self._seen = seen(load, traffic(load))
        self._stations = Stations(self._seen)

    def read(self, model: Model) -> tuple[Floats, Floats]:
        """Return a plan's (NAMES,) features, and its (LEVELS + pools,) answers: latencies, and the use of its pools."""
        plan = _plan(model, self._stations.places(model))
        return read(self._seen, self._stations.known(), plan)

    def features(self, model: Model) -> Floats:
        """Return the (NAMES,) numbers that NAMES names."""
        return self.read(model)[0]


def _plan(model: Model, places: list[int]) -> Plan:
    """Return a plan as arrays, all of them of one type whatever was given: each other one would be compiled for."""
    stations: list[float] = []
    after: list[int] = []
    pools: list[float] = []
    cards: list[float] = []
    for place, station in enumerate(model.stations):
        stations += (places[place], station.scope, station.pool, station.max_wait, station.take, station.hop)
        for other in station.after:
            after += (place, other)
    for pool in model.pools:
        begin = len(cards)
        cards += pool.cards
        pools += (pool.servers, pool.lease, pool.passes, begin, len(cards))
    return Plan(
        stations=np.array(stations, np.float64).reshape(-1, STATION),
        after=np.array(after, np.int64).reshape(-1, 2),
        pools=np.array(pools, np.float64).reshape(-1, POOLED),
        cards=np.array(cards, np.float64),
        slo=float(model.slo),
        answer=float(model.answer),
    )
