"""The least time that a request can take under any plan: an objective below it is refused, with the figure."""

from __future__ import annotations

import numpy as np

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.search.dag import paths
from regrain_watchdog.policy.search.demand import Calls, Demand, calls
from regrain_watchdog.policy.search.options import Space
from regrain_watchdog.policy.search.partition import bits
from regrain_watchdog.policy.search.problem import NoPlanError, Problem
from regrain_watchdog.policy.search.room import check_room

LUCK = 3.0
"""Standard deviations that a stage may be faster than its mean; beyond that it counts as never."""


def fastest(problem: Problem, load: Arrivals) -> float:
    """Return seconds that the objective must be above for its attainment to be possible; no plan is faster.

    Raises:
        NoPlanError: a stage cannot run on the node at all.
    """
    space = Space(problem)
    check_room(space)
    tables = calls(space)
    demand = Demand.of(load, space, tables[0])
    return least(space, tables, demand, demand.at(problem.app.slo.attainment))


def least(space: Space, tables: tuple[list[Calls], list[Calls]], demand: Demand, place: int) -> float:
    """Return the least seconds of one of the requests of a demand: each stage at its best level, nobody before it."""
    best = [_stage(space, tables, demand, place, stage) for stage in range(len(space.dag.stages))]
    longest = max(sum(best[stage] for stage in bits(path)) for path in paths(space.dag))
    return longest + 2 * space.problem.app.profile.hop.seconds


def check_objective(space: Space, tables: tuple[list[Calls], list[Calls]], demand: Demand) -> None:
    """Raise NoPlanError where not even the lightest request could be in time."""
    luck = 1 - LUCK * max(table.cv for side in tables for table in side)
    floor = least(space, tables, demand, 0) * luck
    slo = space.problem.app.slo
    if floor > slo.latency:
        usual = least(space, tables, demand, demand.at(slo.attainment))
        raise NoPlanError(
            f"{space.problem.app.manifest.app} is to answer within {slo.latency:g} s, and its lightest request takes "
            f"{floor:.3g} s under the fastest plan; for {slo.attainment:.0%} of the requests it takes {usual:.3g} s "
            "at least"
        )


def _stage(
    space: Space, tables: tuple[list[Calls], list[Calls]], demand: Demand, place: int, stage: int
) -> float:
    """Return the least seconds of a stage; of one that is mapped, as if its items ran beside each other, if any."""
    scope = space.scope(stage)
    count = np.minimum(1, demand.widths[place : place + 1, scope])
    size = demand.sizes[place : place + 1]
    sides = (tables[0],) if space.on_gpu(stage) else tables
    return float(min(np.nanmin(side[stage].total(count, size)) for side in sides))
