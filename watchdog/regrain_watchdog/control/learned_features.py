"""What a plan and a load are like, in as many numbers for each plan: what the learned predictor's trees look at.

Nearly all are ratios to the objective or to what the plan bears, so that what was learned of one app holds for others.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.control import learned_demand as demand
from regrain_watchdog.control.learned_demand import JITTER, LEAST, MEAN_OWN, SERVERS, UNITS, Asked, Plan
from regrain_watchdog.control.learned_load import CLASSES, Seen, dispersion, refused
from regrain_watchdog.control.learned_pool import bears
from regrain_watchdog.control.learned_rows import REPLAY, Look, members, replayed, those
from regrain_watchdog.policy.admit import HEADROOM
from regrain_watchdog.simulate.compiled import compiled

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

LONG = 20.0
"""Times of the objective over which the spread of a load is looked at as well."""
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


@compiled
def looked(load: Seen, plan: Plan, known: Asked) -> Look:
    """Return what a plan comes to; `known`: what is asked of the stations that are known."""
    asked, links = demand.taken_from(known, plan), demand.linked(plan)
    stations = len(plan.stations)
    pool_of, pools = np.empty(stations, np.int64), 0
    for place in range(stations):
        pool_of[place] = pools
        for other in range(place):
            if plan.stations[other, demand.POOL] == plan.stations[place, demand.POOL]:
                pool_of[place] = pool_of[other]
        pools += pool_of[place] == pools
    each, likely, waits = np.zeros(pools), np.empty(stations), np.empty(stations)
    for pool in range(pools):
        group = those(pool_of, pool)
        if len(group) > 1:
            demand.share(asked, plan, group, load.rate)
            each[pool] = bears(load, plan, asked, links, group)
            _fill(asked, group, each[pool])
    for place in range(stations):
        likely[place], waits[place] = demand.tail(asked, place, load.rate)
    return Look(asked, links, pool_of, each, likely, waits, demand.alone(plan, asked, links))


@compiled
def _fill(asked: Asked, group: Places, each: float) -> None:
    """Leave the fullest station of a common pool as many servers as bear what the pool bears, and no other fewer."""
    bound, fullest = 1.0 / max(each, LEAST), group[0]
    for place in group:
        if demand.most(asked, place) < demand.most(asked, fullest):
            fullest = place
    for place in group:
        factor = bound / demand.most(asked, place)
        if place == fullest or factor > 1.0:
            asked.facts[place, SERVERS] *= max(factor, LEAST)


@compiled
def features(load: Seen, plan: Plan, look: Look) -> Floats:
    """Return (NAMES,) the numbers that NAMES names."""
    slo, asked, alone, links = plan.slo, look.asked, look.alone, look.links
    stations = len(plan.stations)
    usual, full, doubt = np.empty(stations), np.empty(stations), 0.0
    hops, company = plan.answer, 0.0
    for place in range(stations):
        hops += plan.stations[place, demand.HOP]
        company += min(plan.stations[place, demand.WAIT], slo)
        usual[place], full[place] = demand.usual(asked, place), demand.full(asked, place)
        doubt += (asked.facts[place, JITTER] * usual[place]) ** 2
    doubt = math.sqrt(doubt)
    single = demand.longest(links, asked.times[:, 1]) + plan.answer
    usually = demand.longest(links, usual) + plan.answer
    fully = demand.longest(links, full) + plan.answer
    patience = max(0.0, slo - min(usually, alone[load.levels[CLASSES // 2]])) / HEADROOM
    order = _fullest(asked)
    found = np.empty(len(NAMES))
    for level in range(CLASSES):
        found[level] = _log(alone[load.levels[level]] / slo)
    left = patience, max(0.0, slo - fully), max(LEAST, slo - single)
    found[CLASSES : -len(REPLAY)] = (
        *(_log(single / slo), _log(usually / slo), _log(fully / slo), _log(doubt / slo)),
        *(hops / slo, company / slo),
        *_told(load, look, order[0], slo),
        *_told(load, look, order[1], slo),
        *_refused(load, plan, asked, order, left),
        *(_log(load.burst), _log(dispersion(load, slo)), _log(dispersion(load, LONG * slo))),
        *_shape(plan, look, patience),
        *_pools(load, plan, look),
        *_reach(load, look, slo, max(doubt, 0.01 * slo)),
    )
    found[-len(REPLAY) :] = replayed(load, plan, look)
    return found


@compiled
def _fullest(asked: Asked) -> tuple[int, int]:
    """Return the two stations that serve the fewest requests, the fullest first; -1 for the second of one."""
    first, second = 0, -1
    for place in range(1, len(asked.facts)):
        if demand.most(asked, place) < demand.most(asked, first):
            first, second = place, first
        elif second < 0 or demand.most(asked, place) < demand.most(asked, second):
            second = place
    return first, second


@compiled
def _told(load: Seen, look: Look, place: int, slo: float) -> tuple[float, float, float, float]:
    """Return what one of the fullest stations is like; zeros where there is none."""
    if place < 0:
        return 0.0, 0.0, 0.0, 0.0
    asked, servers = look.asked, look.asked.facts[place, SERVERS]
    use = load.rate * asked.facts[place, UNITS] * demand.single(asked, place) / servers
    return load.rate / demand.most(asked, place), use, _log(servers), _log(look.waits[place] / slo)


@compiled
def _refused(
    load: Seen, plan: Plan, asked: Asked, order: tuple[int, int], left: tuple[float, float, float]
) -> tuple[float, float, float, float, float, float, float]:
    """Return what simple servers in the place of the fullest stations refuse.

    Batches that take more than the slack are of no use, so servers with single units are looked at as well, and with
    the largest batches that fit.

    `order`: the fullest stations; `left`: the seconds of the objective that a request may wait, that full batches
    leave, and that single units leave.
    """
    patience, tight, slack = left
    first, second = order
    bear, scope = demand.most(asked, first), int(plan.stations[first, demand.SCOPE])
    most, other = refused(load, scope, bear, patience), 0.0
    if second >= 0:
        scope_of = int(plan.stations[second, demand.SCOPE])
        other = refused(load, scope_of, demand.most(asked, second), patience)
    slowest = 0
    for place in range(1, len(asked.facts)):
        if _singly(asked, place) < _singly(asked, slowest):
            slowest = place
    one, times = asked.facts[slowest], asked.times[slowest]
    fits = _fitting(times, int(one[demand.BATCH]), times[1] + slack)
    fitting = one[SERVERS] * fits / (one[UNITS] * times[fits])
    where = int(plan.stations[slowest, demand.SCOPE])
    return (
        most,
        refused(load, scope, bear, tight),
        other,
        max(most, other),
        refused(load, where, _singly(asked, slowest), slack / HEADROOM),
        refused(load, where, fitting, max(LEAST, slack - times[fits] + times[1])),
        min(8.0, load.rate / fitting),
    )


@compiled
def _fitting(times: Floats, batch: int, until: float) -> int:
    """Return the units of the largest dispatch that takes at most so long, at least 1: a bisection."""
    low, high = 1, batch + 1
    while low < high:
        middle = (low + high) // 2
        if until < times[middle]:
            high = middle
        else:
            low = middle + 1
    return max(1, low - 1)


@compiled
def _singly(asked: Asked, place: int) -> float:
    """Return the requests a second that a station serves unit by unit."""
    return float(asked.facts[place, SERVERS] / (asked.facts[place, UNITS] * demand.single(asked, place)))


@compiled
def _shape(plan: Plan, look: Look, patience: float) -> tuple[float, float, float, float, float, float, float]:
    """Return what the plan is like, and what its stations' waits come to."""
    stations = len(plan.stations)
    fluid, whole, passing = float(stations - len(plan.pools)), 0.0, 1.0
    jitter = take = lease = 0.0
    for pool in range(len(plan.pools)):
        lease = max(lease, plan.pools[pool, demand.LEASE])
    for place in range(stations):
        jitter = max(jitter, look.asked.facts[place, JITTER])
        take = max(take, plan.stations[place, demand.TAKE])
        likely, mean = look.likely[place], look.waits[place]
        whole += likely * mean
        passing *= 1.0 - likely * math.exp(-patience / max(mean, LEAST))
    return (
        float(stations),
        jitter,
        fluid,
        take if fluid > 0.0 else 0.0,
        lease / plan.slo,
        min(10.0, whole / plan.slo),
        passing,
    )


