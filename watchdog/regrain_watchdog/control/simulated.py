"""A scenario in closed loop: its apps on their nodes, those that adapt with a controller as a live one has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from regrain_watchdog.control.closed import Course, World
from regrain_watchdog.control.controller import Habits
from regrain_watchdog.control.fleet import EACH, JOINT, Fleet, Tenant
from regrain_watchdog.control.predictors import predictor
from regrain_watchdog.control.process import incoming
from regrain_watchdog.control.together import Mind
from regrain_watchdog.simulate.engine import Result
from regrain_watchdog.simulate.scenario import Scenario
from regrain_watchdog.simulate.static import Static

PERIODS = 120
"""Of a run, in each of which its cost is told."""


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """An app of a scenario, how it went with its plans, and what became of its requests."""

    app: Static
    course: Course
    result: Result


class Simulation:
    """The apps of a scenario on one clock.

    Raises:
        RegrainError: a predictor cannot be had.
    """

    def __init__(self, scenario: Scenario, apps: Sequence[Static]) -> None:
        by_node = {
            name: [app for app in apps if scenario.apps[app.name].node == name] for name in scenario.nodes
        }
        self._apps = apps
        self._by_node = [here for here in by_node.values() if here]
        self._fleets = [
            Fleet(
                [tenant(scenario, app) for app in here],
                plans=JOINT if scenario.nodes[name].plans == JOINT else EACH,
                seed=scenario.seed,
            )
            for name, here in by_node.items()
            if here
        ]

    def advance(self, until: float) -> None:
        """Go on to a time."""
        for fleet in self._fleets:
            fleet.advance(until)

    def ended(self) -> list[Done]:
        """Let all requests end; return how it went with the apps, in order."""
        found = {
            app.name: Done(app, course, result)
            for here, fleet in zip(self._by_node, self._fleets, strict=True)
            for app, (course, result) in zip(here, fleet.ended(), strict=True)
        }
        return [found[app.name] for app in self._apps]


def tenant(scenario: Scenario, app: Static) -> Tenant:
    """Return an app of a scenario as one that shares its node."""
    own = scenario.apps[app.name]
    mind = None
    if own.adapt:
        mind = Mind(problem=app.problem, predictor=predictor(own.predictor), habits=Habits(period=own.period))
    return Tenant(
        world=World(problem=app.problem, keeps=own.resident, period=max(1.0, scenario.duration / PERIODS)),
        arrivals=app.arrivals,
        plan=incoming(app.plan) if own.adapt else app.plan,
        mind=mind,
    )
