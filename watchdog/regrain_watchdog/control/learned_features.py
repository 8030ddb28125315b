"""What a plan and a load are like, in as many numbers for each plan: what the learned predictor's trees look at.

Nearly all are ratios to the objective or to what the plan bears, so that what was learned of one app holds for others.
Plain floats: a plan has a handful of stations, for which arrays cost more than they save.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from regrain_watchdog.control.learned_load import CLASSES, Seen
from regrain_watchdog.policy.admit import HEADROOM
from regrain_watchdog.policy.deadline import MARGIN
from regrain_watchdog.policy.fluid import at_once
from regrain_watchdog.policy.model import PER_REQUEST, Model, Station, Work
from regrain_watchdog.policy.predict.demand import DEVIATION

FULLEST = 3
"""Stations that are told apart, the fullest first."""
KEPT = 8192
"""Calls' times that are kept for the plans to come."""
ALONE = tuple(f"alone_{place}" for place in range(CLASSES))
PATHS = ("path_single", "path_usual", "path_loaded", "path_full", "path_safe", "doubt", "hops", "company")
STATION = (
    "use", "use_single", "servers", "batch", "keeps_up", "single", "loaded", "full", "bunch", "wait", "tail", "per_item",
)  # fmt: skip
REFUSED = ("refused", "refused_half", "refused_full", "refused_second", "refused_most")
LOAD = ("count", "burst", "burst_share", "burst_stay", "spread_slo", "spread_long")
SHAPE = ("stations", "depth", "items", "jitter", "fluid", "fluid_take", "lease", "waits", "passing")
REACH = ("reach", "reached")
NAMES = (
    *ALONE,
    *PATHS,
    *(f"{name}_{place}" for place in range(FULLEST) for name in STATION),
    *REFUSED,
    *LOAD,
    *SHAPE,
    *REACH,
)
RISING = frozenset({"passing", *REACH})
"""Features that a hit rate never falls with."""
FALLING = frozenset(
    {*ALONE, "path_single", "path_loaded", "path_safe", "hops", *REFUSED, "waits", "use_0", "use_1", "use_2"}
)
"""Features that it never rises with."""
LEAST = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a load asks of one station.

    Attributes:
        units: mean of a request. bunch: E[w^2] / E[w] of them.
        servers: dispatches at once. batch: units of a dispatch at most. keeps_up: of one that keeps up with the load.
        single, usual, loaded, full: seconds of a dispatch of one unit, of half of keeps_up, of keeps_up, of a full one.
        alone: by class, seconds that a request takes with nobody else there. drain: those between its first dispatch
            and its last. jitter: standard deviation of a dispatch over its mean.
    """

    units: float
    bunch: float
    servers: float
    batch: int
    keeps_up: int
    single: float
    usual: float
    loaded: float
    full: float
    alone: tuple[float, ...]
    drain: tuple[float, ...]
    jitter: float

    @property
    def most(self) -> float:
        """Requests a second that it serves in full batches."""
        return self.servers * self.batch / (self.units * self.full)


class Reader:
    """Makes features of plans under one load, and remembers what it asks of stations that it has seen."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self._asks: dict[object, Asked] = {}

    def asked(self, model: Model) -> list[Asked]:
        """Return what the load asks of each station; those of a common pool share its servers."""
        found = [self._ask(station, model) for station in model.stations]
        for number in range(len(model.pools)):
            members = [place for place, station in enumerate(model.stations) if station.pool == number]
            if len(members) > 1:
                _share(found, members, self.seen.rate)
        return found

    def features(self, model: Model, asked: Sequence[Asked]) -> list[float]:
        """Return the numbers that NAMES names."""
        slo, rate = model.slo, self.seen.rate
        single = longest(model, [one.single for one in asked])
        usual = longest(model, [one.usual for one in asked])
        loaded = longest(model, [one.loaded for one in asked])
        full = longest(model, [one.full for one in asked])
        doubt = math.sqrt(sum([(one.jitter * one.usual) ** 2 for one in asked]))
        safe = usual + MARGIN * DEVIATION * doubt
        hops = (sum([station.hop for station in model.stations]) + model.answer) / slo
        company = sum([min(station.max_wait, slo) for station in model.stations]) / slo
        paths = [_log(seconds / slo) for seconds in (single, usual, loaded, full, safe, doubt)]
        alone = alone_by_class(model, asked)
        order = sorted(range(len(asked)), key=lambda place: -rate / asked[place].most)
        patience = max(0.0, slo - min(usual, alone[CLASSES // 2])) / HEADROOM
        told: list[float] = []
        for place in order[:FULLEST]:
            told += _told(model.stations[place], asked[place], rate, slo, patience)
        told += [0.0] * (len(STATION) * (FULLEST - min(FULLEST, len(order))))
        return [
            *(_log(seconds / slo) for seconds in alone),
            *paths,
            hops,
            company,
            *told,
            *self._refused(model, asked, order, patience, max(0.0, slo - full)),
            *self._load(slo),
            *_shape(model, asked, rate, slo, patience),
            *self._reach(asked, slo, alone, max(doubt, 0.01 * slo)),
        ]

    def _ask(self, station: Station, model: Model) -> Asked:
        pool = model.pools[station.pool]
        servers = at_once(pool.servers, pool.cards, station.take)
        key = station.works, station.scope, station.max_size, servers, pool.lease
        if key not in self._asks:
            if len(self._asks) > KEPT:
                self._asks.clear()
            self._asks[key] = self._new(station, model, servers, pool.lease)
        return self._asks[key]

    def _new(self, station: Station, model: Model, servers: int, lease: float) -> Asked:
        seen, scope, batch = self.seen, station.scope, station.max_size
        tables = [_table(work, model, seen) for work in station.works]
        inner = [
            seen.widths[PER_REQUEST if work.scope in (PER_REQUEST, scope) else work.scope] for work in station.works
        ]

        def seconds(count: float, place: int = -1) -> float:
            """Return the seconds of a dispatch of so many units of a class, by default of the mean of all."""
            whole = lease
            for table, widths in zip(tables, inner, strict=True):
                whole += _calls(table[place], count * widths[place])
            return whole

        units = max(seen.widths[scope][-1], LEAST)
        needed = seen.rate * units / servers
        keeps_up = next((count for count in range(1, batch) if count >= needed * seconds(count)), batch)
        single = seconds(1)
        alone, drain = [], []
        for place in seen.levels:
            width = seen.widths[scope][place]
            alone.append(seconds(min(float(batch), width), place) if width > 0.0 else 0.0)
            rounds = math.ceil(math.ceil(width / batch - 1e-9) / servers) - 1
            drain.append(rounds * seconds(batch, place) if rounds > 0 else 0.0)
        variance = sum(
            [(work.cv * _calls(table[-1], widths[-1])) ** 2 for work, table, widths in zip(station.works, tables, inner, strict=True)]
        )
        return Asked(
            units=units,
            bunch=float(seen.traffic.bunches[scope]) if scope != PER_REQUEST else 1.0,
            servers=float(servers),
            batch=batch,
            keeps_up=keeps_up,
            single=single,
            usual=seconds((keeps_up + 1) // 2),
            loaded=seconds(keeps_up),
            full=seconds(batch),
            alone=tuple(alone),
            drain=tuple(drain),
            jitter=math.sqrt(variance) / max(single, LEAST),
        )

    def _refused(
        self, model: Model, asked: Sequence[Asked], order: Sequence[int], patience: float, tight: float
    ) -> list[float]:
        """Return what simple servers in the place of the fullest stations refuse."""
        refused = self.seen.refused
        first = model.stations[order[0]].scope, asked[order[0]].most
        most = [refused(model.stations[place].scope, asked[place].most, patience) for place in order[:FULLEST]]
        return [
            most[0],
            refused(*first, patience / 2.0),
            refused(*first, tight),
            most[1] if len(most) > 1 else 0.0,
            max(most),
        ]

    def _reach(self, asked: Sequence[Asked], slo: float, alone: Sequence[float], doubt: float) -> list[float]:
        """Return the share of the requests that are in time alone, and that with the waits of all stations."""
        reach, reached = 0.0, 0.0
        waits = [tail(one, self.seen.rate) for one in asked]
        for weight, seconds in zip(self.seen.weights, alone, strict=True):
            left = slo - seconds
            share = weight / (1.0 + math.exp(min(50.0, -2.0 * left / doubt)))
            reach += share
            for likely, mean in waits:
                share *= 1.0 - likely * math.exp(-max(0.0, left) / mean)
            reached += share
        return [reach, reached]

    def _load(self, slo: float) -> list[float]:
        process = self.seen.traffic.process
        burst = max(process.rates) / max(process.rate, LEAST)
        share = process.shares[-1] if len(process.rates) > 1 else 1.0
        stay = process.stays[-1] / slo if len(process.rates) > 1 else 0.0
        spread = [_log(process.dispersion(slo * times)) for times in (1.0, 20.0)]
        return [_log(self.seen.count), _log(burst), share, math.log1p(stay), *spread]


def alone_by_class(model: Model, asked: Sequence[Asked]) -> list[float]:
    """Return the seconds that a request of each class takes with nobody else there."""
    found = []
    stations = model.stations
    for place in range(CLASSES):
        ends: list[float] = []
        leads: list[float] = []
        for station, one in zip(stations, asked, strict=True):
            begin, lead = 0.0, 0.0
            for other in station.after:
                begin = max(begin, ends[other])
                if station.scope != PER_REQUEST and stations[other].scope == station.scope:
                    lead = max(lead, leads[other])
            ends.append(begin + station.hop + one.alone[place] + max(0.0, one.drain[place] - lead))
            leads.append(max(lead, one.drain[place]))
        found.append(max(ends) + model.answer)
    return found


def longest(model: Model, seconds: Sequence[float]) -> float:
    """Return the seconds of the longest way through stations that take so many each, hops among them."""
    ends: list[float] = []
    for station, own in zip(model.stations, seconds, strict=True):
        ends.append(max([ends[other] for other in station.after], default=0.0) + station.hop + own)
    return max(ends) + model.answer


def taken(one: Asked, rate: float) -> float:
    """Return the share of a station's servers' time that a load takes, in batches that keep up with it."""
    return rate * one.units * one.loaded / one.keeps_up / one.servers


def tail(one: Asked, rate: float) -> tuple[float, float]:
    """Return how likely a dispatch waits, and the mean seconds of those that do.

    With use r and c servers: P = r^(sqrt(2 (c + 1)) - 1) (Sakasegawa 1977), and the wait of who waits is about
    exponential with mean (bunch + jitter^2) / 2 T / (c (1 - r)) (Kingman 1962).
    """
    use = min(0.98, taken(one, rate))
    likely = use ** (math.sqrt(2.0 * (one.servers + 1.0)) - 1.0)
    return likely, (one.bunch + one.jitter**2) / 2.0 * one.loaded / one.servers / (1.0 - use)


def _told(station: Station, one: Asked, rate: float, slo: float, patience: float) -> list[float]:
    likely, mean = tail(one, rate)
    return [
        rate / one.most,
        rate * one.units * one.single / one.servers,
        _log(one.servers),
        _log(one.batch),
        one.keeps_up / one.batch,
        _log(one.single / slo),
        _log(one.loaded / slo),
        _log(one.full / slo),
        _log(one.bunch),
        _log(mean / slo),
        likely * math.exp(-patience / max(mean, LEAST)),
        float(station.scope != PER_REQUEST),
    ]


def _shape(model: Model, asked: Sequence[Asked], rate: float, slo: float, patience: float) -> list[float]:
    depths: list[int] = []
    for station in model.stations:
        depths.append(1 + max([depths[other] for other in station.after], default=0))
    fluid = len(asked) - len(model.pools)
    waits, passing = 0.0, 1.0
    for station, one in zip(model.stations, asked, strict=True):
        likely, mean = tail(one, rate)
        waits += likely * mean
        passing *= 1.0 - likely * math.exp(-patience / max(mean, LEAST))
    return [
        float(len(asked)),
        float(max(depths)),
        float(sum([station.scope != PER_REQUEST for station in model.stations])),
        max([one.jitter for one in asked]),
        float(fluid),
        max([station.take for station in model.stations]) if fluid else 0.0,
        max([pool.lease for pool in model.pools]) / slo,
        min(10.0, waits / slo),
        passing,
    ]


def _share(found: list[Asked], members: Sequence[int], rate: float) -> None:
    """Leave to each station of a common pool the servers that the others do not take, or its part of a full one."""
    takes = [found[place].units * found[place].loaded / found[place].keeps_up / found[place].servers for place in members]
    whole = sum(takes)
    for place, take in zip(members, takes, strict=True):
        one = found[place]
        part = max(1.0 - rate * (whole - take), take / max(whole, LEAST))
        found[place] = replace(one, servers=one.servers * part)


def _table(work: Work, model: Model, seen: Seen) -> list[list[float]]:
    """Return (classes + 1, units) the seconds of a call; the last is of a request of mean size."""
    if len(model.sizes) == 1:
        return [work.seconds[:, 0].tolist()] * len(seen.sizes)
    return [[float(np.interp(size, model.sizes, row)) for row in work.seconds] for size in seen.sizes]


def _calls(table: Sequence[float], count: float) -> float:
    """Return the seconds of so many units in as many calls as they take; between whole numbers linear."""
    chunk = len(table) - 1
    full, rest = divmod(count, chunk)
    low = int(rest)
    part = table[low] + (rest - low) * (table[low + 1] - table[low]) if rest > low else table[low]
    return full * table[chunk] + part


def _log(value: float) -> float:
    return math.log(max(value, LEAST))
