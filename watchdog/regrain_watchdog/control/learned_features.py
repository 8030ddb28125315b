"""What a plan and a load are like, in as many numbers for each plan: what the learned predictor's trees look at.

Nearly all are ratios to the objective or to what the plan bears, so that what was learned of one app holds for others.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from regrain_watchdog.control.learned_demand import (
    LEAST,
    Asked,
    Demands,
    alone_by_class,
    longest,
    pool_use,
    tail,
)
from regrain_watchdog.control.learned_load import CLASSES, Seen
from regrain_watchdog.control.learned_pool import REQUESTS, bears
from regrain_watchdog.control.learned_rows import REPLAY, Look, Wait, replayed
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
LOAD = ("burst", "spread_slo", "spread_long")
SHAPE = ("stations", "jitter", "fluid", "fluid_take", "lease", "waits", "passing")
POOLS = ("own_use", "pool_own", "pool_cards", "pool_full", "pool_bears")
REACH = ("reach", "reached")
NAMES = (
    *ALONE,
    *PATHS,
    *(f"{name}_{place}" for place in range(FULLEST) for name in STATION),
    *REFUSED,
    *LOAD,
    *SHAPE,
    *POOLS,
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
        "own_use",
        "pool_own",
        "pool_full",
        "pool_bears",
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
        brings = seen.stretch.brings
        places = np.linspace(0, brings.shape[1] - 1, REQUESTS).astype(np.int64)
        self._sample = np.ascontiguousarray(brings[1:, places])

    def look(self, model: Model) -> Look:
        """Return what a plan comes to."""
        asked, rate = self.demands.asked(model), self.seen.rate
        pools: dict[int, list[int]] = {}
        for place, station in enumerate(model.stations):
            pools.setdefault(station.pool, []).append(place)
        each: list[float] = []
        for members in pools.values():
            each.append(bears(model, asked, members, self._sample) if len(members) > 1 else 0.0)
            if len(members) > 1:
                _fill(asked, members, each[-1])
        waits = [tail(one, rate) for one in asked]
        return Look(asked, waits, alone_by_class(model, asked), list(pools.values()), each)

    def features(self, model: Model, look: Look) -> list[float]:
        """Return the numbers that NAMES names."""
        slo, rate, asked = model.slo, self.seen.rate, look.asked
        single = longest(model, [one.single for one in asked])
        usual = longest(model, [one.usual for one in asked])
        full = longest(model, [one.full for one in asked])
        doubt = math.sqrt(sum([(one.jitter * one.usual) ** 2 for one in asked]))
        hops = (sum([station.hop for station in model.stations]) + model.answer) / slo
        company = sum([min(station.max_wait, slo) for station in model.stations]) / slo
        paths = [_log(seconds / slo) for seconds in (single, usual, full, doubt)]
        alone, waits = look.alone, look.waits
        usually = alone[self.seen.levels[CLASSES // 2]]
        most = [one.most for one in asked]
        order = sorted(range(len(asked)), key=most.__getitem__)
        patience = max(0.0, slo - min(usual, usually)) / HEADROOM
        told: list[float] = []
        for place in order[:FULLEST]:
            told += _told(asked[place], waits[place], rate, slo)
        told += [0.0] * (len(STATION) * (FULLEST - min(FULLEST, len(order))))
        slack = max(LEAST, slo - single)
        return [
            *[_log(alone[level] / slo) for level in self.seen.levels],
            *paths,
            hops,
            company,
            *told,
            *self._refused(model, asked, order, patience=patience, tight=max(0.0, slo - full), slack=slack),
            *self._load(slo),
            *_shape(model, asked, waits, patience),
            *_pools(model, look, rate),
            *self._reach(waits, slo, alone, max(doubt, 0.01 * slo)),
            *replayed(model, look, self.seen),
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


def _fill(asked: list[Asked], members: Sequence[int], each: float) -> None:
    """Leave the fullest station of a common pool as many servers as bear what the pool bears, and no other fewer."""
    bound = 1.0 / max(each, LEAST)
    fullest = min(members, key=lambda place: asked[place].most)
    for place in members:
        factor = bound / asked[place].most
        if place == fullest or factor > 1.0:
            asked[place] = replace(asked[place], servers=asked[place].servers * max(factor, LEAST))


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


def _pools(model: Model, look: Look, rate: float) -> list[float]:
    """Return how full the fullest pool is with dispatches of what single requests bring; more of common pools.

    Of these: how full replicas are so, how full cards; how full replicas are with full dispatches; and how full the
    pool is by what it bears when it is run.
    """
    most, common = 0.0, [0.0] * 4
    for members, each in zip(look.pools, look.each, strict=True):
        one = look.asked[members[0]]
        if len(members) == 1:
            most = max(most, one.mean_own / one.servers)
            continue
        asked = [look.asked[place] for place in members]
        takes = [model.stations[place].take for place in members]
        replicas = model.pools[model.stations[members[0]].pool].servers
        busy, cards = pool_use(asked, takes, 1, replicas)
        full = sum([other.units * other.full / other.batch for other in asked]) / replicas
        most = max(most, busy, cards)
        here = rate * busy, rate * cards, rate * full, rate * each
        common = [max(pair) for pair in zip(common, here, strict=True)]
    return [rate * most, *common]


def _log(value: float) -> float:
    return math.log(max(value, LEAST))
