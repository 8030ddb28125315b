"""Days on which load and objective move, driven by the very controller: every policy sees the same requests.

A day is cut where its objective changes. That is a new deployment of the app onto the replicas that serve: the
controller begins anew with the plan in force, which holds for every policy alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.granularity import loads
from benchmarks.granularity.cuts import promising
from benchmarks.granularity.judge import planning
from benchmarks.granularity.pipelines import World
from benchmarks.granularity.policies import Made, Mind
from benchmarks.granularity.predictors import ADAPTIVE, SIMULATED, VERIFIED, predictor
from benchmarks.granularity.scaler import Scaler
from benchmarks.granularity.steady import Statics
from regrain.plan import Plan
from regrain_watchdog.control.closed import Course, drive, foreseeing
from regrain_watchdog.control.closed import World as Real
from regrain_watchdog.control.controller import Controller, Habits
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.refine import Refined
from regrain_watchdog.policy.search.problem import Problem

Row = dict[str, object]
BLOCK = 60.0
FORESIGHT = 120.0
"""Seconds that the oracle sees ahead."""
REPLAYED = 16
"""Plans that a planner may have judged at a time where each is by replay; others have the product's own limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A part of a day with one objective: its number, its requests from 0 s on, the objective in seconds."""

    number: int
    arrivals: Arrivals
    slo: float


@dataclass(frozen=True, slots=True)
class Truth:
    """A leg as it is: what the oracle and the judge see."""

    problem: Problem
    leg: Leg


@dataclass(frozen=True, slots=True)
class Policy:
    """How a policy begins a day, with what it would have for its first load, and what decides in each leg.

    The profile is refined by the calls of the day, on from leg to leg. Only oracles look at the truth.
    """

    begin: Callable[[Mind, Arrivals], Made]
    decides: Callable[[Leg, Refined, Truth], Controller | Scaler | None]


def legs(world: World, day: int) -> list[Leg]:
    """Return the parts of a day."""
    protocol = world.protocol
    arrivals, stretches = loads.day(protocol, world.pipeline, world.capacity(), seed=day)
    cuts = [one for place, one in enumerate(stretches) if place == 0 or one.slo != stretches[place - 1].slo]
    ends = [one.begin for one in cuts[1:]] + [arrivals.span]
    unit = world.warm_latency()
    return [
        Leg(number=number, arrivals=arrivals.between(cut.begin, end), slo=cut.slo * unit)
        for number, (cut, end) in enumerate(zip(cuts, ends, strict=True))
    ]


def policies(world: World, statics: Statics) -> dict[str, Policy]:
    """Return the policies by name."""
    coarse, fine, *_ = grains = promising(world)
    found: dict[str, Policy] = {}
    for label, plan in statics.plans.items():
        found[f"static-{label}"] = Policy(
            lambda _mind, _load, plan=plan: Made(plan), lambda _leg, _refined, _truth: None
        )
        found[f"scaled-{label}"] = _scaled(world, lambda mind, load, plan=plan: mind.scaled(load, plan))
    for grain in grains:
        label = {coarse: "coarse", fine: "fine"}.get(grain, grain)
        found[f"replanned-{label}"] = _controlled(world, VERIFIED, grain=grain)
    found["infless"] = _scaled(world, Mind.infless)
    found["esg"] = _scaled(world, Mind.esg)
    for name, (by, fluid) in ADAPTIVE.items():
        found[name] = _controlled(world, by, fluid=fluid)
    found["oracle-charged"] = _oracle(world)
    return found


def run(world: World, policy: Policy, day: int) -> Row:
    """Return what becomes of a policy on a day, minute by minute."""
    begun = begin(world, policy, day)
    if begun.plan is None:
        return {"infeasible": begun.why or "it has no plan to begin with"}
    plan, courses, refined = begun.plan, [], world.refined()
    for leg in legs(world, day):
        course = course_of(world, policy, leg, plan, day, refined=refined)
        plan = course.switches[-1].new if course.switches else plan
        courses.append(course)
    return _figures(courses)


def begin(world: World, policy: Policy, day: int) -> Made:
    """Return the plan that a policy begins a day with: for its first setting, on a calibration draw."""
    first = loads.settings(world.protocol, day)[0]
    rate = world.protocol.load.part(first.load) * world.capacity()
    mind = Mind(world.offer(first.slo * world.warm_latency()))
    return policy.begin(mind, planning(world, first.arrivals, rate))


def course_of(world: World, policy: Policy, leg: Leg, plan: Plan, day: int, *, refined: Refined) -> Course:
    """Return how one leg goes from the plan in force as it begins; `refined` is the profile so far, and learns on."""
    truth = Truth(world.true(leg.slo, world.truth(day)), leg)
    controller = policy.decides(leg, refined, truth)
    return drive(controller, Real(problem=truth.problem), leg.arrivals, plan, seed=1000 * day + leg.number)


def _scaled(world: World, plan: Callable[[Mind, Arrivals], Made]) -> Policy:
    def decides(leg: Leg, refined: Refined, _truth: Truth) -> Scaler:
        return Scaler(
            lambda: Mind(world.offer(leg.slo, refined.profile())),
            lambda mind, load: plan(mind, load).plan,
            refined,
        )

    return Policy(plan, decides)


def _controlled(world: World, by: str, *, grain: str = "", fluid: bool = False) -> Policy:
    habits = Habits(period=world.protocol.controller.period)

    def decides(leg: Leg, refined: Refined, _truth: Truth) -> Controller:
        problem = Mind(world.offer(leg.slo, refined.profile())).problem
        nodes = REPLAYED if by == SIMULATED else problem.limits.nodes
        limits = replace(problem.limits, grain=grain, fluid=fluid, nodes=nodes)
        return Controller(replace(problem, limits=limits), predictor(by), habits=habits, refined=refined)

    return Policy(lambda mind, load: mind.planned(load, grain=grain, fluid=fluid, by=by), decides)


def _oracle(world: World) -> Policy:
    """Return the controller with the truth and the load to come, judged by replay; it pays for switching as all do."""
    habits = Habits(period=world.protocol.controller.period)

    def decides(leg: Leg, _refined: Refined, truth: Truth) -> Controller:
        foresight = foreseeing(leg.arrivals, FORESIGHT)
        return Controller(truth.problem, predictor(VERIFIED), habits=habits, foresight=foresight)

    return Policy(lambda mind, load: mind.planned(load), decides)


def _figures(courses: list[Course]) -> Row:
    periods = [period for course in courses for period in course.periods]
    offered = np.array([period.offered for period in periods])
    hits = np.array([period.hits for period in periods])
    dollars = np.array([period.dollars for period in periods])
    return {
        "hit_rate": round(float(hits.sum() / offered.sum()), 5),
        "cost": float(f"{1e6 * dollars.sum() / offered.sum():.6g}"),
        "switches": sum(len(course.switches) for course in courses),
        "grains": len({one.new.grain for course in courses for one in course.switches}),
        "offered": offered.tolist(),
        "missed": (offered - hits).tolist(),
        "dollars": [float(f"{one:.4g}") for one in dollars],
    }
