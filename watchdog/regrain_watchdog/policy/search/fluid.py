"""Plans with a fluid group: stages share one reserved part of the GPUs, and each dispatch leases what its stage needs.

The search is that of the study of fluid grain: leases for the stages that are fast enough together and ask for little,

    minimise max(work, largest lease),   work = sum over stages of requests/s x seconds of a request x lease,

at several parts of the objective; then a reserved share that is raised until the predictor is satisfied, and small
steps in share, leases, batches and replicas. The rest of the app keeps the groups of the best plan so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from regrain.plan import Fluid, GpuShare, Group, Lane, Plan
from regrain_watchdog.policy.cost import gpu_memory, gpu_weights
from regrain_watchdog.policy.model import PER_REQUEST
from regrain_watchdog.policy.search.demand import Calls, Demand, StageDemand, stage_demand
from regrain_watchdog.policy.search.judge import Judge
from regrain_watchdog.policy.search.options import Space
from regrain_watchdog.policy.search.partition import bits
from regrain_watchdog.policy.search.problem import Candidate

Floats = NDArray[np.float64]
BUDGETS = (0.3, 0.45, 0.6, 0.75, 0.9, 1.0)
"""Parts of the objective that a request's stages may take together without any waiting."""
FULL = 0.97
"""Of the reserved share, that work may take at first."""
STEP = 0.05
"""Of a GPU: the reserved share is a multiple of it."""
RAISE = 1.15
"""Times the reserved share, when it was too little."""
RAISES = 14
AHEAD = 1.15
"""Times the cost of the best plan, up to which the share is raised: the small steps that follow may save as much."""


@dataclass(frozen=True, slots=True)
class _Lease:
    """A stage in the pool: its lease and batch; work in GPUs, seconds of a request, and replicas that it keeps busy."""

    stage: int
    share: float
    size: int
    work: float
    seconds: float
    busy: float


def search(
    space: Space, tables: tuple[list[Calls], list[Calls]], demand: Demand, level: int, judge: Judge
) -> None:
    """Judge plans with a fluid group; the judge remembers the best.

    Args:
        space: of which.
        tables: of the stages' calls.
        demand: what the load asks.
        level: the quantile that the leases are chosen for, as a place in LEVELS.
        judge: has judged ordinary plans.
    """
    ordinary = judge.best
    for mask in _pools(space):
        rest = _rest(space, mask, ordinary)
        if rest is None:
            continue
        pool = _Pool(space, mask, tables, demand, level)
        found = [
            better
            for leases in pool.leases()
            if (better := _raised(space, mask, rest, leases, judge)) is not None
        ]
        for candidate in sorted(found, key=lambda one: one.cost)[:2]:
            descend(space, candidate, judge)


def _pools(space: Space) -> Iterator[int]:
    """Return the stages that may share a pool: all, or all that need a GPU."""
    on_gpu = sum(1 << stage for stage in bits(space.dag.all) if space.on_gpu(stage))
    for mask in dict.fromkeys((space.dag.all, on_gpu)):
        if (
            mask & on_gpu
            and mask.bit_count() > 1
            and space.dag.is_convex(mask)
            and space.kind(mask) is not None
        ):
            yield mask


def _rest(space: Space, mask: int, best: Candidate | None) -> tuple[Group, ...] | None:
    """Return the other groups of the best plan; None where one of them lies across."""
    groups = best.plan.groups if best is not None else ()
    outside = tuple(group for group in groups if not space.dag.mask(group.stages) & mask)
    covered = sum(space.dag.mask(group.stages) for group in outside)
    return outside if covered == space.dag.all & ~mask else None


class _Pool:
    """The leases that the stages of one pool may have."""

    def __init__(
        self, space: Space, mask: int, tables: tuple[list[Calls], list[Calls]], demand: Demand, level: int
    ) -> None:
        self._slo = space.problem.app.slo.latency
        limits = space.problem.limits
        self._choices: list[list[_Lease]] = []
        for stage in bits(mask):
            scope = space.scope(stage)
            asked = stage_demand(tables[0][stage], scope, demand, limits.sizes)
            kind = space.kind(1 << stage)
            size = kind.sizes[-1] if kind is not None else 1
            units = demand.width(scope) if kind is not None and kind.scope != PER_REQUEST else 1.0
            seconds = _seconds(
                asked, size, limits.sizes, units, in_items=units != 1.0 or scope != PER_REQUEST
            )
            shares = limits.shares if space.on_gpu(stage) else (0.0,)
            self._choices.append(
                [
                    _Lease(
                        stage,
                        share,
                        size,
                        demand.rate * each * share,
                        float(asked.quantile[at, level]),
                        demand.rate * each,
                    )
                    for at, (share, each) in enumerate(zip(shares, seconds, strict=False))
                    if math.isfinite(each)
                ]
            )

    def leases(self) -> Iterator[tuple[_Lease, ...]]:
        """Return, for each part of the objective, the leases that ask for least; each once."""
        caps = sorted({lease.share for choice in self._choices for lease in choice})
        seen: set[tuple[_Lease, ...]] = set()
        for budget in BUDGETS:
            found = [self._within(cap, budget * self._slo) for cap in caps]
            able = [one for one in found if one is not None]
            best = min(able, key=_asked, default=None)
            if best is not None and best not in seen:
                seen.add(best)
                yield best

    def _within(self, cap: float, budget: float) -> tuple[_Lease, ...] | None:
        """Return leases up to a cap that are fast enough: from those with least work, raised where it costs least."""
        choices = [[lease for lease in choice if lease.share <= cap] for choice in self._choices]
        if not all(choices):
            return None
        chosen = [min(choice, key=lambda lease: (lease.work, lease.share)) for choice in choices]
        while sum(lease.seconds for lease in chosen) > budget:
            raises = [
                ((lease.work - now.work + 1e-9) / (now.seconds - lease.seconds), place, lease)
                for place, (now, choice) in enumerate(zip(chosen, choices, strict=True))
                for lease in choice
                if lease.seconds < now.seconds
            ]
            if not raises:
                return None
            _, place, lease = min(raises, key=lambda one: (one[0], one[1]))
            chosen[place] = lease
        return tuple(chosen)


