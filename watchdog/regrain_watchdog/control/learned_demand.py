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

_Part = tuple[list[list[float]], list[float]]
"""Of one stage: by class of requests the seconds of a call of 0, 1, .. units, and its units of one of the station's."""
KEPT = 8192
"""Stations that are kept for the plans to come."""
LEAST = 1e-6


@dataclass(slots=True, kw_only=True)
class Asked:
    """What a load asks of one station.

    Attributes:
        units: mean of a request. bunch: E[w^2] / E[w] of them.
        servers: dispatches at once. fitting: those of a pool that nobody else wants.
        batch: units of a dispatch at most. keeps_up: of one that keeps up with the load.
        times: seconds of a dispatch of 0, 1, .. batch units of a mean request. usual: of half of keeps_up.
        alone: by class, seconds that a request takes with nobody else there. drain: those between its first dispatch
            and its last. longer: those by which a dispatch of one unit is longer than the mean.
        own: by class, seconds of servers that a request takes in dispatches of its own units alone; mean_own: of all.
        beside: seconds of a dispatch beside its stages.
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
    own: tuple[float, ...]
    mean_own: float
    beside: float

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

    def spent(self, many: int) -> float:
        """Return the seconds of servers that a request takes if what so many bring is dispatched together.

        The last dispatch has what is left: of lists it lacks half of (batch - 1) units on average.
        """
        if many == 1:
            return self.mean_own
        units = many * self.units
        lacking = 0.5 - 0.5 / self.batch if self.bunch > 1.0 else 0.0
        dispatches = max(1.0, units / self.batch + lacking)
        return dispatches * between(self.times, units / dispatches, self.beside) / many

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
        found: list[Asked] = []
        pools: dict[int, list[int]] = {}
        for place, station in enumerate(model.stations):
            found.append(self._ask(station, model))
            pools.setdefault(station.pool, []).append(place)
        for number, members in pools.items():
            if len(members) > 1:
                takes = [model.stations[place].take for place in members]
                _share(found, takes, members, self.seen.rate, model.pools[number])
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
        once, widths = seen.widths[PER_REQUEST], seen.widths[scope]
        parts: list[_Part] = []
        for work in station.works:
            inner = once if work.scope in (PER_REQUEST, scope) else seen.widths[work.scope]
            parts.append((_table(work, model, seen), inner))
        times = (0.0, *[_seconds(parts, beside, count, -1) for count in range(1, batch + 1)])
        units = max(widths[-1], LEAST)
        needed, keeps_up = seen.rate * units / servers, 1
        while keeps_up < batch and keeps_up < needed * times[keeps_up]:
            keeps_up += 1
        variance = 0.0
        for work, (tables, inner) in zip(station.works, parts, strict=True):
            variance += (work.cv * _calls(tables[-1], inner[-1])) ** 2
        alone = own = (times[1],) * len(seen.weights)
        drain = longer = (0.0,) * len(seen.weights)
        if scope != PER_REQUEST or len(model.sizes) > 1 or any(inner is not once for _, inner in parts):
            alone, own, drain, longer = _by_class(parts, beside, widths, times, servers)
        return Asked(
            units=units,
            bunch=float(seen.traffic.bunches[scope]) if scope != PER_REQUEST else 1.0,
            servers=float(servers),
            fitting=float(servers),
            batch=batch,
            keeps_up=keeps_up,
            times=times,
            alone=alone,
            drain=drain,
            longer=longer,
            jitter=math.sqrt(variance) / max(times[1], LEAST),
            own=own,
            mean_own=max(
                LEAST * times[1], sum([weight * one for weight, one in zip(seen.weights, own, strict=True)])
            ),
            beside=beside,
        )


def _seconds(parts: Sequence[_Part], beside: float, count: float, kind: int) -> float:
    """Return the seconds of a dispatch of so many units of a class; -1: of a mean request."""
    whole = beside
    for tables, widths in parts:
        whole += _calls(tables[kind], count * widths[kind])
    return whole


def _by_class(
    parts: Sequence[_Part], beside: float, widths: Sequence[float], times: Sequence[float], servers: int
) -> tuple[tuple[float, ...], ...]:
    """Return `alone`, `own`, `drain` and `longer` of Asked."""
    batch = len(times) - 1
    found: list[tuple[float, float, float, float]] = []
    for kind, width in enumerate(widths[:-1]):
        longer = _seconds(parts, beside, 1.0, kind) - times[1]
        if width <= 0.0:
            found.append((0.0, 0.0, 0.0, longer))
            continue
        dispatches = math.ceil(width / batch - 1e-9)
        last = _seconds(parts, beside, width - (dispatches - 1) * batch, kind)
        if dispatches == 1:
            found.append((last, last, 0.0, longer))
            continue
        full = _seconds(parts, beside, batch, kind)
        drain = (math.ceil(dispatches / servers) - 1) * full
        found.append((full, (dispatches - 1) * full + last, drain, longer))
    return tuple(zip(*found, strict=True))


def between(times: Sequence[float], count: float, beside: float) -> float:
    """Return the seconds of a dispatch of `count` units, between whole numbers linear; less than one cost `beside`."""
    low = int(count)
    if low == count:
        return times[low]
    below = times[low] if low else beside
    return below + (count - low) * (times[low + 1] - below)


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


def together(asked: Sequence[Asked], takes: Sequence[float], rate: float, replicas: int) -> int:
    """Return of how many requests a common pool dispatches what they bring together, for it to keep up with a load.

    It dispatches at once what there is, so batches are of what one request brings, until those do not keep up.
    """
    most = max([one.batch for one in asked])
    many = 1
    while many < most and rate * max(pool_use(asked, takes, many, replicas)) > 1.0:
        many *= 2
    return min(many, most)


def pool_use(asked: Sequence[Asked], takes: Sequence[float], many: int, replicas: int) -> tuple[float, float]:
    """Return the seconds of all replicas and of all cards that a request takes, so many dispatched together.

    What `takes` no share of a card takes replicas alone.
    """
    busy = cards = 0.0
    for one, take in zip(asked, takes, strict=True):
        spent = one.spent(many)
        busy += spent
        if take > 0.0:
            cards += spent / one.fitting
    return busy / replicas, cards


def _share(
    found: list[Asked], takes: Sequence[float], members: Sequence[int], rate: float, pool: Pool
) -> None:
    """Leave to each station of a common pool the servers that the others do not take, or its part of a full one."""
    asked = [found[place] for place in members]
    many = together(asked, takes, rate, pool.servers)
    busy, full = pool_use(asked, takes, many, pool.servers)
    whole = max(busy, full, LEAST)
    for one, take, place in zip(asked, takes, members, strict=True):
        seconds = one.spent(many)
        left = pool.servers * (1.0 - rate * (busy - seconds / pool.servers))
        if take > 0.0:
            left = min(left, one.servers * (1.0 - rate * (full - seconds / one.fitting)))
        found[place] = replace(one, servers=min(one.servers, max(left, seconds / whole)))


def _table(work: Work, model: Model, seen: Seen) -> list[list[float]]:
    """Return (classes + 1, units) the seconds of a call; the last is of a request of mean size."""
    if len(model.sizes) == 1:
        return [work.seconds[:, 0].tolist()] * len(seen.sizes)
    return [[float(np.interp(size, model.sizes, row)) for row in work.seconds] for size in seen.sizes]


def _calls(table: Sequence[float], count: float) -> float:
    """Return the seconds of so many units in as many calls as they take; between whole numbers linear."""
    low = int(count)
    if low == count and low < len(table):
        return table[low]
    full, rest = divmod(count, len(table) - 1)
    low = int(rest)
    part = table[low] + (rest - low) * (table[low + 1] - table[low]) if rest > low else table[low]
    return full * table[-1] + part
