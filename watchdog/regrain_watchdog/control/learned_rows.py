"""A plan as the rows of numbers that a rough replay takes: one for each station, or for all of a common pool."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.control import learned_demand as demand
from regrain_watchdog.control import learned_replay as replaying
from regrain_watchdog.control.learned_demand import LEAST, Asked, Plan, weighed
from regrain_watchdog.control.learned_load import Seen
from regrain_watchdog.control.learned_replay import (
    COLUMNS,
    FACTORS,
    LAST,
    PASSED,
    REST,
    STREAMS,
    TAKES,
    USUAL,
    replay,
)
from regrain_watchdog.policy.model import PER_REQUEST
from regrain_watchdog.simulate.compiled import compiled

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

REPLAY = ("in_time_early", "in_time", "in_time_late", "turned_away", "waited")
"""What is told of a replay."""
QUEUES = 3
"""Stations with lines, the fullest; nobody waits at others."""


class Look(NamedTuple):
    """What a plan comes to under a load, before it is told in features.

    Attributes:
        asked: what is asked of each station.
        links: (stations, stations) 1 from each to those before it, else 0.
        pool_of: (stations,) the place of a station's pool among the pools, which are in the order of their first
            stations.
        each: (pools,) seconds for each request in which a pool gets through many; 0 of a pool of one station.
        likely, waits: (stations,) how likely each has a request wait, and the mean seconds of those that do.
        alone: (classes,) seconds of a request with nobody else there.
    """

    asked: Asked
    links: Places
    pool_of: Places
    each: Floats
    likely: Floats
    waits: Floats
    alone: Floats


@compiled
def members(look: Look, pool: int) -> Places:
    """Return the stations of a pool."""
    return those(look.pool_of, pool)


@compiled
def those(pool_of: Places, pool: int) -> Places:
    """Return the stations that are of a pool."""
    found, many = np.empty(len(pool_of), np.int64), 0
    for place in range(len(pool_of)):
        if pool_of[place] == pool:
            found[many] = place
            many += 1
    return found[:many]


@compiled
def replayed(load: Seen, plan: Plan, look: Look) -> Floats:
    """Return what REPLAY names."""
    asked, pools = look.asked, len(look.each)
    rows = np.zeros((pools, COLUMNS + 3 * len(load.weights) + asked.times.shape[1]))
    uses = np.zeros(pools)
    for pool in range(pools):
        group = members(look, pool)
        for place in group:
            uses[pool] += 1.0 / demand.most(asked, place)
        if len(group) == 1:
            _station(plan, asked, group[0], rows[pool])
        else:
            _pool(load, look, pool, rows[pool])
    links = _links(plan, look)
    for pool in range(pools - 1, -1, -1):
        after, is_last, fuller = -1.0, False, 0
        for other in range(pools):
            if links[other, pool]:
                after = max(after, rows[other, REST])
            fuller += uses[other] > uses[pool] or (uses[other] == uses[pool] and other < pool)
        for place in members(look, pool):
            is_last = is_last or _is_last(look.links, place)
        rows[pool, REST] = rows[pool, USUAL] + (after if after >= 0.0 else plan.answer)
        rows[pool, LAST], rows[pool, PASSED] = is_last, fuller >= QUEUES
    scale = np.empty(FACTORS)
    scale[replaying.SLO], scale[replaying.ANSWER] = plan.slo, plan.answer
    scale[replaying.KINDS] = len(load.weights)
    scale[replaying.SHUT] = demand.longest(look.links, asked.times[:, 1]) + plan.answer <= plan.slo
    told = replay(rows, links, load.at, load.brings, scale)
    told[-1] = math.log1p(told[-1] / plan.slo)
    return told


@compiled
def _is_last(links: Places, place: int) -> bool:
    """Whether nobody takes a station's results but the caller."""
    taken = 0
    for other in range(len(links)):
        taken += links[other, place]
    return taken == 0


@compiled
def _links(plan: Plan, look: Look) -> Places:
    """Return (pools, pools) how each is linked to those before it."""
    pools, after = len(look.each), plan.after
    links, many = np.zeros((pools, pools), np.int64), np.zeros(pools, np.int64)
    for pool in look.pool_of:
        many[pool] += 1
    for link in range(len(after)):
        place, other = after[link, 0], after[link, 1]
        here, before = look.pool_of[place], look.pool_of[other]
        if here != before:
            single = many[here] == 1 and many[before] == 1
            links[here, before] = STREAMS if single and demand.hands_on(plan, other, place) else TAKES
    return links


@compiled
def _station(plan: Plan, asked: Asked, place: int, row: Floats) -> None:
    """Put in a station's row; see the columns in learned_replay."""
    facts, kinds, station = asked.facts[place], asked.kinds[place], plan.stations[place]
    scope, classes = station[demand.SCOPE], kinds.shape[1]
    row[replaying.SCOPE] = scope + 1.0 if scope != PER_REQUEST else scope
    row[replaying.SERVERS], row[replaying.BATCH] = facts[demand.SERVERS], facts[demand.BATCH]
    row[replaying.WAIT], row[replaying.JITTER] = station[demand.WAIT], facts[demand.JITTER]
    row[USUAL] = demand.usual(asked, place)
    for kind in range(classes):
        row[COLUMNS + kind] = kinds[demand.LONGER, kind]
        row[COLUMNS + 2 * classes + kind] = kinds[demand.ALONE, kind] + kinds[demand.DRAIN, kind]
    for units in range(asked.times.shape[1]):
        row[COLUMNS + 3 * classes + units] = asked.times[place, units]


@compiled
def _pool(load: Seen, look: Look, pool: int, row: Floats) -> None:
    """Put in the row of a common pool.

    A request holds a server of it for so long that it gets through as many as it bears.
    """
    asked, group, each, classes = look.asked, members(look, pool), look.each[pool], len(load.weights)
    alone, own, scatter = _through(look, pool), np.zeros(classes), 0.0
    for place in group:
        for kind in range(classes):
            own[kind] += asked.kinds[place, demand.OWN, kind]
        scatter += (asked.facts[place, demand.JITTER] * demand.single(asked, place)) ** 2
    mean = weighed(load, alone)
    servers = max(1.0, float(math.ceil(mean / max(each, LEAST) - 1e-9)))
    held = each * servers / max(weighed(load, own), LEAST)
    row[replaying.SCOPE], row[replaying.SERVERS], row[replaying.BATCH] = PER_REQUEST, servers, 1.0
    row[replaying.JITTER], row[USUAL] = math.sqrt(scatter) / max(mean, LEAST), mean
    row[COLUMNS + 3 * classes + 1] = mean
    for kind in range(classes):
        row[COLUMNS + kind] = alone[kind] - mean
        row[COLUMNS + classes + kind] = own[kind] * held - alone[kind]
        row[COLUMNS + 2 * classes + kind] = alone[kind]


@compiled
def _through(look: Look, pool: int) -> Floats:
    """Return (classes,) the seconds from the begin of a pool's stations to their end, for who waits for nobody."""
    group, kinds = members(look, pool), look.asked.kinds
    links, own = np.zeros((len(group), len(group)), np.int64), np.empty(len(group))
    found = np.empty(kinds.shape[2])
    for row in range(len(group)):
        for before in range(row):
            links[row, before] = look.links[group[row], group[before]]
    for kind in range(len(found)):
        for row in range(len(group)):
            own[row] = kinds[group[row], demand.ALONE, kind] + kinds[group[row], demand.DRAIN, kind]
        found[kind] = demand.longest(links, own)
    return found
