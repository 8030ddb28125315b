"""What a plan and a load are like, in as many numbers for each plan: what the learned predictor's trees look at.

Nearly all are ratios to the objective or to what the plan bears, so that what was learned of one app holds for others.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from regrain_watchdog.control.learned_demand import (
    LEAST,
    Asked,
    Demands,
    alone_by_class,
    longest,
    tail,
)
from regrain_watchdog.control.learned_load import CLASSES, Seen
from regrain_watchdog.control.learned_rows import REPLAY, replayed
from regrain_watchdog.policy.admit import HEADROOM
from regrain_watchdog.policy.model import Model

FULLEST = 2
"""Stations that are told apart, the fullest first."""
ALONE = tuple(f"alone_{place}" for place in range(CLASSES))
PATHS = ("path_single", "path_usual", "path_full", "doubt", "hops", "company")
STATION = ("use", "use_single", "servers", "wait")
REFUSED = (
    "refused", "refused_full", "refused_second", "refused_most", "refused_single",
    "refused_fitting", "fitting",
)  # fmt: skip
Wait = tuple[float, float]
"""How likely a station has a request wait, and the mean seconds of those that do."""
LOAD = ("burst", "spread_slo", "spread_long")
SHAPE = ("stations", "jitter", "fluid", "fluid_take", "lease", "waits", "passing")
REACH = ("reach", "reached")
NAMES = (
    *ALONE,
    *PATHS,
    *(f"{name}_{place}" for place in range(FULLEST) for name in STATION),
    *REFUSED,
    *LOAD,
    *SHAPE,
    *REACH,
    *REPLAY,
)
RISING = frozenset({"passing", *REACH, *REPLAY[:3]})
"""Features that a hit rate never falls with."""
FALLING = frozenset(
    {
        *ALONE,
        "path_single",
        "hops",
        *REFUSED,
        "waits",
        "use_0",
        "use_1",
        "turned_away",
    }
)
"""Features that it never rises with."""


class Reader:
    """Makes features of plans under one load."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.demands = Demands(seen)
        self._loads: dict[float, list[float]] = {}

    def features(self, model: Model, asked: Sequence[Asked]) -> list[float]:
        """Return the numbers that NAMES names."""
        slo, rate = model.slo, self.seen.rate
        single = longest(model, [one.single for one in asked])
        usual = longest(model, [one.usual for one in asked])
        full = longest(model, [one.full for one in asked])
        doubt = math.sqrt(sum([(one.jitter * one.usual) ** 2 for one in asked]))
        hops = (sum([station.hop for station in model.stations]) + model.answer) / slo
        company = sum([min(station.max_wait, slo) for station in model.stations]) / slo
        paths = [_log(seconds / slo) for seconds in (single, usual, full, doubt)]
        alone = alone_by_class(model, asked)
        usually = alone[self.seen.levels[CLASSES // 2]]
        waits = [tail(one, rate) for one in asked]
        order = sorted(range(len(asked)), key=lambda place: -rate / asked[place].most)
        patience = max(0.0, slo - min(usual, usually)) / HEADROOM
        told: list[float] = []
        for place in order[:FULLEST]:
            told += _told(asked[place], waits[place], rate, slo)
        told += [0.0] * (len(STATION) * (FULLEST - min(FULLEST, len(order))))
        return [
            *(_log(alone[level] / slo) for level in self.seen.levels),
            *paths,
            hops,
            company,
            *told,
            *self._refused(
                model,
                asked,
                order,
                patience=patience,
                tight=max(0.0, slo - full),
                slack=max(LEAST, slo - single),
            ),
            *self._load(slo),
            *_shape(model, asked, waits, patience),
            *self._reach(waits, slo, alone, max(doubt, 0.01 * slo)),
            *replayed(model, asked, self.seen),
        ]

    def _refused(
        self,
        model: Model,
        asked: Sequence[Asked],
        order: Sequence[int],
        *,
        patience: float,
        tight: float,
        slack: float,
    ) -> list[float]:
        """Return what simple servers in the place of the fullest stations refuse.

        Batches that take more than the slack are of no use, so servers with single units are looked at as well, and
        with the largest batches that fit.
        """
        refused = self.seen.refused
        first = model.stations[order[0]].scope, asked[order[0]].most
        most = [
            refused(model.stations[place].scope, asked[place].most, patience) for place in order[:FULLEST]
        ]
        singles = [one.servers / (one.units * one.single) for one in asked]
        slowest = min(range(len(asked)), key=singles.__getitem__)
        one = asked[slowest]
        fits = max(1, bisect_right(one.times, one.single + slack, 1) - 1)
        bears = one.servers * fits / (one.units * one.times[fits])
        scope = model.stations[slowest].scope
        return [
            most[0],
            refused(*first, tight),
            most[1] if len(most) > 1 else 0.0,
            max(most),
            refused(scope, singles[slowest], slack / HEADROOM),
            refused(scope, bears, max(LEAST, slack - one.times[fits] + one.single)),
            min(8.0, self.seen.rate / bears),
        ]

    def _reach(self, waits: Sequence[Wait], slo: float, alone: Sequence[float], doubt: float) -> list[float]:
        """Return the share of the requests that are in time alone, and that with the waits of all stations."""
        reach, reached = 0.0, 0.0
        for weight, seconds in zip(self.seen.weights, alone, strict=True):
            left = slo - seconds
            share = weight / (1.0 + math.exp(min(50.0, -2.0 * left / doubt)))
            reach += share
            for likely, mean in waits:
                share *= 1.0 - likely * math.exp(-max(0.0, left) / mean)
            reached += share
        return [reach, reached]

    def _load(self, slo: float) -> list[float]:
        """Return what the load is like, against the objective."""
        if slo not in self._loads:
            process = self.seen.traffic.process
            burst = max(process.rates) / max(process.rate, LEAST)
            spread = [_log(process.dispersion(slo * times)) for times in (1.0, 20.0)]
            self._loads[slo] = [_log(burst), *spread]
        return self._loads[slo]


def _told(one: Asked, waits: Wait, rate: float, slo: float) -> list[float]:
    """Return what one of the fullest stations is like."""
    single = rate * one.units * one.single / one.servers
    return [rate / one.most, single, _log(one.servers), _log(waits[1] / slo)]


def _shape(model: Model, asked: Sequence[Asked], waits: Sequence[Wait], patience: float) -> list[float]:
    """Return what the plan is like, and what its stations' waits come to."""
    fluid = len(asked) - len(model.pools)
    whole, passing = 0.0, 1.0
    for likely, mean in waits:
        whole += likely * mean
        passing *= 1.0 - likely * math.exp(-patience / max(mean, LEAST))
    return [
        float(len(asked)),
        max([one.jitter for one in asked]),
        float(fluid),
        max([station.take for station in model.stations]) if fluid else 0.0,
        max([pool.lease for pool in model.pools]) / model.slo,
        min(10.0, whole / model.slo),
        passing,
    ]


def _log(value: float) -> float:
    return math.log(max(value, LEAST))
