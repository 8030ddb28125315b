"""What requests ask of one station: units, seconds of a dispatch of so many, and how these vary between requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.batch import units_together
from regrain_watchdog.policy.deadline import MARGIN
from regrain_watchdog.policy.fluid import at_once
from regrain_watchdog.policy.model import PER_REQUEST, Pool, Station, Work
from regrain_watchdog.policy.predict.traffic import Traffic

Floats = NDArray[np.float64]

DEVIATION = 0.8
"""Mean absolute deviation over standard deviation, of a normal: sqrt(2 / pi)."""
STEPS = 9
"""Waits for company that are looked at."""
UNSURE = 0.5
"""Standard deviation of what the front has learned (the mean and MARGIN mean deviations) over that of its samples."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Demand:
    """What requests ask of a station.

    Attributes:
        units: mean of a request.
        bunch: E[w^2] / E[w] of a request's units, so 1 where each brings one.
        widths: (classes,) mean units of a request of each class.
        seconds: (max_size + 1,) that a dispatch of so many units holds a server on average; the first is 0.
        own: (classes,) seconds by which a dispatch with a unit of that class is longer than the mean.
        scatter: squared coefficient of variation of a unit's own seconds between requests.
        cv: standard deviation of a dispatch's jitter over its mean.
        max_size: units of a dispatch at most.
        max_wait: seconds that the first unit waits for others at most.
        servers: dispatches at once.
        mark: equal where two are of the same numbers, under one load.
        lead: (classes,) seconds between the coming of a request's first unit and its last, where another station hands
            them on one by one; None where all come at once.
    """

    units: float
    bunch: float
    widths: Floats
    seconds: Floats
    own: Floats
    scatter: float
    cv: float
    max_size: int
    max_wait: float
    servers: float
    mark: object
    lead: Floats | None = None

    @property
    def most(self) -> float:
        """Requests a second that it can serve at most, in full batches."""
        return self.servers * self.max_size / max(1e-12, self.units * float(self.seconds[-1]))

    def takes(self, batch: int) -> float:
        """Return the seconds of a server that a request takes in dispatches of so many of its own units.

        The last one of a list is what is left of it: half of (batch - 1) units are lacking on average.
        """
        many = self.units / batch + (0.5 - 0.5 / batch if self.bunch > 1.0 else 0.0)
        return many * float(
            np.interp(self.units / max(many, 1e-12), np.arange(len(self.seconds)), self.seconds)
        )

    def batch(self, rate: float) -> int:
        """Return how many units a dispatch must have to keep up with so many a second; max_size where none do."""
        for batch, seconds in enumerate(self.seconds.tolist()):
            if batch and self.servers * batch >= rate * seconds:
                return batch
        return self.max_size

    @property
    def drain(self) -> Floats:
        """Seconds, by class, between a request's first dispatch and its last where all servers work for it."""
        rounds = np.maximum(0.0, np.ceil(self.widths / self.max_size - 1e-9) - 1.0)
        seconds: Floats = rounds * self.seconds[-1] / self.servers
        return seconds

    def usual(self, batch: int) -> float:
        """Return the seconds that the front takes a dispatch of so many units to last, and rarely more."""
        return float(self.seconds[batch]) + MARGIN * DEVIATION * self.deviation(batch)

    def deviation(self, batch: int) -> float:
        """Return the standard deviation of the seconds of a dispatch of so many units."""
        return float(self.seconds[batch]) * math.sqrt(self.cv**2 + self.scatter / batch)

    def window(self, slack: float, rate: float) -> float:
        """Return for how long a unit waits for company, if that and what company costs it are to fit into a slack.

        Args:
            slack: seconds that a unit which goes alone has to spare.
            rate: requests a second.
        """
        if self.max_wait <= 0.0 or slack <= 0.0:
            return 0.0
        waits = np.linspace(0.0, min(self.max_wait, slack), STEPS)
        joined = np.minimum(1.0 + waits * rate * self.units, float(self.max_size))
        longer = np.interp(joined, np.arange(len(self.seconds)), self.seconds) - self.seconds[1]
        return float(np.interp(slack, waits + longer, waits))

    def timely(self, slack: float) -> Demand:
        """Return the same with batches no larger than lets the most urgent unit be in time.

        Args:
            slack: seconds that a request has beside what it takes alone.
        """
        if self.max_size == 1:
            return self
        fitting = max(1, int(np.count_nonzero(self.seconds[1:] - self.seconds[1] <= slack)))
        if fitting >= self.max_size:
            return self
        return replace(
            self, max_size=fitting, seconds=self.seconds[: fitting + 1], mark=(self.mark, "timely", fitting)
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Brought:
    """What requests of a load bring to stations of one scope.

    Attributes:
        units, bunch, widths: as in Demand.
        share: (classes,) of the units that are of each class.
        columns: (classes, sizes) weights of the columns of Work.seconds; column: (sizes,) those of a mean unit.
    """

    units: float
    bunch: float
    widths: Floats
    share: Floats
    columns: Floats
    column: Floats


class Demands:
    """What one load asks of stations that have a pool to themselves; remembers those that it has seen."""

    def __init__(self, load: Traffic) -> None:
        self.load = load
        self._asked: dict[object, Demand] = {}
        self._brought: dict[object, _Brought] = {}

    def of(self, station: Station, pool: Pool, sizes: Floats) -> Demand:
        """Return what requests ask of a station; `sizes` as in Model."""
        mark = key(station, pool, sizes)
        if mark not in self._asked:
            self._asked[mark] = self._new(station, pool, self._bring(station.scope, sizes), mark)
        return self._asked[mark]

    def _bring(self, scope: int, sizes: Floats) -> _Brought:
        wanted = scope, sizes.tobytes()
        if wanted not in self._brought:
            load, per_item = self.load, scope != PER_REQUEST
            widths = load.widths[:, scope] if per_item else np.ones(len(load.weights))
            units = float(load.weights @ widths)
            share = load.weights * widths / units if units > 0.0 else load.weights
            columns = _columns(sizes, load.sizes)
            bunch = float(load.bunches[scope]) if per_item else 1.0
            self._brought[wanted] = _Brought(
                units=units, bunch=bunch, widths=widths, share=share, columns=columns, column=share @ columns
            )
        return self._brought[wanted]

    def _new(self, station: Station, pool: Pool, brought: _Brought, mark: object) -> Demand:
        share = brought.share
        each = [self._alone(work, station, brought) for work in station.works]
        means = [float(share @ one) for one in each]
        alone, mean = sum(each, np.zeros(len(share))), sum(means)
        max_size = units_together(mean, max_size=station.max_size)
        together = [self._together(work, station, brought, max_size) for work in station.works]
        seconds = sum(together, np.zeros(max_size + 1))
        seconds[1] = mean
        beside = pool.lease + station.hop
        seconds[1:] += beside
        jitter = math.hypot(*(work.cv * one for work, one in zip(station.works, means, strict=True)))
        own = alone - mean
        return Demand(
            units=brought.units,
            bunch=brought.bunch,
            widths=brought.widths,
            seconds=seconds,
            own=own,
            scatter=float(share @ own**2) / mean**2 if mean > 0.0 else 0.0,
            cv=jitter / (mean + beside) if mean > 0.0 else 0.0,
            max_size=max_size,
            max_wait=station.max_wait,
            servers=float(at_once(pool.servers, pool.cards, station.take)),
            mark=mark,
        )

    def _alone(self, work: Work, station: Station, brought: _Brought) -> Floats:
        """Return (classes,) the seconds of a dispatch of one unit of each class."""
        if work.scope in (PER_REQUEST, station.scope):
            seconds: Floats = brought.columns @ work.seconds[1]
            return seconds
        return _calls(brought.columns @ work.seconds.T, self.load.widths[:, work.scope])

    def _together(self, work: Work, station: Station, brought: _Brought, most: int) -> Floats:
        """Return (most + 1,) the seconds of a dispatch of 0, 1, .. units of mean class."""
        table = work.seconds @ brought.column
        if work.scope not in (PER_REQUEST, station.scope):
            width = float(brought.share @ self.load.widths[:, work.scope])
            return _calls(table[None, :], np.arange(most + 1.0) * width)
        if most <= work.chunk:
            first: Floats = table[: most + 1]
            return first
        return _calls(table[None, :], np.arange(most + 1.0))


def pooled(
    asked: Sequence[Demand],
    stations: Sequence[Station],
    within: Sequence[Sequence[int]],
    replicas: int,
    rate: float,
) -> list[Demand]:
    """Return what is asked of stations that have a pool in common, each with the servers that the others leave to it.

    Args:
        asked: by station in topological order, with as many servers as it could have alone.
        stations: the same.
        within: by station, the places among these of those whose results it takes.
        replicas: of the pool.
        rate: requests a second.

    A request takes units T(b) / b seconds of a replica, and of the cards 1 / c of that at a station that has up to c
    dispatches at once. Who is further on is more urgent, and goes first: lines form where requests come into the pool,
    which has what the others leave, and its part of a pool that is too full. So batches are of what comes at once, and
    grow there alone, until the pool keeps up.
    """
    most = max(one.max_size for one, before in zip(asked, within, strict=True) if not before)
    for first in range(1, most + 1):
        batches = _batches(asked, stations, within, first)
        spent = [one.takes(batch) for one, batch in zip(asked, batches, strict=True)]
        cards = [
            seconds / one.servers * (station.take > 0.0)
            for seconds, one, station in zip(spent, asked, stations, strict=True)
        ]
        whole = max(sum(spent) / replicas, sum(cards), 1e-12)
        if rate * whole <= 1.0:
            break
    let_in = min(rate, 1.0 / whole)
    marks = tuple(one.mark for one in asked)
    found = []
    for place, (one, seconds, card) in enumerate(zip(asked, spent, cards, strict=True)):
        left = replicas - let_in * sum(spent[place + 1 :])
        if card > 0.0:
            left = min(left, one.servers * (1.0 - let_in * sum(cards[place + 1 :])))
        servers = min(one.servers, max(left, seconds / whole))
        found.append(replace(one, servers=servers, mark=(place, marks)))
    return found


def _batches(
    asked: Sequence[Demand], stations: Sequence[Station], within: Sequence[Sequence[int]], first: int
) -> list[int]:
    """Return how many units a dispatch of each station has, if as many come at once where requests come in."""
    found: list[int] = []
    for one, station, before in zip(asked, stations, within, strict=True):
        come = float(max((found[other] for other in before), default=first))
        if not any(stations[other].scope == station.scope for other in before):
            come *= one.bunch
        found.append(max(1, min(one.max_size, math.floor(come))))
    return found


def streamed(asked: Demand, before: Demand) -> Demand:
    """Return what is asked of a station to which another one hands items of the same list as they are done."""
    lead = before.drain if before.lead is None else np.maximum(before.drain, before.lead)
    return replace(
        asked, bunch=min(asked.bunch, float(before.max_size)), lead=lead, mark=(asked.mark, before.mark)
    )


def key(station: Station, pool: Pool, sizes: Floats) -> object:
    """Return the numbers of a station and its pool; equal ones ask the same of requests."""
    works = tuple((work.scope, work.seconds.tobytes(), work.cv) for work in station.works)
    shape = station.scope, station.max_size, station.max_wait, station.take, station.hop
    return shape, works, pool.servers, pool.cards, pool.lease, sizes.tobytes()


def _columns(sizes: Floats, wanted: Floats) -> Floats:
    """Return (classes, sizes) weights that interpolate between columns of Work.seconds."""
    if len(sizes) == 1:
        return np.ones((len(wanted), 1))
    return np.array([np.interp(wanted, sizes, one) for one in np.eye(len(sizes))]).T


def _calls(tables: Floats, counts: Floats) -> Floats:
    """Return the seconds of so many units in as many calls as they take; between whole numbers linear.

    Args:
        tables: (n or 1, chunk + 1) seconds of a call of so many units.
        counts: (n,) units.
    """
    chunk = tables.shape[1] - 1
    full = np.floor(counts / chunk)
    rest = counts - full * chunk
    low = rest.astype(np.int64)
    rows = np.arange(len(tables))
    below = tables[rows, low]
    seconds: Floats = full * tables[:, -1] + below + (rest - low) * (tables[rows, low + 1] - below)
    return seconds
