"""What a load asks of the stations of a plan, compiled."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.control.learned_load import Seen
from regrain_watchdog.policy.model import PER_REQUEST
from regrain_watchdog.simulate.compiled import compiled

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Stages = tuple[Floats, Floats]
"""Seconds of the calls of all stages, and the rows by PART of those of a station."""

LEAST = 1e-6
TABLE, STRIDE, CHUNK, INNER, CV, PART = range(6)
"""Columns of a stage of a station: where its seconds of a call of 0, 1, .. units begin, by how much further those of
the next class of requests do, units of a call at most, the scope of whose items it takes within a unit of the station,
and the standard deviation of a call over its mean."""
ROW, LIST, SIZE, ATONCE, OVERHEAD, LISTED, BEGIN, END, ASK = range(9)
"""Columns of a station that is new: its place among those that are known, its scope, units of a dispatch at most,
dispatches at once, seconds of one beside its stages, whether its requests differ, and where its stages begin and
end."""
UNITS, BUNCH, SERVERS, FITTING, BATCH, KEEPS_UP, JITTER, MEAN_OWN, BESIDE, FACTS = range(10)
"""Columns of what is asked of a station: mean units of a request; E[w^2] / E[w] of them; dispatches at once; those of a
pool that nobody else wants; units of a dispatch at most; those of one that keeps up with the load; the standard
deviation of a dispatch over its mean; the mean of OWN; and the seconds of a dispatch beside its stages."""
ALONE, OWN, DRAIN, LONGER, KINDS = range(5)
"""By class of requests, the seconds that a request takes with nobody else there; those of servers that it takes in
dispatches of its own units alone; those between its first dispatch and its last; and those by which a dispatch of one
unit is longer than the mean."""


class Asked(NamedTuple):
    """What a load asks of stations.

    Attributes:
        facts: (stations, FACTS).
        kinds: (stations, KINDS, classes) seconds.
        times: (stations, 1 + units) seconds of a dispatch of 0, 1, .. units of a mean request, as many as a dispatch of
            any has.
    """

    facts: Floats
    kinds: Floats
    times: Floats


class Plan(NamedTuple):
    """A plan as compiled functions take it.

    Attributes:
        stations: (stations, STATION) see the columns.
        after: (links, 2) a station and one before it.
        pools: (pools, POOL) see the columns.
        cards: the shares of all pools' cards, pool by pool.
        slo: seconds from arrival to answer.
        answer: seconds from the last station to the caller.
    """

    stations: Floats
    after: Places
    pools: Floats
    cards: Floats
    slo: float
    answer: float


KNOWN, SCOPE, POOL, WAIT, TAKE, HOP, STATION = range(7)
"""Columns of a station of a plan: its place among those that are known, and what Station says."""
REPLICAS, LEASE, PASSES, FIRST, LAST, POOLED = range(6)
"""Columns of a pool: what Pool says, and where its cards begin and end."""


@compiled
def calls(table: Floats, count: float) -> float:
    """Return the seconds of so many units in as many calls as they take; between whole numbers linear."""
    low = int(count)
    if low == count and low < len(table):
        return float(table[low])
    full, rest = divmod(count, len(table) - 1.0)
    low = int(rest)
    part = table[low] + (rest - low) * (table[low + 1] - table[low]) if rest > low else table[low]
    return float(full * table[-1] + part)


@compiled
def _calls(load: Seen, tables: Floats, part: Floats, count: float, kind: int) -> float:
    """Return the seconds of what a stage has to do for so many units of a class of requests."""
    begin = int(part[TABLE] + kind * part[STRIDE])
    return calls(tables[begin : begin + int(part[CHUNK]) + 1], count * load.widths[int(part[INNER]), kind])


@compiled
def _seconds(load: Seen, stages: Stages, beside: float, count: float, kind: int) -> float:
    """Return the seconds of a dispatch of so many units of a class of requests; the last: of a mean request."""
    tables, parts = stages
    whole = beside
    for part in range(len(parts)):
        whole += _calls(load, tables, parts[part], count, kind)
    return whole


@compiled
def ask(load: Seen, tables: Floats, new: Floats, parts: Floats, known: Asked) -> None:
    """Work out what is asked of stations that are new.

    Args:
        load: which asks.
        tables: seconds of calls of all stages.
        new: (stations, ASK).
        parts: (stages, PART) of all of them.
        known: where to put it.
    """
    for one in range(len(new)):
        row, batch, beside = int(new[one, ROW]), int(new[one, SIZE]), new[one, OVERHEAD]
        mine = parts[int(new[one, BEGIN]) : int(new[one, END])]
        stages = tables, mine
        facts, times, mean = known.facts[row], known.times[row], len(load.weights)
        times[0] = 0.0
        for count in range(1, batch + 1):
            times[count] = _seconds(load, stages, beside, count, mean)
        variance = 0.0
        for part in range(len(mine)):
            variance += (mine[part, CV] * _calls(load, tables, mine[part], 1.0, mean)) ** 2
        facts[UNITS] = max(load.widths[int(new[one, LIST]), mean], LEAST)
        facts[BUNCH] = load.bunches[int(new[one, LIST])]
        facts[SERVERS] = facts[FITTING] = new[one, ATONCE]
        facts[BATCH], facts[BESIDE] = batch, beside
        facts[KEEPS_UP] = _keeps_up(times, batch, load.rate * facts[UNITS] / facts[SERVERS])
        facts[JITTER] = math.sqrt(variance) / max(times[1], LEAST)
        _by_class(load, stages, new[one], times[1], known.kinds[row])
        facts[MEAN_OWN] = max(LEAST * times[1], weighed(load, known.kinds[row, OWN]))


@compiled
def _keeps_up(times: Floats, batch: int, needed: float) -> int:
    """Return the units of a dispatch with which a server keeps up that needs to do so many a second."""
    found = 1
    while found < batch and found < needed * times[found]:
        found += 1
    return found


@compiled
def _by_class(load: Seen, stages: Stages, new: Floats, single: float, kinds: Floats) -> None:
    """Put in (KINDS, classes) what is asked for a request of each class."""
    widths, batch, beside = load.widths[int(new[LIST])], new[SIZE], new[OVERHEAD]
    for kind in range(len(load.weights)):
        kinds[ALONE, kind] = kinds[OWN, kind] = single
        kinds[DRAIN, kind] = kinds[LONGER, kind] = 0.0
    if not new[LISTED]:
        return
    for kind in range(len(load.weights)):
        width = widths[kind]
        kinds[LONGER, kind] = _seconds(load, stages, beside, 1.0, kind) - single
        if width <= 0.0:
            kinds[ALONE, kind] = kinds[OWN, kind] = 0.0
            continue
        dispatches = math.ceil(width / batch - 1e-9)
        last = _seconds(load, stages, beside, width - (dispatches - 1) * batch, kind)
        if dispatches == 1:
            kinds[ALONE, kind] = kinds[OWN, kind] = last
            continue
        full = _seconds(load, stages, beside, batch, kind)
        kinds[ALONE, kind], kinds[OWN, kind] = full, (dispatches - 1) * full + last
        kinds[DRAIN, kind] = (math.ceil(dispatches / new[ATONCE]) - 1) * full


@compiled
def weighed(load: Seen, values: Floats) -> float:
    """Return the mean of (classes,) values."""
    whole = 0.0
    for kind in range(len(load.weights)):
        whole += load.weights[kind] * values[kind]
    return whole


@compiled
def taken_from(known: Asked, plan: Plan) -> Asked:
    """Return what is asked of the stations of a plan, to be changed at will."""
    stations, batch = len(plan.stations), 1
    for place in range(stations):
        batch = max(batch, int(known.facts[int(plan.stations[place, KNOWN]), BATCH]))
    facts, kinds = np.empty((stations, FACTS)), np.empty((stations, KINDS, known.kinds.shape[2]))
    times = np.zeros((stations, 1 + batch))
    for place in range(stations):
        row = int(plan.stations[place, KNOWN])
        for fact in range(FACTS):
            facts[place, fact] = known.facts[row, fact]
        for kind in range(KINDS):
            for one in range(kinds.shape[2]):
                kinds[place, kind, one] = known.kinds[row, kind, one]
        for units in range(int(facts[place, BATCH]) + 1):
            times[place, units] = known.times[row, units]
    return Asked(facts, kinds, times)


@compiled
def linked(plan: Plan) -> Places:
    """Return (stations, stations) 1 from each to those before it, else 0."""
    links = np.zeros((len(plan.stations), len(plan.stations)), np.int64)
    for link in range(len(plan.after)):
        links[plan.after[link, 0], plan.after[link, 1]] = 1
    return links


@compiled
def single(asked: Asked, place: int) -> float:
    """Return the seconds of a dispatch of one unit."""
    return float(asked.times[place, 1])


@compiled
def usual(asked: Asked, place: int) -> float:
    """Return the seconds of a dispatch of half of those that keep up."""
    return float(asked.times[place, (int(asked.facts[place, KEEPS_UP]) + 1) // 2])


@compiled
def full(asked: Asked, place: int) -> float:
    """Return the seconds of a full dispatch."""
    return float(asked.times[place, int(asked.facts[place, BATCH])])


@compiled
def most(asked: Asked, place: int) -> float:
    """Return the requests a second that a station serves in full batches."""
    facts = asked.facts[place]
    return float(facts[SERVERS] * facts[BATCH] / (facts[UNITS] * full(asked, place)))


@compiled
def taken(asked: Asked, place: int, rate: float) -> float:
    """Return the share of a station's servers' time that a load takes, in batches that keep up with it."""
    facts = asked.facts[place]
    loaded = asked.times[place, int(facts[KEEPS_UP])]
    return float(rate * facts[UNITS] * loaded / facts[KEEPS_UP] / facts[SERVERS])


@compiled
def tail(asked: Asked, place: int, rate: float) -> tuple[float, float]:
    """Return how likely a dispatch waits, and the mean seconds of those that do.

    With use r and c servers: P = r^(sqrt(2 (c + 1)) - 1) (Sakasegawa 1977), and the wait of who waits is about
    exponential with mean (bunch + jitter^2) / 2 T / (c (1 - r)) (Kingman 1962).
    """
    facts = asked.facts[place]
    loaded, use = asked.times[place, int(facts[KEEPS_UP])], min(0.98, taken(asked, place, rate))
    likely = use ** (math.sqrt(2.0 * (facts[SERVERS] + 1.0)) - 1.0)
    return likely, (facts[BUNCH] + facts[JITTER] ** 2) / 2.0 * loaded / facts[SERVERS] / (1.0 - use)


@compiled
def spent(asked: Asked, place: int, many: int) -> float:
    """Return the seconds of servers that a request takes if what so many bring is dispatched together.

    The last dispatch has what is left: of lists it lacks half of (batch - 1) units on average.
    """
    facts, times = asked.facts[place], asked.times[place]
    if many == 1:
        return float(facts[MEAN_OWN])
    units, lacking = many * facts[UNITS], 0.0
    if facts[BUNCH] > 1.0:
        lacking = 0.5 - 0.5 / facts[BATCH]
    dispatches = max(1.0, units / facts[BATCH] + lacking)
    count = units / dispatches
    low = int(count)
    if low == count:
        return float(times[low] * dispatches / many)
    below = times[low] if low else facts[BESIDE]  # less than one costs that
    return float(dispatches * (below + (count - low) * (times[low + 1] - below)) / many)


@compiled
def pool_use(asked: Asked, plan: Plan, members: Places, many: int) -> tuple[float, float]:
    """Return the seconds of all replicas and of all cards that a request takes, so many dispatched together.

    What takes no share of a card takes replicas alone.
    """
    busy = cards = 0.0
    for place in members:
        seconds = spent(asked, place, many)
        busy += seconds
        if plan.stations[place, TAKE] > 0.0:
            cards += seconds / asked.facts[place, FITTING]
    return busy / plan.pools[int(plan.stations[members[0], POOL]), REPLICAS], cards


@compiled
def _together(asked: Asked, plan: Plan, members: Places, rate: float) -> int:
    """Return of how many requests a common pool dispatches what they bring together, for it to keep up with a load.

    It dispatches at once what there is, so batches are of what one request brings, until those do not keep up.
    """
    limit, many = 1, 1
    for place in members:
        limit = max(limit, int(asked.facts[place, BATCH]))
    while many < limit and rate * max(pool_use(asked, plan, members, many)) > 1.0:
        many *= 2
    return min(many, limit)


@compiled
def share(asked: Asked, plan: Plan, members: Places, rate: float) -> None:
    """Leave to each station of a common pool the servers that the others do not take, or its part of a full one."""
    many = _together(asked, plan, members, rate)
    busy, cards = pool_use(asked, plan, members, many)
    replicas, whole = plan.pools[int(plan.stations[members[0], POOL]), REPLICAS], max(busy, cards, LEAST)
    for place in members:
        seconds, facts = spent(asked, place, many), asked.facts[place]
        left = replicas * (1.0 - rate * (busy - seconds / replicas))
        if plan.stations[place, TAKE] > 0.0:
            left = min(left, facts[FITTING] * (1.0 - rate * (cards - seconds / facts[FITTING])))
        facts[SERVERS] = min(facts[FITTING], max(left, seconds / whole))


@compiled
def longest(links: Places, seconds: Floats) -> float:
    """Return the seconds of the longest way through stations that take (stations,) so many each.

    links: (stations, stations) from each to those before it, 0 where there is none.
    """
    ends, far = np.empty(len(seconds)), 0.0
    for place in range(len(seconds)):
        begin = 0.0
        for other in range(place):
            if links[place, other]:
                begin = max(begin, ends[other])
        ends[place] = begin + seconds[place]
        far = max(far, ends[place])
    return far


@compiled
def alone(plan: Plan, asked: Asked, links: Places) -> Floats:
    """Return (classes,) the seconds that a request of each class takes with nobody else there."""
    stations, found = plan.stations, np.empty(asked.kinds.shape[2])
    own, leads = np.empty(len(stations)), np.empty(len(stations))
    for kind in range(len(found)):
        for place in range(len(stations)):
            drain, lead = asked.kinds[place, DRAIN, kind], 0.0
            for other in range(place):  # what hands items on one by one leaves only the rest to wait for
                if links[place, other] and hands_on(plan, other, place):
                    lead = max(lead, leads[other])
            own[place] = asked.kinds[place, ALONE, kind] + max(0.0, drain - lead)
            leads[place] = max(lead, drain)
        found[kind] = longest(links, own) + plan.answer
    return found


@compiled
def hands_on(plan: Plan, before: int, place: int) -> bool:
    """Whether a station hands on single items of a list to one behind it."""
    scope = plan.stations[place, SCOPE]
    return bool(scope != PER_REQUEST and plan.stations[before, SCOPE] == scope)
