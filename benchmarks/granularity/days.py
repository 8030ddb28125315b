"""Days on which load and objective move, driven by the very controller: every policy sees the same requests.

A day is cut where its objective changes. That is a new deployment of the app onto the replicas that serve: the
controller begins anew with the plan in force, which holds for every policy alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.granularity import loads
from benchmarks.granularity.judge import planning
from benchmarks.granularity.pipelines import World
from benchmarks.granularity.policies import Made, Mind
from benchmarks.granularity.scaler import Scaler
from benchmarks.granularity.steady import Statics
from regrain.plan import Plan
from regrain_watchdog.control.closed import Course, drive, foreseeing
from regrain_watchdog.control.closed import World as Real
from regrain_watchdog.control.controller import Controller, Habits
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.predict.predictor import Predictor
from regrain_watchdog.policy.search.problem import Problem
from regrain_watchdog.simulate.predictor import Simulated

Row = dict[str, object]
BLOCK = 60.0
FORESIGHT = 120.0
"""Seconds that the oracle sees ahead."""
REPLAYED = 1000
"""Requests that predictors by replay are given at least."""
NODES = 100
"""Plans that a planner may have judged at a time, for every policy alike; for the usual 400 days have no time."""


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

    Only oracles look at the truth.
    """

    begin: Callable[[Mind, Arrivals], Made]
    decides: Callable[[Leg, Mind, Truth], Controller | Scaler | None]


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
    coarse, fine, *_ = grains = Mind(world.offer(world.warm_latency())).grains()
    found: dict[str, Policy] = {}
    for label, plan in statics.plans.items():
        found[f"static-{label}"] = Policy(
            lambda _mind, _load, plan=plan: Made(plan), lambda _leg, _mind, _truth: None
        )
        found[f"scaled-{label}"] = _scaled(lambda mind, load, plan=plan: mind.scaled(load, plan))
    for grain in grains:
        label = {coarse: "coarse", fine: "fine"}.get(grain, grain)
        found[f"replanned-{label}"] = _controlled(world, Analytic, grain=grain)
    found["infless"] = _scaled(Mind.infless)
    found["esg"] = _scaled(Mind.esg)
    found["adaptive-analytic"] = _controlled(world, Analytic)
    found["adaptive-simulated"] = _controlled(world, replay)
    found["adaptive-fluid"] = _controlled(world, replay, fluid=True)
    found["oracle-charged"] = _oracle(world)
    return found


def replay() -> Predictor:
    """Return the predictor by replay as days have it."""
    return Simulated(REPLAYED)


def run(world: World, policy: Policy, day: int) -> Row:
    """Return what becomes of a policy on a day, minute by minute."""
    begun = begin(world, policy, day)
    if begun.plan is None:
        return {"infeasible": begun.why or "it has no plan to begin with"}
    plan, courses = begun.plan, []
    for leg in legs(world, day):
        course = course_of(world, policy, leg, plan, day)
        plan = course.switches[-1].new if course.switches else plan
        courses.append(course)
    return _figures(courses)


def begin(world: World, policy: Policy, day: int) -> Made:
    """Return the plan that a policy begins a day with: for its first setting, on a calibration draw."""
    first = loads.settings(world.protocol, day)[0]
    rate = world.protocol.load.part(first.load) * world.capacity()
    mind = Mind(world.offer(first.slo * world.warm_latency()))
    return policy.begin(mind, planning(world, first.arrivals, rate))


def course_of(world: World, policy: Policy, leg: Leg, plan: Plan, day: int) -> Course:
    """Return how one leg goes from the plan in force as it begins."""
    truth = Truth(_true(world, leg.slo, day), leg)
    controller = policy.decides(leg, Mind(world.offer(leg.slo)), truth)
    return drive(controller, Real(problem=truth.problem), leg.arrivals, plan, seed=1000 * day + leg.number)


def _scaled(plan: Callable[[Mind, Arrivals], Made]) -> Policy:
    return Policy(plan, lambda _leg, mind, _truth: Scaler(mind, lambda load: plan(mind, load).plan))


def _controlled(
    world: World, predictor: Callable[[], Predictor], *, grain: str = "", fluid: bool = False
) -> Policy:
    habits = Habits(period=world.protocol.controller.period)

    def decides(_leg: Leg, mind: Mind, _truth: Truth) -> Controller:
        limits = replace(mind.problem.limits, grain=grain, fluid=fluid, nodes=NODES)
        return Controller(replace(mind.problem, limits=limits), predictor(), habits=habits)

    return Policy(lambda mind, load: mind.planned(load, grain=grain, fluid=fluid), decides)


def _oracle(world: World) -> Policy:
    """Return the controller with the truth and the load to come, judged by replay; it pays for switching as all do."""
    habits = Habits(period=world.protocol.controller.period)

    def decides(leg: Leg, mind: Mind, truth: Truth) -> Controller:
        limits = replace(mind.problem.limits, nodes=NODES)
        foresight = foreseeing(leg.arrivals, FORESIGHT)
        return Controller(replace(truth.problem, limits=limits), replay(), habits=habits, foresight=foresight)

    return Policy(lambda mind, load: mind.planned(load), decides)


def _true(world: World, slo: float, day: int) -> Problem:
    """Return the problem as it is on a day; not for policies."""
    offer = world.offer(slo)
    return Problem(
        app=offer.app, node=offer.node, prices=offer.prices, limits=offer.limits, times=world.truth(day)
    )


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
