"""Several apps on one node: a plan for each, all of which fit beside each other, at the least cost in all.

Each app is planned alone at several prices of GPU and core, so that there are plans that are sparing with what is short
(the multipliers of a Lagrangian relaxation of the node's room). Of each app's plans those stay that no other beats in
cost, hit rate, share and cores; then one of each is chosen, cheapest first, until all fit together.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from regrain.plan import Plan
from regrain_watchdog.policy.cost import memory
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.predict.predictor import Predictor
from regrain_watchdog.policy.profile import Profile
from regrain_watchdog.policy.search.options import pareto
from regrain_watchdog.policy.search.packing import Placement, gpu_parts, pack_together
from regrain_watchdog.policy.search.planner import Planner
from regrain_watchdog.policy.search.problem import Candidate, NoPlanError, Problem

MULTIPLIERS = ((1.0, 1.0), (5.0, 1.0), (1.0, 5.0))
"""Times the prices of GPU and core at which each app is planned."""
KEPT = 40
"""Plans of an app that are combined with those of others."""
COMBINED = 20_000
"""Combinations that are tried at most."""

TIE = 1e-6
"""Requests a second that a dollar a second weighs, where plans miss the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """Plans of several apps that fit on one node together.

    Attributes:
        chosen: of each app, in order.
        cost: dollars a second of all.
        placement: the GPUs of each group's replicas, of all apps in order.
        meets: whether each app is expected to meet its objective.
    """

    chosen: tuple[Candidate, ...]
    cost: float
    placement: Placement
    meets: bool


def plan_each(
    problems: Sequence[Problem], loads: Sequence[Arrivals], predictor: Predictor, *, seed: int = 0
) -> Joint:
    """Return what comes of it where every app in turn plans for what those before it leave free.

    Raises:
        NoPlanError: an app finds no room.
    """
    chosen: list[Candidate] = []
    taken: list[tuple[Plan, Profile]] = []
    others = tuple(problems[0].beside)
    for problem, load in zip(problems, loads, strict=True):
        choice = Planner(replace(problem, beside=(*taken, *others))).plan(load, predictor, seed=seed)
        chosen.append(Candidate(plan=choice.plan, prediction=choice.prediction, cost=choice.cost))
        taken.append((choice.plan, problem.app.profile))
    placement = _placed(problems, [plan for plan, _ in taken])
    if placement is None:
        raise AssertionError("each plan fitted beside those before it, and they do not all fit")
    return _joint(problems, chosen, placement)


def plan_together(
    problems: Sequence[Problem],
    loads: Sequence[Arrivals],
    predictor: Predictor,
    *,
    presents: Sequence[Plan | None] = (),
    seed: int = 0,
) -> Joint:
    """Return the cheapest plans with which every app meets its objective; if there are none, those with most hits.

    They are never worse than what `plan_each` finds.

    Args:
        problems: of each app, all of the same node and beside the same others.
        loads: of each.
        predictor: that judges.
        presents: plans in force, which are looked at among others.
        seed: of the predictor's randomness.

    Raises:
        NoPlanError: an app has no plan on the node even alone, or none were found that fit together.
    """
    fronts = [
        _front(problem, _candidates(problem, load, predictor, present, seed))
        for problem, load, present in zip(problems, loads, presents or [None] * len(problems), strict=True)
    ]
    found = [
        joint
        for joint in (_best(problems, loads, fronts), _in_turn(problems, loads, predictor, seed))
        if joint is not None
    ]
    if not found:
        names = ", ".join(problem.app.manifest.app for problem in problems)
        raise NoPlanError(
            f"no plans of {names} were found that fit on the node together, though each fits alone"
        )
    return min(
        found, key=lambda joint: (not joint.meets, joint.cost if joint.meets else _missed(joint, loads))
    )


def _best(
    problems: Sequence[Problem], loads: Sequence[Arrivals], fronts: Sequence[Sequence[Candidate]]
) -> Joint | None:
    """Return the best combination of plans that fits: with all objectives met, else with the fewest misses."""
    meeting = [
        [one for one in front if one.prediction.hit_rate >= problem.app.slo.attainment]
        for front, problem in zip(fronts, problems, strict=True)
    ]
    weights = [[one.cost for one in front] for front in meeting]
    found = _first_that_fits(problems, meeting, weights) if all(meeting) else None
    if found is None:
        misses = [[_misses(one, load) for one in front] for front, load in zip(fronts, loads, strict=True)]
        found = _first_that_fits(problems, fronts, misses)
    return _joint(problems, *found) if found is not None else None


