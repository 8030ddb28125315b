"""What a common pool bears: how fast it gets through requests that all wait for it already.

How leases of different sizes pack on cards, what goes first, and how full dispatches become is for the pool's own
policy to say (`policy/fluid.py`), so it is run, on some tens of requests with deadlines one after the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.control import learned_demand as demand
from regrain_watchdog.control.learned_demand import Asked, Plan
from regrain_watchdog.control.learned_load import Seen
from regrain_watchdog.simulate.compiled import compiled
from regrain_watchdog.simulate.decisions import next_up

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

TAKES, STREAMS = 1, 2
"""How a station is linked to one before it: it takes what that is done with, or single items of the same list."""
TAKE, BATCH, COLUMNS = range(3)
"""Columns of a station's row; after them the seconds of dispatches of 0, 1, .. units."""
LEFT, WAITING, LACKING, FACTS = range(4)
"""Of a request at a station: units that are not done yet, those of them that wait, and stations that it waits for."""
STATION, CARD, UNITS, FIRST = range(4)
"""Of a dispatch: its station, its card, how many units it has; and from there on whose they are."""
WARM, COUNTED = 1 / 8, 2 / 3
"""Shares of the requests that are done before those whose time counts, and with them."""


@compiled
def bears(load: Seen, plan: Plan, asked: Asked, links: Places, members: Places) -> float:
    """Return the seconds for each request in which the common pool of some stations gets through many.

    links: (stations, stations) from each station of the plan to those before it.
    """
    count = len(members)
    rows = np.zeros((count, COLUMNS + asked.times.shape[1]))
    brings = np.empty((count, load.sample.shape[1]), np.int64)
    expected = drawn = 0.0
    for row in range(count):
        place = members[row]
        facts, station = asked.facts[place], plan.stations[place]
        rows[row, TAKE], rows[row, BATCH] = station[demand.TAKE], facts[demand.BATCH]
        rows[row, COLUMNS:] = asked.times[place]
        brings[row] = load.sample[int(station[demand.SCOPE])]
        full = demand.full(asked, place)
        expected += facts[demand.UNITS] * full / facts[demand.BATCH]
        drawn += brings[row].mean() * full / facts[demand.BATCH]
    pool = plan.pools[int(plan.stations[members[0], demand.POOL])]
    cards = plan.cards[int(pool[demand.FIRST]) : int(pool[demand.LAST])].copy()
    among, passes = _among(plan, links, members), pool[demand.PASSES] > 0.0
    each = seconds_each(rows, among, brings, int(pool[demand.REPLICAS]), (cards, passes))
    return float(each * expected / max(drawn, demand.LEAST))


@compiled
def _among(plan: Plan, links: Places, members: Places) -> Places:
    """Return (stations, stations) how those of a pool are linked; who is handed single items waits for nothing else."""
    among = np.zeros((len(members), len(members)), np.int64)
    for row in range(len(members)):
        handing = -1
        for before in range(row):
            if links[members[row], members[before]]:
                among[row, before] = TAKES
                if demand.hands_on(plan, members[before], members[row]):
                    handing = before
        if handing >= 0:
            among[row, :] = 0
            among[row, handing] = STREAMS
    return among


@compiled
def _passed(links: Places, facts: Places, one: int, first: int) -> int:
    """Let a request on from a station that is done with it; return how many stations are, for want of units there."""
    done = np.zeros(len(links), np.bool_)
    done[first] = True
    for before in range(first, len(links)):
        if done[before]:
            for station in range(before + 1, len(links)):
                nothing = facts[LEFT, station, one] == 0
                if links[station, before] == TAKES:
                    facts[LACKING, station, one] -= 1
                    if facts[LACKING, station, one] == 0:
                        facts[WAITING, station, one] = facts[LEFT, station, one]
                        done[station] = nothing
                elif links[station, before] == STREAMS:
                    done[station] = nothing
    return int(done.sum())


@compiled
def _head(waiting: Places, first: int) -> float:
    """Return the first request of which units wait, from some request on; infinity if there is none."""
    for one in range(first, len(waiting)):
        if waiting[one] > 0:
            return float(one)
    return np.inf


