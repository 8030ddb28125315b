"""What a load asks of the stations of a plan.

In plain floats: a plan has a handful of stations, for which arrays cost more than they save.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from regrain_watchdog.control.learned_load import Seen
from regrain_watchdog.policy.fluid import at_once
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work

KEPT = 8192
"""Stations that are kept for the plans to come."""
LEAST = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a load asks of one station.

    Attributes:
        units: mean of a request. bunch: E[w^2] / E[w] of them.
        servers: dispatches at once. fitting: those of a pool that nobody else wants.
        batch: units of a dispatch at most. keeps_up: of one that keeps up with the load.
        times: seconds of a dispatch of 0, 1, .. batch units of a mean request. usual: of half of keeps_up.
        alone: by class, seconds that a request takes with nobody else there. drain: those between its first dispatch
            and its last. longer: those by which a dispatch of one unit is longer than the mean.
        jitter: standard deviation of a dispatch over its mean.
    """

    units: float
    bunch: float
    servers: float
    fitting: float
    batch: int
    keeps_up: int
    times: tuple[float, ...]
    alone: tuple[float, ...]
    drain: tuple[float, ...]
    longer: tuple[float, ...]
    jitter: float

    @property
    def single(self) -> float:
        """Seconds of a dispatch of one unit."""
        return self.times[1]

    @property
    def usual(self) -> float:
        """Seconds of one of half of keeps_up."""
        return self.times[(self.keeps_up + 1) // 2]

    @property
    def loaded(self) -> float:
        """Seconds of one that keeps up."""
        return self.times[self.keeps_up]

    @property
    def full(self) -> float:
        """Seconds of a full one."""
        return self.times[-1]

    @property
    def most(self) -> float:
        """Requests a second that it serves in full batches."""
        return self.servers * self.batch / (self.units * self.full)


class Demands:
    """What one load asks of stations; remembers those that it has seen."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self._asks: dict[object, Asked] = {}

    def asked(self, model: Model) -> list[Asked]:
        """Return what the load asks of each station; those of a common pool share its servers."""
        found = [self._ask(station, model) for station in model.stations]
        for number, pool in enumerate(model.pools):
            members = [place for place, station in enumerate(model.stations) if station.pool == number]
            if len(members) > 1:
                _share(
                    found, [model.stations[place].take for place in members], members, self.seen.rate, pool
                )
        return found

    def _ask(self, station: Station, model: Model) -> Asked:
        pool = model.pools[station.pool]
        servers = at_once(pool.servers, pool.cards, station.take)
        beside = pool.lease + station.hop
        key = station.works, station.scope, station.max_size, servers, beside
        if key not in self._asks:
            if len(self._asks) > KEPT:
                self._asks.clear()
            self._asks[key] = self._new(station, model, servers, beside)
        return self._asks[key]

    def _new(self, station: Station, model: Model, servers: int, beside: float) -> Asked:
        """Work out what a station is asked for; `beside`: seconds of a dispatch beside its stages."""
        seen, scope, batch = self.seen, station.scope, station.max_size
        tables = [_table(work, model, seen) for work in station.works]
        inner = [
            seen.widths[PER_REQUEST if work.scope in (PER_REQUEST, scope) else work.scope]
            for work in station.works
        ]

        def seconds(count: float, place: int = -1) -> float:
            """Return the seconds of a dispatch of so many units of a class, by default of the mean of all."""
            whole = beside
            for table, widths in zip(tables, inner, strict=True):
                whole += _calls(table[place], count * widths[place])
            return whole

        units = max(seen.widths[scope][-1], LEAST)
        needed = seen.rate * units / servers
        times = (0.0, *[seconds(count) for count in range(1, batch + 1)])
        keeps_up = next((count for count in range(1, batch) if count >= needed * times[count]), batch)
        alone, drain = [], []
        for place in range(len(seen.weights)):
            width = seen.widths[scope][place]
            alone.append(seconds(min(float(batch), width), place) if width > 0.0 else 0.0)
            rounds = math.ceil(math.ceil(width / batch - 1e-9) / servers) - 1
            drain.append(rounds * seconds(batch, place) if rounds > 0 else 0.0)
        variance = sum(
            [
                (work.cv * _calls(table[-1], widths[-1])) ** 2
                for work, table, widths in zip(station.works, tables, inner, strict=True)
            ]
        )
        return Asked(
            units=units,
            bunch=float(seen.traffic.bunches[scope]) if scope != PER_REQUEST else 1.0,
            servers=float(servers),
            fitting=float(servers),
            batch=batch,
            keeps_up=keeps_up,
            times=times,
            alone=tuple(alone),
            drain=tuple(drain),
            longer=tuple([seconds(1.0, place) - times[1] for place in range(len(seen.weights))]),
            jitter=math.sqrt(variance) / max(times[1], LEAST),
        )


def alone_by_class(model: Model, asked: Sequence[Asked]) -> list[float]:
    """Return the seconds that a request of each class takes with nobody else there."""
    return [_alone(model, asked, place) for place in range(len(asked[0].alone))]


def _alone(model: Model, asked: Sequence[Asked], place: int) -> float:
    if not any(one.drain[place] for one in asked):
        return longest(model, [one.alone[place] for one in asked])
    own: list[float] = []
    leads: list[float] = []
    for station, one in zip(model.stations, asked, strict=True):
        drain, lead = one.drain[place], 0.0
        if station.scope != PER_REQUEST:  # what hands items on one by one leaves only the rest to wait for
            lead = max(
                [leads[other] for other in station.after if model.stations[other].scope == station.scope],
                default=0.0,
            )
        own.append(one.alone[place] + max(0.0, drain - lead))
        leads.append(max(lead, drain))
    return longest(model, own)


def longest(model: Model, seconds: Sequence[float]) -> float:
    """Return the seconds of the longest way through stations that take so many each, until the answer."""
    ends: list[float] = []
    for station, own in zip(model.stations, seconds, strict=True):
        after = station.after
        begin = ends[after[0]] if len(after) == 1 else max([ends[other] for other in after], default=0.0)
        ends.append(begin + own)
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


def _share(
    found: list[Asked], holds: Sequence[float], members: Sequence[int], rate: float, pool: Pool
) -> None:
    """Leave to each station of a common pool the servers that the others do not take, or its part of a full one.

    What `holds` no share of a card takes replicas alone.
    """
    spent = [found[place].units * found[place].loaded / found[place].keeps_up for place in members]
    cards = [
        seconds / found[place].servers if held > 0.0 else 0.0
        for seconds, place, held in zip(spent, members, holds, strict=True)
    ]
    busy, full = sum(spent) / pool.servers, sum(cards)
    whole = max(busy, full, LEAST)
    for seconds, card, place, held in zip(spent, cards, members, holds, strict=True):
        one = found[place]
        left = pool.servers * (1.0 - rate * (busy - seconds / pool.servers))
        if held > 0.0:
            left = min(left, one.servers * (1.0 - rate * (full - card)))
        found[place] = replace(one, servers=min(one.servers, max(left, seconds / whole)))


def _table(work: Work, model: Model, seen: Seen) -> list[list[float]]:
    """Return (classes + 1, units) the seconds of a call; the last is of a request of mean size."""
    if len(model.sizes) == 1:
        return [work.seconds[:, 0].tolist()] * len(seen.sizes)
    return [[float(np.interp(size, model.sizes, row)) for row in work.seconds] for size in seen.sizes]


def _calls(table: Sequence[float], count: float) -> float:
    """Return the seconds of so many units in as many calls as they take; between whole numbers linear."""
    chunk = len(table) - 1
    if count <= chunk and count == int(count):
        return table[int(count)]
    full, rest = divmod(count, chunk)
    low = int(rest)
    part = table[low] + (rest - low) * (table[low + 1] - table[low]) if rest > low else table[low]
    return full * table[chunk] + part