def _in_turn(
    problems: Sequence[Problem], loads: Sequence[Arrivals], predictor: Predictor, seed: int
) -> Joint | None:
    try:
        return plan_each(problems, loads, predictor, seed=seed)
    except NoPlanError:
        return None


def _joint(problems: Sequence[Problem], chosen: Sequence[Candidate], placement: Placement) -> Joint:
    return Joint(
        chosen=tuple(chosen),
        cost=sum(one.cost for one in chosen),
        placement=placement,
        meets=all(
            one.prediction.hit_rate >= problem.app.slo.attainment
            for one, problem in zip(chosen, problems, strict=True)
        ),
    )


def _misses(one: Candidate, load: Arrivals) -> float:
    """Return the requests a second that are expected to miss, and a little for what a plan costs."""
    return load.rate * (1 - one.prediction.hit_rate) + TIE * one.cost


def _missed(joint: Joint, loads: Sequence[Arrivals]) -> float:
    return sum(_misses(one, load) for one, load in zip(joint.chosen, loads, strict=True))


def _candidates(
    problem: Problem, load: Arrivals, predictor: Predictor, present: Plan | None, seed: int
) -> list[Candidate]:
    """Return what was judged when an app was planned alone, at several prices, with its cost at the prices given."""
    found: dict[Plan, Candidate] = {}
    for gpu, core in MULTIPLIERS:
        planner = Planner(replace(problem, prices=problem.priced(gpu, core)))
        for candidate in planner.plan(load, predictor, present=present, seed=seed).considered:
            found[candidate.plan] = replace(candidate, cost=problem.cost(candidate.plan))
    return list(found.values())


def _front(problem: Problem, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the plans that no other beats; the cheapest of those that meet the objective, and of the rest the best."""
    rows = []
    for one in candidates:
        parts = [part for group in one.plan.groups for part in gpu_parts(group, problem.app.profile)]
        rows.append(
            (
                one.cost,
                -min(one.prediction.hit_rate, problem.app.slo.attainment),
                sum(part.fraction for part in parts),
                max((part.fraction for part in parts), default=0.0),
                float(sum(part.memory for part in parts)),
                sum(group.replicas * group.cpu for group in one.plan.groups),
                float(sum(group.replicas * memory(group, problem.app.profile) for group in one.plan.groups)),
            )
        )
    kept = [candidates[place] for place in pareto(np.array(rows))]
    kept.sort(key=lambda one: (one.prediction.hit_rate < problem.app.slo.attainment, one.cost))
    return kept


def _first_that_fits(
    problems: Sequence[Problem], fronts: Sequence[Sequence[Candidate]], weights: Sequence[Sequence[float]]
) -> tuple[tuple[Candidate, ...], Placement] | None:
    """Return the combination of the least weight that fits; None where none of the first many does."""
    for picks in _ascending(weights):
        chosen = tuple(front[pick] for front, pick in zip(fronts, picks, strict=True))
        placement = _placed(problems, [one.plan for one in chosen])
        if placement is not None:
            return chosen, placement
    return None


def _placed(problems: Sequence[Problem], plans: Sequence[Plan]) -> Placement | None:
    """Return the GPUs of the apps' groups, beside what is on the node already; None where they do not fit."""
    taken = [(plan, problem.app.profile) for plan, problem in zip(plans, problems, strict=True)]
    found = pack_together([*taken, *problems[0].beside], problems[0].node)
    return found[: sum(len(plan.groups) for plan in plans)] if found is not None else None


def _ascending(weights: Sequence[Sequence[float]]) -> Iterator[tuple[int, ...]]:
    """Return ways to take one of each, those with the least weight in all first."""
    orders = [sorted(range(len(row)), key=row.__getitem__)[:KEPT] for row in weights]

    def weight(ranks: tuple[int, ...]) -> float:
        return sum(row[order[rank]] for row, order, rank in zip(weights, orders, ranks, strict=True))

    first = (0,) * len(orders)
    waiting, seen = [(weight(first), first)], {first}
    for _ in range(COMBINED):
        if not waiting:
            return
        _, ranks = heapq.heappop(waiting)
        yield tuple(order[rank] for order, rank in zip(orders, ranks, strict=True))
        for place, rank in enumerate(ranks):
            further = (*ranks[:place], rank + 1, *ranks[place + 1 :])
            if rank + 1 < len(orders[place]) and further not in seen:
                seen.add(further)
                heapq.heappush(waiting, (weight(further), further))
