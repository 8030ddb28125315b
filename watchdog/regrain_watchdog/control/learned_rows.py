"""A plan as the rows of numbers that a rough replay takes: one for each station, or for all of a common pool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regrain_watchdog.control.learned_demand import LEAST, Asked, longest
from regrain_watchdog.control.learned_load import Seen
from regrain_watchdog.control.learned_replay import STREAMS, TAKES, replay
from regrain_watchdog.policy.model import PER_REQUEST, Model

REPLAY = ("in_time_early", "in_time", "in_time_late", "turned_away", "waited")
"""What is told of a replay."""
QUEUES = 3
"""Stations with lines, the fullest; nobody waits at others."""
Row = list[float]
Wait = tuple[float, float]
"""How likely a station has a request wait, and the mean seconds of those that do."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a plan comes to under a load, before it is told in features.

    Attributes:
        asked: what is asked of each station. waits: how these have requests wait.
        alone: by class of requests, seconds with nobody else there.
        pools: the stations of each pool. each: seconds for each request in which it gets through many, if it is common.
    """

    asked: list[Asked]
    waits: list[Wait]
    alone: list[float]
    pools: list[list[int]]
    each: list[float]


def replayed(model: Model, look: Look, seen: Seen) -> list[float]:
    """Return what REPLAY names."""
    asked, groups = look.asked, look.pools
    place_of = {place: number for number, group in enumerate(groups) for place in group}
    uses = [sum([1.0 / asked[place].most for place in group]) for group in groups]
    queues = sorted(range(len(groups)), key=lambda group: -uses[group])[:QUEUES]
    links = np.zeros((len(groups), len(groups)), np.int64)
    behind: list[list[int]] = [[] for _ in groups]
    for place, station in enumerate(model.stations):
        here = place_of[place]
        for other in station.after:
            before = place_of[other]
            if before != here:
                alike = station.scope != PER_REQUEST and model.stations[other].scope == station.scope
                single = len(groups[here]) == len(groups[before]) == 1
                links[here, before] = STREAMS if alike and single else TAKES
                behind[before].append(here)
    last = {place_of[place] for place in model.last}
    units = max([one.batch for one in asked])
    rows = [
        _station(model, asked, group[0], units) if len(group) == 1 else _pool(model, look, place, seen, units)
        for place, group in enumerate(groups)
    ]
    for group in range(len(groups) - 1, -1, -1):
        after = max([rows[other][6] for other in behind[group]], default=model.answer)
        rows[group][6] = rows[group][5] + after
        rows[group][7] = float(group in last)
        rows[group][8] = float(group not in queues)
    stretch = seen.stretch
    is_open = longest(model, [one.single for one in asked]) > model.slo
    scale = np.array([model.slo, model.answer, len(seen.weights), not is_open])
    told: list[float] = replay(np.array(rows), links, stretch.at, stretch.brings, scale).tolist()
    told[-1] = math.log1p(told[-1] / model.slo)
    return told


def _station(model: Model, asked: Sequence[Asked], place: int, units: int) -> Row:
    """Return a station's row; see the columns in learned_replay."""
    station, one = model.stations[place], asked[place]
    alone = [first + more for first, more in zip(one.alone, one.drain, strict=True)]
    return [
        float(station.scope + 1 if station.scope != PER_REQUEST else PER_REQUEST),
        one.servers,
        float(one.batch),
        station.max_wait,
        one.jitter,
        one.usual,
        0.0,
        0.0,
        0.0,
        *one.longer,
        *([0.0] * len(alone)),
        *alone,
        *one.times,
        *([0.0] * (units - one.batch)),
    ]


def _pool(model: Model, look: Look, number: int, seen: Seen, units: int) -> Row:
    """Return the row of a common pool.

    A request holds a server of it for so long that it gets through as many as it bears.
    """
    asked, group, each = look.asked, look.pools[number], look.each[number]
    kinds = range(len(seen.weights))
    alone = [_through(model, asked, group, kind) for kind in kinds]
    mean = _mean(seen, alone)
    servers = max(1, math.ceil(mean / max(each, LEAST) - 1e-9))
    own = [sum([asked[place].own[kind] for place in group]) for kind in kinds]
    held = each * servers / max(_mean(seen, own), LEAST)
    jitter = math.sqrt(sum([(asked[place].jitter * asked[place].single) ** 2 for place in group]))
    return [
        float(PER_REQUEST),
        float(servers),
        1.0,
        0.0,
        jitter / max(mean, LEAST),
        mean,
        0.0,
        0.0,
        0.0,
        *[seconds - mean for seconds in alone],
        *[spent * held - seconds for spent, seconds in zip(own, alone, strict=True)],
        *alone,
        0.0,
        mean,
        *([0.0] * (units - 1)),
    ]


def _through(model: Model, asked: Sequence[Asked], group: Sequence[int], kind: int) -> float:
    """Return the seconds from the begin of a pool's stations to their end, for a request that waits for nobody."""
    ends: dict[int, float] = {}
    for place in group:
        begin = max([ends[other] for other in model.stations[place].after if other in ends], default=0.0)
        ends[place] = begin + asked[place].alone[kind] + asked[place].drain[kind]
    return max(ends.values())


def _mean(seen: Seen, values: Sequence[float]) -> float:
    return sum([weight * value for weight, value in zip(seen.weights, values, strict=True)])
