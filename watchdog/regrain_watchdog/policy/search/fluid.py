"""Plans with a fluid group: stages share one reserved part of the GPUs, and each dispatch leases what its stage needs.

The search begins with leases that fill what is reserved (search/leases.py); the predictor says whether so many at once
are enough, or fewer. From the cheapest of them, and from those that nearly are, it goes on in small steps of share,
leases, batches and replicas. The rest of the app keeps the groups of the best plan that cuts there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from msgspec import structs

from regrain.plan import Fluid, GpuShare, Group, Lane, Plan
from regrain_watchdog.policy.cost import gpu_memory, gpu_weights
from regrain_watchdog.policy.search.demand import Calls, Demand, stage_demand
from regrain_watchdog.policy.search.judge import Judge
from regrain_watchdog.policy.search.leases import Leases, leases, seconds
from regrain_watchdog.policy.search.options import Option, Space
from regrain_watchdog.policy.search.partition import bits
from regrain_watchdog.policy.search.problem import Candidate

STARTS = 6
"""Sizes of leases that the predictor is asked about in each pool."""
TRIES = 4
"""Numbers of leases at once that it is asked about for each."""
MORE = 0.1
"""Of the leases at once, that are added or taken away between two tries; at least one."""
AHEAD = 1.1
"""Times the cost of the best plan, up to which it is asked: the small steps that follow may save as much."""
WALKS = 2
"""Plans from which small steps are taken: of those that meet the objective the cheapest, and the next of the others."""
BREADTH = 24
"""Steps from a plan that are tried before it counts as the best of its neighbours."""
STEP = 0.05
"""Of a GPU: by so much the reserved share becomes smaller in a step."""


def search(
    space: Space, tables: tuple[list[Calls], list[Calls]], demand: Demand, level: int, judge: Judge
) -> None:
    """Judge plans with a fluid group; the judge remembers the best.

    Args:
        space: of which.
        tables: of the stages' calls in groups on a GPU and without.
        demand: what the load asks.
        level: the quantile of requests that leases are to have in time, as a place in LEVELS.
        judge: has judged ordinary plans.
    """
    found: list[Candidate | None] = []
    ordinary = judge.considered
    for mask in _pools(space):
        rest = _rest(space, mask, ordinary, judge) or _apart(space, mask, tables[1], demand)
        starts = [
            (judge.cost(_plan(space, mask, rest, one)), one)
            for one in leases(space, mask, tables[0], demand, level)
        ]
        for _, start in sorted(starts, key=lambda one: one[0])[:STARTS]:
            found.append(_best(_tried(space, mask, rest, start, judge), judge))
    able = [one for one in found if one is not None]
    met = sorted((one for one in able if judge.meets(one)), key=lambda one: one.cost)
    near = sorted((one for one in able if one not in met), key=lambda one: -one.prediction.hit_rate)
    for candidate in (*met[:WALKS], *near[:WALKS]):
        descend(space, candidate, judge)


def _best(tried: Sequence[Candidate], judge: Judge) -> Candidate | None:
    best: Candidate | None = None
    for one in tried:
        if judge.is_better(one, best):
            best = one
    return best


def _pools(space: Space) -> Iterator[int]:
    """Return the stages that may share a pool: all, or all that need a GPU; none of which streams."""
    on_gpu = sum(1 << stage for stage in bits(space.dag.all) if space.on_gpu(stage))
    for mask in dict.fromkeys((space.dag.all, on_gpu)):
        if (
            mask & on_gpu
            and mask.bit_count() > 1
            and space.dag.is_convex(mask)
            and space.kind(mask) is not None
            and not any(space.spec(stage).streams for stage in bits(mask))
        ):
            yield mask


def _rest(space: Space, mask: int, ordinary: Sequence[Candidate], judge: Judge) -> tuple[Group, ...]:
    """Return the groups outside of a pool of the best plan that cuts there; nothing where there is none."""
    for one in sorted(ordinary, key=lambda one: (not judge.meets(one), one.cost)):
        outside = tuple(group for group in one.plan.groups if not space.dag.mask(group.stages) & mask)
        if sum(space.dag.mask(group.stages) for group in outside) == space.dag.all & ~mask:
            return outside
    return ()


def _apart(space: Space, mask: int, tables: list[Calls], demand: Demand) -> tuple[Group, ...]:
    """Return each stage outside of a pool as a group, with replicas for what the load asks of it."""
    groups = []
    for stage in bits(space.dag.all & ~mask):
        asked = stage_demand(tables[stage], space.scope(stage), demand, space.problem.limits.sizes)
        busy = demand.rate * seconds(space, stage, asked, demand, 0)
        kind = space.kind(1 << stage)
        level, size = (kind.levels[0], kind.sizes[-1]) if kind is not None else (1.0, 1)
        groups.append(
            space.group(1 << stage, Option(level, size, 0.0, max(1, math.ceil(busy + math.sqrt(busy)))))
        )
    return tuple(groups)


def _tried(space: Space, mask: int, rest: tuple[Group, ...], start: Leases, judge: Judge) -> list[Candidate]:
    """Judge leases with more of them at once until they meet the objective, or with fewer until they do not."""
    found: list[Candidate] = []
    most = AHEAD * judge.best.cost if judge.has_met and judge.best is not None else math.inf
    step = max(1, round(MORE * start.fewest))
    while start.count > start.fewest and judge.cost(_plan(space, mask, rest, start)) >= most:
        start = replace(start, count=max(start.fewest, start.count - step))
    for _ in range(TRIES):
        plan = _plan(space, mask, rest, start)
        candidate = judge.judge(plan) if judge.cost(plan) < most else None
        if candidate is None:
            break
        found.append(candidate)
        is_met = judge.meets(candidate)
        more = -min(step, start.count - start.fewest) if is_met else step
        if not more or is_met != judge.meets(found[0]):
            break
        start = replace(start, count=start.count + more)
    return found


def _plan(space: Space, mask: int, rest: tuple[Group, ...], start: Leases) -> Plan:
    kind = space.kind(mask)
    group = Group(
        stages=space.dag.names(mask),
        replicas=start.replicas,
        cpu=kind.cpu if kind is not None else 1.0,
        gpu=GpuShare(),
    )
    pool = _entitled(space, group, Fluid(share=start.share, lanes=start.lanes, passes=True))
    given = {space.dag.mask(one.stages): one for one in (*rest, pool)}
    order = space.dag.order(list(given)) or tuple(given)
    return Plan(tuple(given[mask] for mask in order))


def _entitled(space: Space, group: Group, fluid: Fluid) -> Group:
    """Return a fluid group with what each replica is entitled to: its largest lease, its part of what is reserved."""
    profile = space.problem.app.profile
    made = structs.replace(group, max_size=max(lane.max_size for lane in fluid.lanes), fluid=fluid)
    share = GpuShare(
        fraction=max(lane.fraction for lane in fluid.lanes),
        memory=gpu_memory(made, profile) + gpu_weights(made, profile),
        floor=floor(fluid, made.replicas),
    )
    return structs.replace(made, gpu=share)


def floor(fluid: Fluid, replicas: int) -> float:
    """Return what each of some replicas of a fluid group is entitled to, of a GPU: its part of what is reserved."""
    return min(1.0, fluid.share / max(1, replicas))


def descend(space: Space, candidate: Candidate, judge: Judge) -> None:
    """Take small steps for as long as they are better, the simplest first; from one that meets the objective, down."""
    here: Candidate | None = candidate
    while here is not None:
        up = not judge.meets(here)
        below = _below(here, judge) if judge.has_met else math.inf
        near = (
            plan
            for plan in dict.fromkeys(_near(space, here.plan, up=up))
            if judge.cost(plan) < below and judge.place(plan) is not None
        )
        here = next((one for plan in islice(near, BREADTH) if (one := _better(plan, here, judge))), None)


def _below(here: Candidate, judge: Judge) -> float:
    """Return what a step may cost: less than where it is taken from, or than the best plan where that is no good."""
    best = here if judge.meets(here) or judge.best is None else judge.best
    return best.cost * (1 - 1e-9)


def _better(plan: Plan, here: Candidate, judge: Judge) -> Candidate | None:
    found = judge.judge(plan)
    return found if found is not None and judge.is_better(found, here) else None


def _near(space: Space, plan: Plan, *, up: bool) -> Iterator[Plan]:
    """Return plans one step from one in its fluid group: with more (`up`) or less of what it reserves, other lanes."""
    for place, group in enumerate(plan.groups):
        if group.fluid is None:
            continue
        for other in _steps(space, group, group.fluid, up=up):
            yield Plan((*plan.groups[:place], other, *plan.groups[place + 1 :]))


def _steps(space: Space, group: Group, fluid: Fluid, *, up: bool) -> Iterator[Group]:
    step = STEP if up else -STEP
    steps = ((0.0, 1), (0.0, 0), (step, 0)) if up else ((step, 0), (0.0, -1))
    for lanes in _lanes(space, fluid.lanes):
        for more, servers in steps:
            share, replicas = round(fluid.share + more, 4), group.replicas + servers
            if (
                1 <= replicas <= space.problem.limits.replicas
                and share >= max(lane.fraction for lane in lanes) - 1e-9
            ):
                changed = structs.replace(group, replicas=replicas)
                yield _entitled(space, changed, structs.replace(fluid, share=share, lanes=lanes))


def _lanes(space: Space, lanes: tuple[Lane, ...]) -> Iterator[tuple[Lane, ...]]:
    """Return the lanes as they are, with the largest leases a step smaller, and with a step in one of them."""
    yield lanes
    largest = max(lane.fraction for lane in lanes)
    smaller = [share for share in space.problem.limits.shares if share < largest]
    if smaller:
        lowered = tuple(structs.replace(lane, fraction=min(lane.fraction, smaller[-1])) for lane in lanes)
        if all(_is_measured(space, lane) for lane in lowered):
            yield lowered
    for place, lane in enumerate(lanes):
        for changed in _changed(space, lane):
            yield (*lanes[:place], changed, *lanes[place + 1 :])


def _is_measured(space: Space, lane: Lane) -> bool:
    """Whether a stage was measured under its lease; one without a GPU leases nothing."""
    kind = space.kind(space.dag.mask((lane.stage,)))
    return kind is not None and (not kind.on_gpu or lane.fraction in kind.levels)


def _changed(space: Space, lane: Lane) -> Iterator[Lane]:
    kind = space.kind(space.dag.mask((lane.stage,)))
    if kind is None:
        return
    levels = kind.levels if kind.on_gpu else (0.0,)
    for options, value, field in (
        (levels, lane.fraction, "fraction"),
        (kind.sizes, lane.max_size, "max_size"),
    ):
        at = options.index(value)
        for other in options[max(0, at - 1) : at + 2]:
            if other != value:
                yield structs.replace(lane, **{field: other})
