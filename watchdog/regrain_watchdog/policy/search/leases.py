"""Leases that a fluid group may begin with, by what a load asks of its stages; no predictor is asked.

What is reserved is used up only where leases fill it. So they are as large as one another, but for stages that are no
faster for it, and as many run at once as bear the load and have a heavy request in time:

    seconds of that request + HEAVY x mean wait <= objective

where the wait is Sakasegawa's, of requests as wholes, scaled by the spread of work and by bursts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from regrain.plan import Lane
from regrain_watchdog.policy.model import PER_REQUEST
from regrain_watchdog.policy.search.demand import Calls, Demand, StageDemand, stage_demand
from regrain_watchdog.policy.search.options import Space
from regrain_watchdog.policy.search.partition import bits

FULL = 1.05
"""Of what is reserved, that work may take: what is shed is not done."""
ALIKE = 1.1
"""Times the seconds of a unit under the largest lease, up to which a stage is content with a smaller one."""
QUICK = 1.03
"""Times the seconds of a unit in the largest batches, up to which a stage is content with smaller ones."""
HEAVY = 2.0
"""Times the mean wait, that a request rarely waits longer."""


@dataclass(frozen=True, slots=True)
class Leases:
    """Leases of one size, and how many of them at once.

    Attributes:
        lanes: the stages' leases, none larger than `size`, and largest batches.
        size: of a GPU, the largest lease.
        count: leases of that size that fit into what is reserved.
        fewest: that bear the load.
        beside: dispatches at once of stages that need no GPU.
    """

    lanes: tuple[Lane, ...]
    size: float
    count: int
    fewest: int
    beside: float

    @property
    def share(self) -> float:
        """What is reserved: whole GPUs, each with as many leases as it holds, and what the rest of them takes."""
        whole, rest = divmod(self.count, int(1 / self.size + 1e-9))
        return round(whole + rest * self.size, 4)

    @property
    def replicas(self) -> int:
        """One for each lease, and for what needs none."""
        return self.count + round(self.beside + math.sqrt(self.beside) / 2)


def leases(space: Space, mask: int, tables: list[Calls], demand: Demand, level: int) -> Iterator[Leases]:
    """Return the leases that the stages of a pool may begin with, one for each size, the smallest first.

    level: the quantile of requests that are to be in time, as a place in LEVELS.
    """
    asked = {
        stage: stage_demand(tables[stage], space.scope(stage), demand, space.problem.limits.sizes)
        for stage in bits(mask)
    }
    beside = sum(
        demand.rate * seconds(space, stage, one, demand, 0)
        for stage, one in asked.items()
        if not space.on_gpu(stage)
    )
    for size in space.problem.limits.shares:
        lanes = [
            lane
            for stage, one in asked.items()
            if (lane := _lane(space, stage, one, demand, size)) is not None
        ]
        if len(lanes) < len(asked) or max(lane.fraction for lane in lanes) < size:
            continue
        found = _count(space, asked, demand, lanes, level)
        if found is not None:
            yield Leases(tuple(lanes), size, count=found[1], fewest=found[0], beside=beside)


def seconds(
    space: Space, stage: int, asked: StageDemand, demand: Demand, level: int, *, full: bool = True
) -> float:
    """Return the seconds that a request takes of a stage at a level of its table.

    full: in full batches; else in items of one request, or in the smallest batches in which one replica can keep up.
    """
    sizes, scope, kind = space.problem.limits.sizes, space.scope(stage), space.kind(1 << stage)
    able = kind.sizes if kind is not None else (1,)
    if kind is not None and kind.scope != PER_REQUEST:
        units = demand.width(scope)
        size = able[-1] if full else max(one for one in able if one <= max(1.0, units))
        return float(units * asked.items[level, size] / size)
    each = [float(asked.batch[level, sizes.index(one)]) / one for one in able]
    kept_up = [taken for taken in each if demand.rate * taken <= 1.0]
    return kept_up[0] if kept_up and not full else each[-1]


def _lane(space: Space, stage: int, asked: StageDemand, demand: Demand, size: float) -> Lane | None:
    """Return a stage's lane; None where none was measured.

    Its lease is the smallest up to a size that is about as fast, its largest batch the smallest about as quick by unit.
    """
    kind, name = space.kind(1 << stage), space.dag.stages[stage]
    if kind is None:
        return None
    limits, in_items = space.problem.limits, kind.scope != PER_REQUEST
    able = [at for at, share in enumerate(limits.shares) if share in kind.levels and share <= size]
    if not kind.on_gpu:
        able = [0]
    if not able:
        return None
    taken = [seconds(space, stage, asked, demand, at, full=False) for at in able]
    level = able[next(place for place, each in enumerate(taken) if each <= ALIKE * taken[-1])]
    batch = asked.items if in_items else asked.batch
    each = [float(batch[level, one if in_items else limits.sizes.index(one)]) / one for one in kind.sizes]
    most = next(one for one, seen in zip(kind.sizes, each, strict=True) if seen <= QUICK * each[-1])
    return Lane(stage=name, fraction=limits.shares[level] if kind.on_gpu else 0.0, max_size=most)


def _count(
    space: Space, asked: dict[int, StageDemand], demand: Demand, lanes: list[Lane], heavy: int
) -> tuple[int, int] | None:
    """Return the fewest leases at once that bear the load, and those with which a heavy request is in time.

    None where it would be late even if it waited for nothing, or they are more than there may be replicas.
    """
    limits, size = space.problem.limits, max(lane.fraction for lane in lanes)
    least = work = mean = variance = alone = 0.0
    for (stage, one), lane in zip(asked.items(), lanes, strict=True):
        level = limits.shares.index(lane.fraction) if lane.fraction else 0
        alone += float(one.quantile[level, heavy])
        if lane.fraction:
            each = seconds(space, stage, one, demand, level, full=False)
            least += demand.rate * seconds(space, stage, one, demand, level) * lane.fraction
            work += demand.rate * each * lane.fraction
            mean += each
            variance += float(one.spread[level]) ** 2
    slack = (space.problem.app.slo.latency - alone) / HEAVY
    if slack <= 0 or not mean:
        return None
    spread = mean * (demand.burst + variance / mean**2) / 2
    fewest = max(1, math.ceil(least / (FULL * size)))
    for count in range(fewest, limits.replicas + 1):
        if _wait(work / (count * size), count) * spread <= slack:
            return fewest, count
    return None


def _wait(busy: float, servers: int) -> float:
    """Return the mean wait in a queue with exponential times, in times of service (Sakasegawa, 1977)."""
    return busy ** (math.sqrt(2 * (servers + 1)) - 1) / (servers * (1 - busy)) if busy < 1 else math.inf
