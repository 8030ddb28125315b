"""A rough replay of a load under a plan: what of the learned predictor's features the order of events decides.

Stations are gone through one after the other, each with all requests in the order in which they reach it, so nothing
waits for an event and a request takes tens of nanoseconds. What it leaves out (lines at other stations, what the front
has not learned yet, leases of different sizes) the trees learn.

What belongs together is in one array, so that functions take few.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy import admit, batch, deadline
from regrain_watchdog.policy.predict.demand import DEVIATION
from regrain_watchdog.simulate.compiled import compiled, entry

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

LEVELS = np.array([0.9, 1.0, 1.1])
"""Of the objective: the share of the requests that is in time is told for each."""
NOISE = np.random.default_rng(7).normal(size=509)
"""Jitter of dispatches, taken in turn, so that the same plan is told the same."""
LEAST, ROUNDING = 0.3, 1e-9
"""Of its mean that a dispatch takes whatever its jitter; and of a server, which is none."""
MOST_SERVERS = 64
SCOPE, SERVERS, BATCH, WAIT, JITTER, USUAL, REST, LAST, PASSED, COLUMNS = range(10)
"""Columns of a station's row. After them, by class of requests, the seconds by which a unit is longer than the mean,
those that a server is held beyond its dispatch, and those of a request that waits for nobody; then those of dispatches
of 0, 1, .. units."""
TAKES, STREAMS = 1, 2
"""How a station is linked to one before it: it takes what that is done with, or single items of the same list."""
AT, READY, FIRST, FINISH, START, LINE, LASTING, TIMES = range(8)
"""Of each request: when it comes, is ready for the station, has its first unit done there and its last; by place in the
order, when its first one went and how many waited; and what it takes in all."""
KIND, UNITS, ORDER, DEAD, FACTS = range(5)
"""Of each request: its class, its units, who is the how many-th to be ready, and whether it is refused."""
SLO, ANSWER, KINDS, SHUT, FACTORS = range(5)
"""The objective, the seconds from the last station to the caller, how many classes of requests there are, and whether
the front refuses anybody: not while the objective is out of reach."""
HEADROOM, RESIDUAL, HASTE = admit.HEADROOM, admit.RESIDUAL, batch.HASTE
MARGIN, MEAN_GAIN, DEVIATION_GAIN = deadline.MARGIN, deadline.MEAN_GAIN, deadline.DEVIATION_GAIN


@compiled
def _arrive(links: Places, first: Floats, finish: Floats, work: Floats) -> bool:
    """Tell when each request is ready for a station; whether it comes from another one."""
    linked = False
    work[READY] = work[AT]
    for before in range(len(links)):
        if links[before]:
            done = first[before] if links[before] == STREAMS else finish[before]
            for one in range(work.shape[1]):
                work[READY, one] = max(work[READY, one], done[one])
            linked = True
    work[FIRST] = work[READY]
    work[FINISH] = work[READY]
    return linked


@compiled
def _sort(work: Floats, who: Places) -> None:
    """Sort requests by when they are ready: by insertion, since they nearly are."""
    for place in range(1, who.shape[1]):
        one, before = who[ORDER, place], place - 1
        while before >= 0 and work[READY, who[ORDER, before]] > work[READY, one]:
            who[ORDER, before + 1] = who[ORDER, before]
            before -= 1
        who[ORDER, before + 1] = one


@compiled
def _pass(row: Floats, work: Floats, who: Places, kinds: int) -> None:
    """Have requests go through a station at which nobody waits."""
    for one in range(who.shape[1]):
        if who[UNITS, one] > 0:
            work[FIRST, one] += row[COLUMNS + 3 * kinds + 1]
            work[FINISH, one] += row[COLUMNS + 2 * kinds + who[KIND, one]]


@compiled
def _shortened(work: Floats, place: int, ready: float, gone: int, line: int) -> tuple[int, int]:
    """Return the first place that waits still when a request comes, and how many units do."""
    while gone < place and work[START, gone] <= ready:
        line -= int(work[LINE, gone])
        gone += 1
    return gone, line


@compiled
def _ahead(line: int, size: float, servers: float, mean: float) -> float:
    """Return the seconds until a server is free as the front tells them; 0 if nobody waits."""
    return (math.ceil(line / size) / servers + RESIDUAL) * mean if line else 0.0


@compiled
def _is_refused(wait: float, slack: float, ahead: float, single: float, usual: float) -> bool:
    """Whether a request that has to wait is refused at the door, or else gives way later."""
    return wait + single > slack or (ahead > 0.0 and HEADROOM * ahead + usual > slack)


@compiled
def _soonest(free: Floats) -> int:
    """Return the server that is free first."""
    best = 0
    for server in range(1, len(free)):
        if free[server] < free[best]:
            best = server
    return best


@compiled
def _with_company(work: Floats, who: Places, place: int, until: float, lack: float) -> float:
    """Return when so many units that a batch lacks have come as well, at the latest at some time."""
    while lack > 0.0 and place + 1 < who.shape[1] and work[READY, who[ORDER, place + 1]] <= until:
        place += 1
        lack -= who[UNITS, who[ORDER, place]]
    return until if lack > 0.0 else work[READY, who[ORDER, place]]


@compiled
def _fitting(seconds: Floats, size: float, slack: float) -> int:
    """Return how many units may go together for the first to be in time."""
    fits = 1
    while fits < size and seconds[fits + 1] - seconds[1] <= slack:
        fits += 1
    return fits


@compiled
def _done(work: Floats, who: Places, first: int, last: int, end: float) -> None:
    """Tell the requests of a dispatch when it is done."""
    for place in range(first, last):
        one = who[ORDER, place]
        if not who[DEAD, one] and who[UNITS, one] > 0:
            if work[FIRST, one] == work[READY, one]:
                work[FIRST, one] = end
            work[FINISH, one] = max(work[FINISH, one], end)


@compiled
def _serve(row: Floats, work: Floats, who: Places, free: Floats, scale: Floats) -> float:  # noqa: C901 - parts are slow
    """Have the servers of a station serve all requests; return the seconds that dispatches wait for them in all."""
    kinds = int(scale[KINDS])
    seconds, beside = row[COLUMNS + 3 * kinds :], row[COLUMNS : COLUMNS + 2 * kinds]
    count, size, down = who.shape[1], row[BATCH], row[REST] - row[USUAL]
    mean, spread, waited = row[USUAL], DEVIATION * row[JITTER] * row[USUAL], 0.0
    place = left = gone = line = 0
    while place < count:
        server = _soonest(free)
        begin, got, fits, first, longer, held = -1.0, 0, 1, place, 0.0, 0.0
        while place < count and got < fits:
            one = who[ORDER, place]
            ready = work[READY, one]
            slack = work[AT, one] + scale[SLO] - down - MARGIN * spread
            if got == 0:
                begin, first = max(ready, free[server]), place
            if left == 0:
                if ready > begin:
                    break
                work[START, place] = begin
                left = 0 if who[DEAD, one] else who[UNITS, one]
                if left > 0 and begin > ready:
                    gone, line = _shortened(work, place, ready, gone, line)
                    ahead = _ahead(line, size, row[SERVERS], mean) * scale[SHUT]
                    if _is_refused(begin - ready, slack - ready, ahead, seconds[1], mean):
                        who[DEAD, one], left = 1, 0
                work[LINE, place] = left
                line += left
                if left == 0:
                    place += 1
                    continue
            if got == 0:
                waited += begin - ready
                if row[WAIT] > 0.0:
                    until = min(ready + row[WAIT], slack - mean - HASTE)
                    begin = max(begin, _with_company(work, who, place, until, size - left))
                fits = _fitting(seconds, size, slack - begin - seconds[1])
            units = min(left, fits - got)
            got, left = got + units, left - units
            longer += units * beside[who[KIND, one]]
            held += units * beside[kinds + who[KIND, one]]
            place += left == 0
        if got > 0:
            jitter = NOISE[(31 * first + len(seconds)) % len(NOISE)]
            spent = (seconds[got] + longer) * max(LEAST, 1.0 + row[JITTER] * jitter)
            spread += DEVIATION_GAIN * (abs(spent - seconds[got]) - spread)
            mean += MEAN_GAIN * (spent - mean)
            free[server] = begin + spent * len(free) / row[SERVERS] + held
            _done(work, who, first, min(place + (left > 0), count), begin + spent)
    return waited


@compiled
def _leave(row: Floats, links: Places, finish: Floats, work: Floats, who: Places) -> None:
    """Have a list be done no sooner than a dispatch after the last of the items that were handed on one by one."""
    for before in range(len(links)):
        if links[before] == STREAMS:
            for one in range(who.shape[1]):
                if who[UNITS, one] > 0:
                    work[FINISH, one] = max(work[FINISH, one], finish[before, one] + row[USUAL])


@compiled
def _told(work: Floats, who: Places, slo: float, waited: float) -> Floats:
    """Return the shares of the requests in time by LEVELS, that of those refused, and the mean seconds waited."""
    count = who.shape[1]
    told = np.zeros(len(LEVELS) + 2)
    for one in range(count):
        if who[DEAD, one]:
            told[len(LEVELS)] += 1.0
            continue
        for level in range(len(LEVELS)):
            told[level] += work[LASTING, one] <= slo * LEVELS[level]
    told[-1] = waited
    told /= count
    return told


def _make(digest: int) -> Callable[..., Floats]:
    def replay(rows: Floats, links: Places, at: Floats, brings: Places, scale: Floats) -> Floats:
        """Return the shares of the requests in time by LEVELS, that of those refused, and the mean seconds waited.

        Args:
            rows: (stations, columns); see the columns.
            links: (stations, stations) from each to those before it.
            at: (requests,) when they come.
            brings: (1 + scopes, requests) the class of each, then its units of each list, then once for each.
            scale: (FACTORS,) of all requests.
        """
        count, stations = (
            len(at),
            len(rows) if digest >= 0 else 0,
        )  # compiled anew where this source has changed
        first, finish = np.empty((stations, count)), np.empty((stations, count))
        work, who = np.zeros((TIMES, count)), np.zeros((FACTS, count), np.int64)
        work[AT], who[KIND], who[ORDER] = at, brings[0], np.arange(count)
        waited = 0.0
        for station in range(stations):
            row, before = rows[station], links[station, :station]
            who[UNITS] = brings[int(row[SCOPE])]
            linked = _arrive(before, first, finish, work)
            if row[PASSED] > 0.0:
                _pass(row, work, who, int(scale[KINDS]))
            else:
                if linked:
                    _sort(work, who)
                servers = max(1, min(MOST_SERVERS, math.ceil(row[SERVERS] - ROUNDING)))
                waited += _serve(row, work, who, np.zeros(servers), scale)
            _leave(row, before, finish, work, who)
            first[station], finish[station] = work[FIRST], work[FINISH]
            if row[LAST] > 0.0:
                work[LASTING] = np.maximum(work[LASTING], work[FINISH] + scale[ANSWER] - work[AT])
        return _told(work, who, scale[SLO], waited)

    return replay


replay = entry(_make(zlib.crc32(Path(__file__).read_bytes())))
