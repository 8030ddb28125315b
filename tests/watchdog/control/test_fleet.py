"""Apps that share a node: what is in force at any time fits on it, and equal runs are equal."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from regrain.cards import Card
from regrain.graph import Graph, Node, Ref
from regrain.manifest import GPUSpec, Manifest, Parameter, SLOSpec, StageSpec
from regrain.plan import Plan
from regrain_watchdog.control.closed import Course, World, drive
from regrain_watchdog.control.controller import Controller
from regrain_watchdog.control.fleet import EACH, JOINT, NO_ROOM, Fleet, Mind, Tenant, Way, drive_together
from regrain_watchdog.policy.cost import GIB
from regrain_watchdog.policy.cost import Node as Machine
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Application
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.profile import Point, Profile, StageProfile
from regrain_watchdog.policy.search.joint import plan_each
from regrain_watchdog.policy.search.packing import pack_together
from regrain_watchdog.policy.search.planner import Planner
from regrain_watchdog.policy.search.problem import Limits, Problem

SPAN = 240.0
LIMITS = Limits(shares=(0.2, 0.4, 0.6, 0.8), sizes=(1, 4), nodes=60)


def problem(works: tuple[float, float], cards: int) -> Problem:
    """Return two stages in a row that need all of a card to take these seconds, on a node with some cards."""
    stages = tuple(
        StageSpec(name=f"s{place}", digest="", batched=True, max_size=4, gpu=GPUSpec(memory=GIB))
        for place in range(2)
    )
    graph = Graph(("x",), (Node("s0", (Ref("$x"),)), Node("s1", (Ref("s0"),))), Ref("s1"))
    kind = Parameter(name="x", kind="json")
    manifest = Manifest(app="two", stages=stages, graph=graph, parameters=(kind,), answer=kind)
    measured = {
        f"s{place}": StageProfile(
            digest="",
            on_gpu=True,
            load=2.0,
            weights=GIB // 4,
            points=tuple(
                Point(batch, 0.0, share, seconds * (0.4 + 0.6 * batch) * max(1.0, 0.6 / share))
                for share in LIMITS.shares
                for batch in (1, 4)
            ),
        )
        for place, seconds in enumerate(works)
    }
    app = Application(
        manifest=manifest,
        profile=Profile(app="two", stages=measured, context=GIB // 2),
        slo=SLOSpec(latency=0.3, attainment=0.9),
    )
    card = Card(name="v100", sms=80, memory=16 * GIB, price=3.0)
    return Problem.of(app, Machine(cards=(card,) * cards, cores=16, memory=64 * GIB), limits=LIMITS)


def arriving(before: float, after: float, seed: int) -> Arrivals:
    """Return requests at one rate for half of the time, then at another."""
    rng = np.random.default_rng(seed)
    half = SPAN / 2
    first, second = (rng.uniform(0, half, round(rate * half)) for rate in (before, after))
    at = np.sort(np.concatenate([first, half + second]))
    return Arrivals(at, np.zeros(len(at)), np.zeros((len(at), 0), np.int32), SPAN)


def tenants(cards: int, rates: tuple[tuple[float, float], ...]) -> list[Tenant]:
    """Return apps with a load each, with plans for the first of it that fit beside each other."""
    problems = [problem(works, cards) for works in ((0.02, 0.03), (0.03, 0.01))]
    loads = [arriving(*pair, seed) for seed, pair in enumerate(rates)]
    begin = plan_each(problems, [load.between(0, SPAN / 2) for load in loads], Analytic())
    return [
        Tenant(
            world=World(problem=one),
            arrivals=load,
            plan=chosen.plan,
            mind=Mind(problem=one, predictor=Analytic()),
        )
        for one, load, chosen in zip(problems, loads, begin.chosen, strict=True)
    ]


def in_force(tenant: Tenant, course: Course, at: float) -> Plan:
    return [tenant.plan, *(one.new for one in course.switches if one.at <= at)][-1]


@pytest.mark.parametrize("plans", [EACH, JOINT])
@pytest.mark.parametrize("believed", [1, 4])
def test_plans_in_force_together_never_take_more_than_the_node_has(plans: Way, believed: int) -> None:
    apps = []
    for app in tenants(1, ((3, 20), (14, 20))):
        assert app.mind is not None
        node = problem((0.02, 0.03), believed).node
        mind = replace(app.mind, problem=replace(app.mind.problem, node=node))
        apps.append(replace(app, mind=mind))

    courses = drive_together(apps, plans=plans)

    changes = sorted({one.at for course in courses for one in course.switches})
    assert changes
    for at in changes:
        taken = [
            (in_force(app, course, at), app.world.problem.app.profile)
            for app, course in zip(apps, courses, strict=True)
        ]
        assert pack_together(taken, apps[0].world.problem.node) is not None
    refused = [one for course in courses for one in course.decisions if one.detail == NO_ROOM]
    assert bool(refused) == (believed > 1)


@pytest.mark.parametrize("plans", [EACH, JOINT])
def test_equal_runs_are_equal(plans: Way) -> None:
    one, other = (drive_together(tenants(2, ((3, 12), (12, 3))), plans=plans, seed=4) for _ in range(2))

    assert [course.decisions for course in one] == [course.decisions for course in other]
    assert [course.outcome.tolist() for course in one] == [course.outcome.tolist() for course in other]


def test_an_app_alone_goes_as_without_a_fleet() -> None:
    (app, _) = tenants(2, ((3, 12), (12, 3)))
    assert app.mind is not None

    (alone,) = drive_together([app], plans=JOINT)

    course = drive(Controller(app.mind.problem, app.mind.predictor), app.world, app.arrivals, app.plan)
    assert alone.decisions == course.decisions
    assert alone.dollars == course.dollars
    assert alone.outcome.tolist() == course.outcome.tolist()


def test_together_room_is_made_for_an_app_whose_load_grows() -> None:
    apps = tenants(1, ((2, 16), (12, 2)))
    alone = [
        Planner(app.world.problem).plan(app.arrivals.between(SPAN / 2, SPAN), Analytic()) for app in apps
    ]

    courses = drive_together(apps, plans=JOINT)

    assert [bool(course.switches) for course in courses] == [True, True]
    assert courses[0].switches[-1].new.groups != apps[0].plan.groups
    cost = sum(course.periods[-1].dollars / 60 for course in courses)
    assert cost < 1.3 * sum(choice.cost for choice in alone)


def test_apps_that_keep_their_plans_are_left_their_room() -> None:
    growing, still = tenants(1, ((2, 30), (10, 10)))
    still = Tenant(world=still.world, arrivals=still.arrivals, plan=still.plan)

    for plans in (EACH, JOINT):
        grown, kept = drive_together([growing, still], plans=plans)

        assert not kept.decisions
        assert grown.decisions
        for one in grown.switches:
            taken = [(plan, growing.world.problem.app.profile) for plan in (one.new, still.plan)]
            assert pack_together(taken, growing.world.problem.node) is not None


def test_a_fleet_can_be_watched_on_its_way() -> None:
    whole, parts = (Fleet(tenants(2, ((3, 12), (12, 3)))) for _ in range(2))

    whole.advance(SPAN)
    for until in np.linspace(0, SPAN, 7)[1:].tolist():
        parts.advance(until)

    for (one, result), (other, same) in zip(whole.ended(), parts.ended(), strict=True):
        assert Counter(decision.reason for decision in one.decisions) == Counter(
            decision.reason for decision in other.decisions
        )
        assert np.array_equal(result.latency, same.latency, equal_nan=True)
        assert math.isfinite(one.dollars)