@compiled
def _loaded(dispatch: Places, waiting: Places, head: int, most: int) -> int:
    """Take the most urgent units that wait for a station, at most so many; return how many."""
    got = 0
    for one in range(head, len(waiting)):
        while waiting[one] > 0 and got < most:
            dispatch[FIRST + got] = one
            waiting[one] -= 1
            got += 1
        if got == most:
            break
    dispatch[UNITS] = got
    return got


@compiled
def _finished(dispatch: Places, links: Places, facts: Places, undone: Places) -> int:
    """Hand on what a dispatch has done; return how many requests are done by that."""
    station, many = dispatch[STATION], 0
    for place in range(FIRST, FIRST + dispatch[UNITS]):
        one = dispatch[place]
        facts[LEFT, station, one] -= 1
        for after in range(station + 1, len(links)):
            if links[after, station] == STREAMS and facts[LEFT, after, one] > 0:
                facts[WAITING, after, one] += 1
        if facts[LEFT, station, one] == 0:
            undone[one] -= _passed(links, facts, one, station)
            many += undone[one] == 0
    return many


@compiled
def _waiting(links: Places, brings: Places) -> tuple[Places, Places]:
    """Return facts of all requests as they come, and of how many stations each is not done with."""
    stations, requests = brings.shape
    facts = np.zeros((FACTS, stations, requests), np.int64)
    undone = np.full(requests, stations)
    facts[LEFT] = brings
    for station in range(stations):
        facts[LACKING, station] = (links[station] > 0).sum()
    for station in range(stations):
        if not links[station].any():
            facts[WAITING, station] = brings[station]
            for one in range(requests):
                if brings[station, one] == 0:
                    undone[one] -= _passed(links, facts, one, station)
    return facts, undone


@compiled
def _dispatched(
    rows: Floats, pool: tuple[Floats, bool], facts: Places, oldest: int, dispatch: Places
) -> float:
    """Dispatch what goes next; return the seconds that it takes, infinity if nothing goes."""
    free, passes = pool
    heads = np.empty(len(rows))
    for station in range(len(rows)):
        heads[station] = _head(facts[WAITING, station], oldest)
    found, card = next_up(heads, rows[:, TAKE], free, passes)
    if found < 0:
        return np.inf
    dispatch[STATION], dispatch[CARD] = found, card
    free[card] -= rows[found, TAKE]
    units = _loaded(dispatch, facts[WAITING, found], int(heads[found]), int(rows[found, BATCH]))
    seconds: float = rows[found, COLUMNS + units]
    return seconds


@compiled
def seconds_each(
    rows: Floats, links: Places, brings: Places, replicas: int, pool: tuple[Floats, bool]
) -> float:
    """Return the seconds for each request in which a pool gets through many; infinity if it does not.

    Args:
        rows: (stations, columns); see the columns.
        links: (stations, stations) from each to those before it.
        brings: (stations, requests) units of each request.
        replicas: dispatches at once.
        pool: (cards,) the share of each that is free, and `passes` as in Pool.
    """
    facts, undone = _waiting(links, brings)
    runs = np.zeros((replicas, FIRST + int(rows[:, BATCH].max())), np.int64)
    ends = np.full(replicas, np.inf)
    many = int((undone > 0).sum())  # the others bring nothing, and are done as they come
    warm, last = int(WARM * many), min(many, max(1, int(COUNTED * many)))
    now, begin, done, counted, oldest = 0.0, 0.0, 0, -1 if warm else 0, 0
    while done < last:
        while undone[oldest] == 0:
            oldest += 1
        idle = np.argmax(ends)
        if ends[idle] == np.inf:
            seconds = _dispatched(rows, pool, facts, oldest, runs[idle])
            if seconds < np.inf:
                ends[idle] = now + seconds
                continue
        soonest = np.argmin(ends)
        now, ends[soonest] = ends[soonest], np.inf
        if now == np.inf:
            return np.inf
        pool[0][runs[soonest, CARD]] += rows[runs[soonest, STATION], TAKE]
        done += _finished(runs[soonest], links, facts, undone)
        if counted < 0 and done >= warm:
            begin, counted = now, done
    each: float = (now - begin) / max(1, done - counted) * (many / len(undone))
    return each
