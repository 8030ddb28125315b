"""Apps that share a node, each with a load that moves as on days: a planner for each app against one for all."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from msgspec import structs

from benchmarks.granularity import loads
from benchmarks.granularity import protocol as protocols
from benchmarks.granularity.pipelines import Setting, World
from benchmarks.granularity.predictors import ANALYTIC, predictor
from regrain_watchdog.control.closed import Course
from regrain_watchdog.control.closed import World as Real
from regrain_watchdog.control.controller import Habits
from regrain_watchdog.control.fleet import EACH, JOINT, Tenant, Way, drive_together
from regrain_watchdog.control.together import Mind
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.search.joint import plan_each
from regrain_watchdog.policy.search.problem import Problem

Row = dict[str, object]
POLICIES: dict[str, Way] = {"planned-each": EACH, "planned-together": JOINT}
NODES = 40
"""Plans that a planner may have judged at a time, by the analytic predictor: three apps are planned together."""
FIRST = 60.0
"""Seconds of a load that its first plan is made for."""


def run(policy: str, day: int) -> Row:
    """Return what becomes of a day, of all apps together minute by minute, and of each in all."""
    apps = _tenants(day)
    courses = drive_together(apps, plans=POLICIES[policy], seed=day)
    offered, hits, dollars = (
        np.sum([[getattr(one, what) for one in course.periods] for course in courses], axis=0)
        for what in ("offered", "hits", "dollars")
    )
    return {
        "hit_rate": round(float(hits.sum() / offered.sum()), 5),
        "cost": float(f"{1e6 * dollars.sum() / offered.sum():.6g}"),
        "switches": sum(len(course.switches) for course in courses),
        "apps": [_figures(course) for course in courses],
        "offered": offered.tolist(),
        "missed": (offered - hits).tolist(),
        "dollars": [float(f"{one:.4g}") for one in dollars],
    }


def _figures(course: Course) -> list[float]:
    return [round(course.hit_rate, 4), float(f"{1e6 * course.per_request:.5g}")]


def _tenants(day: int) -> list[Tenant]:
    """Return the apps with the plans that each in turn has for the begin of its load."""
    protocol = protocols.read()
    law = protocol.together
    worlds = [_world(name) for name in law.pipelines]
    arriving = [_arrivals(world, 10 * day + place) for place, world in enumerate(worlds)]
    believed = [_believed(world, law.slo * world.warm_latency()) for world in worlds]
    begins = [load.between(0.0, FIRST) for load in arriving]
    joint = plan_each(believed, begins, predictor(ANALYTIC), seed=day)
    habits = Habits(period=protocol.controller.period)
    return [
        Tenant(
            world=Real(problem=world.true(law.slo * world.warm_latency(), world.truth(10 * day + place))),
            arrivals=load,
            plan=chosen.plan,
            mind=Mind(problem=problem, predictor=predictor(ANALYTIC), habits=habits),
        )
        for place, (world, load, problem, chosen) in enumerate(
            zip(worlds, arriving, believed, joint.chosen, strict=True)
        )
    ]


@cache
def _world(name: str) -> World:
    protocol = protocols.read()
    return World(protocol, name, Setting.of(protocol, cards=protocol.together.cards))


def _arrivals(world: World, seed: int) -> Arrivals:
    """Return an app's requests: as on a day, of its part of the node."""
    protocol = world.protocol
    shorter = structs.replace(protocol, days=structs.replace(protocol.days, hours=protocol.together.hours))
    part = world.capacity() / len(protocol.together.pipelines)
    return loads.day(shorter, world.pipeline, part, seed=seed)[0]


def _believed(world: World, slo: float) -> Problem:
    offer = world.offer(slo)
    limits = replace(offer.limits, nodes=NODES)
    return Problem.of(offer.app, offer.node, offer.prices, limits)