def _seconds(asked: StageDemand, size: int, sizes: Sequence[int], units: float, *, in_items: bool) -> Floats:
    """Return the seconds that a request takes of a replica, by level, in full batches."""
    if in_items:
        found: Floats = units * asked.items[:, size] / size
    else:
        found = asked.batch[:, sizes.index(size)] / size
    return found


def _asked(leases: Sequence[_Lease]) -> tuple[float, float]:
    """Return the share that leases ask for at least, and their seconds."""
    work = sum(lease.work for lease in leases)
    return max(work, *(lease.share for lease in leases)), sum(lease.seconds for lease in leases)


def _raised(
    space: Space, mask: int, rest: tuple[Group, ...], leases: tuple[_Lease, ...], judge: Judge
) -> Candidate | None:
    """Raise the reserved share until the objective is met, while that is not much dearer than the best plan."""
    share = math.ceil(max(_asked(leases)[0], sum(lease.work for lease in leases) / FULL) / STEP - 1e-9) * STEP
    busy = sum(lease.busy for lease in leases)
    most = AHEAD * judge.best.cost if judge.has_met and judge.best is not None else math.inf
    for _ in range(RAISES):
        replicas = max(2, math.ceil(busy + math.sqrt(busy)))
        plan = _plan(space, rest, _group(space, mask, round(share, 2), leases, replicas))
        if judge.cost(plan) >= most:
            return None
        candidate = judge.judge(plan)
        if candidate is None or judge.meets(candidate):
            return candidate
        share = max(share + STEP, math.floor(share * RAISE / STEP) * STEP)
        busy *= RAISE
    return None


def _group(space: Space, mask: int, share: float, leases: Sequence[_Lease], replicas: int) -> Group:
    kind = space.kind(mask)
    lanes = tuple(
        Lane(stage=space.dag.stages[lease.stage], fraction=lease.share, max_size=lease.size)
        for lease in leases
    )
    bare = Group(
        stages=space.dag.names(mask),
        replicas=replicas,
        max_size=max(lane.max_size for lane in lanes),
        cpu=kind.cpu if kind is not None else 1.0,
        gpu=GpuShare(),
        fluid=Fluid(share=share, lanes=lanes),
    )
    return _entitled(space, bare)


def _entitled(space: Space, group: Group) -> Group:
    """Return a fluid group with what each replica is entitled to: its largest lease, its part of what is reserved."""
    if group.fluid is None:
        return group
    profile = space.problem.app.profile
    share = GpuShare(
        fraction=max(lane.fraction for lane in group.fluid.lanes),
        memory=gpu_memory(group, profile) + gpu_weights(group, profile),
        floor=min(1.0, group.fluid.share / group.replicas),
    )
    return structs.replace(group, gpu=share)


def _plan(space: Space, rest: tuple[Group, ...], group: Group) -> Plan:
    given = {space.dag.mask(one.stages): one for one in (*rest, group)}
    order = space.dag.order(list(given)) or tuple(given)
    return Plan(tuple(given[mask] for mask in order))


def descend(space: Space, candidate: Candidate, judge: Judge) -> None:
    """Take small steps for as long as they are cheaper and meet the objective, the largest saving first."""
    here = candidate
    while True:
        near = [plan for plan in _near(space, here.plan) if judge.cost(plan) < here.cost * (1 - 1e-9)]
        better = None
        for plan in sorted(near, key=judge.cost):
            found = judge.judge(plan)
            if found is not None and judge.meets(found):
                better = found
                break
        if better is None:
            return
        here = better


def _near(space: Space, plan: Plan) -> Iterator[Plan]:
    """Return a plan with one step taken in its fluid group: in share, replicas, and each lane's lease and batch."""
    for place, group in enumerate(plan.groups):
        if group.fluid is None:
            continue
        for other in _steps(space, group, group.fluid):
            changed = _entitled(space, other)
            yield Plan((*plan.groups[:place], changed, *plan.groups[place + 1 :]))


def _steps(space: Space, group: Group, fluid: Fluid) -> Iterator[Group]:
    largest = max(lane.fraction for lane in fluid.lanes)
    if fluid.share - STEP >= largest - 1e-9:
        yield structs.replace(group, fluid=structs.replace(fluid, share=round(fluid.share - STEP, 2)))
    if group.replicas > 1:
        yield structs.replace(group, replicas=group.replicas - 1)
    for place, lane in enumerate(fluid.lanes):
        for changed in _lanes(space, lane):
            lanes = (*fluid.lanes[:place], changed, *fluid.lanes[place + 1 :])
            most = max(one.fraction for one in lanes)
            for share in {fluid.share, round(fluid.share - STEP, 2)}:
                if share >= most - 1e-9:
                    sizes = max(one.max_size for one in lanes)
                    yield structs.replace(group, max_size=sizes, fluid=Fluid(share=share, lanes=lanes))


def _lanes(space: Space, lane: Lane) -> Iterator[Lane]:
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
