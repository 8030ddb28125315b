"""Which grains are frozen: every one, or coarse and fine and the most promising of the others."""

from __future__ import annotations

import math
from functools import cache

from benchmarks.granularity.judge import planning
from benchmarks.granularity.pipelines import World
from benchmarks.granularity.policies import Mind
from benchmarks.granularity.predictors import ANALYTIC

CUTS, USUAL = 4, ("normal", 1.5)
"""Grains beside coarse and fine that are frozen where not all are, and by which load and objective they are picked."""
MOST = 5
"""Stages of the largest flow of which every grain is frozen."""


def frozen(world: World, *, every: bool) -> tuple[str, ...]:
    """Return the grains that are frozen, as notation: coarse first, fine second."""
    is_small = len(world.pipeline.stages) <= MOST
    return Mind(world.offer(world.warm_latency())).grains() if every and is_small else promising(world)


@cache
def promising(world: World) -> tuple[str, ...]:
    """Return coarse, fine, and of the other grains the most promising.

    That are those whose plans for a normal load meet its objective at the least cost.
    """
    load, slo = USUAL
    mind = Mind(world.offer(slo * world.warm_latency()))
    coarse, fine, *others = mind.grains()
    drawn = planning(world, "poisson", world.protocol.load.part(load) * world.capacity())

    def worth(grain: str) -> tuple[bool, float]:
        made = mind.planned(drawn, grain=grain, by=ANALYTIC)
        if made.plan is None:
            return True, math.inf
        meets = made.expected >= world.protocol.slo.attainment
        return not meets, mind.cost(made.plan) if meets else -made.expected

    return coarse, fine, *sorted(others, key=worth)[:CUTS]
