"""A rough replay of a load under a plan: what of the learned predictor's features the order of events decides.

Stations are gone through one after the other, each with all requests in the order in which they reach it, so nothing
waits for an event and a request takes tens of nanoseconds. What it leaves out (lines at other stations, what the front
has not learned yet, leases of different sizes) the trees learn.

What belongs together is in one array, so that functions take few.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy import admit, batch, deadline
from regrain_watchdog.policy.predict.demand import DEVIATION
from regrain_watchdog.simulate.compiled import compiled

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Order = NDArray[np.uint32]
"""Who is the how many-th to be ready; unsigned, so that it needs no look at its sign where it leads to a place."""

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
AT, READY, START, LINE, TIMES = range(5)
"""Of each request: when it comes; by place in the order in which they are ready for a station, when they are, when
their first unit went, and how many units waited."""
KIND, DEAD, FACTS = range(3)
"""Of each request: its class, and whether it is refused."""
FIRST, FINISH, ENDS = range(3)
"""Of each request at a station: when its first unit is done there, and its last."""
SLO, ANSWER, KINDS, SHUT, FACTORS = range(5)
"""The objective, the seconds from the last station to the caller, how many classes of requests there are, and whether
the front refuses anybody: not while the objective is out of reach."""
HEADROOM, RESIDUAL, HASTE = admit.HEADROOM, admit.RESIDUAL, batch.HASTE
MARGIN, MEAN_GAIN, DEVIATION_GAIN = deadline.MARGIN, deadline.MEAN_GAIN, deadline.DEVIATION_GAIN


@compiled
def _arrive(links: Places, at: Floats, ends: Floats) -> bool:
    """Tell at a station when each request is ready for it; whether it comes from another one.

    ends: (stations, ENDS, requests) of this station, the last, and of those before it.
    """
    here, linked = ends[len(links)], False
    here[FIRST] = at
    for before in range(len(links)):
        if links[before]:
            done = ends[before, FIRST if links[before] == STREAMS else FINISH]
            for one in range(len(at)):
                here[FIRST, one] = max(here[FIRST, one], done[one])
            linked = True
    here[FINISH] = here[FIRST]
    return linked


@compiled
def _line_up(ready: Floats, order: Order, came: Floats, sorts: bool) -> None:
    """Tell by place when requests are ready; sort them by that, by insertion, since they nearly are."""
    for place in range(len(order)):
        one, before = order[place], place
        when = ready[one]
        while sorts and before > 0 and came[before - 1] > when:
            came[before], order[before] = came[before - 1], order[before - 1]
            before -= 1
        came[before], order[before] = when, one


@compiled
def _pass(row: Floats, kind: Places, units: Places, ends: Floats, kinds: int) -> None:
    """Have requests go through a station at which nobody waits."""
    for one in range(len(units)):
        if units[one] > 0:
            ends[FIRST, one] += row[COLUMNS + 3 * kinds + 1]
            ends[FINISH, one] += row[COLUMNS + 2 * kinds + kind[one]]


@compiled
def _is_refused(wait: float, slack: float, ahead: float, single: float, usual: float) -> bool:
    """Whether a request that has to wait is refused at the door, or else gives way later."""
    return wait + single > slack or (ahead > 0.0 and HEADROOM * ahead + usual > slack)


@compiled
def _with_company(  # noqa: PLR0917 - a tuple of arrays is slow
    came: Floats, order: Order, units: Places, place: int, until: float, lack: float
) -> float:
    """Return when so many units that a batch lacks have come as well, at the latest at some time."""
    while lack > 0.0 and place + 1 < len(came) and came[place + 1] <= until:
        place += 1
        lack -= units[order[place]]
    return until if lack > 0.0 else came[place]


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
def _all_free(bears: float) -> Floats:
    """Return when each server is free, ascending, and infinity; `bears`: servers, the last maybe a part of one."""
    servers = max(1, min(MOST_SERVERS, math.ceil(bears - ROUNDING)))
    free = np.zeros(servers + 1)
    free[servers] = np.inf
    return free


@compiled
def _busy_until(free: Floats, end: float) -> None:
    """Have the server that is free first be so at the end of a dispatch; `free` stays ascending, without a branch."""
    for server in range(len(free) - 1):
        free[server] = max(free[server], min(free[server + 1], end))


@compiled
def _noise(jitter: float, place: int, units: int) -> float:
    """Return the seconds of a dispatch over their mean."""
    return max(LEAST, 1.0 + jitter * float(NOISE[(31 * place + units) % len(NOISE)]))


@compiled
def _done(  # noqa: PLR0917 - a tuple of arrays is slow
    order: Order, came: Floats, units: Places, dead: Places, ends: Floats, begin: int, last: int, end: float
) -> None:
    """Tell the requests of a dispatch, by place from one to before another, when it is done."""
    for place in range(begin, last):
        one = order[place]
        if not dead[one] and units[one] > 0:
            if ends[FIRST, one] == came[place]:
                ends[FIRST, one] = end
            ends[FINISH, one] = max(ends[FINISH, one], end)


@compiled
def _serve(  # noqa: C901, PLR0917 - parts are slow, and so are tuples of arrays
    row: Floats, units: Places, order: Order, who: Places, work: Floats, ends: Floats, scale: Floats
) -> float:
    """Have the servers of a station serve all requests; return the seconds that dispatches wait for them in all."""
    kinds, count = int(scale[KINDS]), len(units)
    seconds, beside = row[COLUMNS + 3 * kinds :], row[COLUMNS : COLUMNS + 2 * kinds]
    kind, dead, came, size, single = who[KIND], who[DEAD], work[READY], row[BATCH], seconds[1]
    mean, spread, down = row[USUAL], DEVIATION * row[JITTER] * row[USUAL], row[REST] - row[USUAL]
    free, waited, place, left, gone, line = _all_free(row[SERVERS]), 0.0, 0, 0, 0, 0
    while place < count:
        begin, got, fits, begun, longer, held, room = 0.0, 0, 1, place, 0.0, 0.0, 0.0
        while place < count and got < size:
            one, ready = order[place], came[place]
            if got == 0:
                begin, begun = max(ready, free[0]), place
            elif (left == 0 and ready > begin) or (got == fits and seconds[got + 1] - single > room):
                break
            slack = work[AT, one] + scale[SLO] - down - MARGIN * spread
            if left == 0:
                left = 0 if dead[one] else units[one]
                if left > 0 and begin > ready:
                    gone, line = _shortened(work, place, ready, gone, line)
                    ahead = _ahead(line, size, row[SERVERS], mean) * scale[SHUT]
                    if _is_refused(begin - ready, slack - ready, ahead, single, mean):
                        dead[one], left = 1, 0
                work[START, place], work[LINE, place], line = begin, left, line + left
                if left == 0:
                    place += 1
                    continue
            if got == 0:
                waited += begin - ready
                if row[WAIT] > 0.0:
                    until = min(ready + row[WAIT], slack - mean - HASTE)
                    begin = max(begin, _with_company(came, order, units, place, until, size - left))
                room = slack - begin - single
            while fits < size and fits < got + left and seconds[fits + 1] - single <= room:
                fits += 1
            taken = min(left, fits - got)
            got, left = got + taken, left - taken
            longer += taken * beside[kind[one]]
            held += taken * beside[kinds + kind[one]]
            place += left == 0
        if got > 0:
            spent = (seconds[got] + longer) * _noise(row[JITTER], begun, len(seconds))
            spread += DEVIATION_GAIN * (abs(spent - seconds[got]) - spread)
            mean += MEAN_GAIN * (spent - mean)
            _busy_until(free, begin + spent * (len(free) - 1) / row[SERVERS] + held)
            _done(order, came, units, dead, ends, begun, min(place + (left > 0), count), begin + spent)
    return waited


@compiled
def _leave(row: Floats, links: Places, ends: Floats, units: Places) -> None:
    """Have a list be done no sooner than a dispatch after the last of the items that were handed on one by one."""
    here = ends[len(links), FINISH]
    for before in range(len(links)):
        if links[before] == STREAMS:
            for one in range(len(here)):
                if units[one] > 0:
                    here[one] = max(here[one], ends[before, FINISH, one] + row[USUAL])


@compiled
def _told(lasting: Floats, dead: Places, slo: float, waited: float) -> Floats:
    """Return the shares of the requests in time by LEVELS, that of those refused, and the mean seconds waited."""
    count, told = len(lasting), np.zeros(len(LEVELS) + 2)
    for level in range(len(LEVELS)):
        many = 0
        for one in range(count):
            many += lasting[one] <= slo * LEVELS[level] and dead[one] == 0
        told[level] = many
    for one in range(count):
        told[len(LEVELS)] += dead[one]
    told[-1] = waited
    for level in range(len(told)):
        told[level] /= count
    return told


@compiled
def replay(rows: Floats, links: Places, at: Floats, brings: Places, scale: Floats) -> Floats:
    """Return the shares of the requests in time by LEVELS, that of those refused, and the mean seconds waited.

    Args:
        rows: (stations, columns); see the columns.
        links: (stations, stations) from each to those before it.
        at: (requests,) when they come.
        brings: (1 + scopes, requests) the class of each, then its units of each list, then once for each.
        scale: (FACTORS,) of all requests.
    """
    stations, count = len(rows), len(at)
    ends, work = np.empty((stations, ENDS, count)), np.empty((TIMES, count))
    who, order = np.zeros((FACTS, count), np.int64), np.empty(count, np.uint32)
    lasting, waited = np.zeros(count), 0.0
    for one in range(count):
        who[KIND, one], order[one], work[AT, one] = brings[0, one], one, at[one]
    for place in range(stations):
        row, before, units = rows[place], links[place, :place], brings[int(rows[place, SCOPE])]
        linked = _arrive(before, at, ends)
        if row[PASSED] > 0.0:
            _pass(row, who[KIND], units, ends[place], int(scale[KINDS]))
        else:
            _line_up(ends[place, FIRST], order, work[READY], linked)
            waited += _serve(row, units, order, who, work, ends[place], scale)
        _leave(row, before, ends, units)
        if row[LAST] > 0.0:
            for one in range(count):
                lasting[one] = max(lasting[one], ends[place, FINISH, one] + scale[ANSWER] - at[one])
    return _told(lasting, who[DEAD], scale[SLO], waited)