@compiled
def _pools(load: Seen, plan: Plan, look: Look) -> tuple[float, float, float, float, float]:
    """Return how full the fullest pool is with dispatches of what single requests bring; more of common pools.

    Of these: how full replicas are so, how full cards; how full replicas are with full dispatches; and how full the
    pool is by what it bears when it is run.
    """
    asked, rate = look.asked, load.rate
    most = own = held = filled = borne = 0.0
    for pool in range(len(look.each)):
        group = members(look, pool)
        if len(group) == 1:
            most = max(most, asked.facts[group[0], MEAN_OWN] / asked.facts[group[0], SERVERS])
            continue
        busy, cards = demand.pool_use(asked, plan, group, 1)
        full = 0.0
        for place in group:
            full += asked.facts[place, UNITS] * demand.full(asked, place) / asked.facts[place, demand.BATCH]
        full /= plan.pools[int(plan.stations[group[0], demand.POOL]), demand.REPLICAS]
        most = max(most, busy, cards)
        own, held = max(own, rate * busy), max(held, rate * cards)
        filled, borne = max(filled, rate * full), max(borne, rate * look.each[pool])
    return rate * most, own, held, filled, borne


@compiled
def _reach(load: Seen, look: Look, slo: float, doubt: float) -> tuple[float, float]:
    """Return the share of the requests that are in time alone, and that with the waits of all stations."""
    reach, reached = 0.0, 0.0
    for kind in range(len(look.alone)):
        left = slo - look.alone[kind]
        share = load.weights[kind] / (1.0 + math.exp(min(50.0, -2.0 * left / doubt)))
        reach += share
        for place in range(len(look.waits)):
            if look.waits[place] > 0.0:
                share *= 1.0 - look.likely[place] * math.exp(-max(0.0, left) / look.waits[place])
        reached += share
    return reach, reached


@compiled
def _log(value: float) -> float:
    return math.log(max(value, LEAST))
