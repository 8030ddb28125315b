"""Several apps that share a node, in closed loop with the simulator, on one clock.

    courses = drive_together([Tenant(...), Tenant(...)], plans=JOINT)

With EACH every app has a controller of its own, which plans for what the others leave free now; with JOINT one decides
for all of them (control/together.py). What is decided comes into force only where it fits beside what the others have
in force then; while one of them changes, beside both its plans. So no plans are in force that the node has no room for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from msgspec import structs

from regrain.plan import Plan
from regrain_watchdog.control.closed import Course, Loop, World
from regrain_watchdog.control.controller import Controller
from regrain_watchdog.control.decision import Decision
from regrain_watchdog.control.observation import Observation
from regrain_watchdog.control.together import Mind, Together
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.profile import Profile
from regrain_watchdog.policy.search.packing import pack_together
from regrain_watchdog.simulate.engine import Result

Way = Literal["each", "joint"]
EACH: Way = "each"
JOINT: Way = "joint"
WAITS = 60.0
"""Seconds that a plan waits for the others to make room for it; then it is dropped."""
NO_ROOM = "it does not fit beside the other apps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An app on a node.

    Attributes:
        world: what is true of it; its node is that of all.
        arrivals: its requests, from 0 s on.
        plan: in force at first, its replicas warm.
        mind: what is believed by who changes its plan; None where it stays as it is.
    """

    world: World
    arrivals: Arrivals
    plan: Plan
    mind: Mind | None = None


def drive_together(tenants: Sequence[Tenant], *, plans: Way = EACH, seed: int = 0) -> tuple[Course, ...]:
    """Let loads arrive at apps that share a node, and have their plans changed; return how it went with each.

    Args:
        tenants: the apps.
        plans: whether each plans for itself, or one for all.
        seed: of the jitter of service times.
    """
    fleet = Fleet(tenants, plans=plans, seed=seed)
    fleet.advance(max(one.arrivals.span for one in tenants))
    return tuple(course for course, _ in fleet.ended())


class Fleet:
    """Apps on a node, that can be watched on their way."""

    def __init__(self, tenants: Sequence[Tenant], *, plans: Way = EACH, seed: int = 0) -> None:
        self._step = min(one.world.step for one in tenants)
        self._ticks = 0
        self._houses = [_House(one, seed) for one in tenants]
        self._minded = [house for house in self._houses if house.tenant.mind is not None]
        is_joint = plans == JOINT and len(self._minded) > 1
        self._minds: _Each | _Joint | None = None
        if self._minded:
            self._minds = (_Joint if is_joint else _Each)(self._houses, self._minded, seed)

    def advance(self, until: float) -> None:
        """Go on to a time, observation by observation."""
        while self._minds is not None and (self._ticks + 1) * self._step <= until + 1e-9:
            self._ticks += 1
            now = self._ticks * self._step
            self._minds.decide([house.see(now) for house in self._minded], now)
        if self._minds is None:
            for house in self._houses:
                house.go(until)

    def ended(self) -> tuple[tuple[Course, Result], ...]:
        """Let all requests end; return how it went with each app, and what became of its requests."""
        return tuple(house.close() for house in self._houses)


class _House(Loop):
    """An app in its loop, and what it holds of the node."""

    def __init__(self, tenant: Tenant, seed: int) -> None:
        super().__init__(tenant.world, tenant.arrivals, tenant.plan, seed)
        self.tenant = tenant
        self.profile: Profile = tenant.world.problem.app.profile

    def go(self, until: float) -> None:
        """Let requests go on to a time."""
        self._run.advance(until)
        if self.changes and self.changes[-1].at <= until:
            self.plan = self.changes[-1].new

    def see(self, now: float) -> Observation:
        """Go on to a time, and look."""
        self.go(now)
        return self._observation(now)

    def decided(self, decision: Decision, now: float) -> None:
        """Carry a decision out."""
        self.decisions.append(decision)
        if decision.plan is not None:
            self._change(decision.plan, now)

    def held(self, now: float) -> tuple[Plan, ...]:
        """Return the plans of which it may have replicas: the one in force, and while it changes the other one."""
        if not self._is_changing(now):
            return (self.plan,)
        before = self.changes[-2].new if len(self.changes) > 1 else self._first
        return before, self.changes[-1].new

    def close(self) -> tuple[Course, Result]:
        """Let all requests end."""
        course = self.ended()
        return course, self._run.result()


class _Node:
    """What all apps hold of a node."""

    def __init__(self, houses: Sequence[_House]) -> None:
        self._houses = houses
        self._node = houses[0].world.problem.node

    def beside(self, house: _House, now: float) -> list[tuple[Plan, Profile]]:
        """Return what the others hold, with the plans that they go over to."""
        return [(other.held(now)[-1], other.profile) for other in self._houses if other is not house]

    def fits(self, house: _House, plan: Plan, now: float) -> bool:
        """Whether a plan fits beside all that the others may hold at a time."""
        others = [other for other in self._houses if other is not house]
        return all(
            pack_together(
                [
                    (plan, house.profile),
                    *((held, other.profile) for held, other in zip(some, others, strict=True)),
                ],
                self._node,
            )
            is not None
            for some in product(*(other.held(now) for other in others))
        )


class _Each:
    """A controller for each app."""

    def __init__(self, houses: Sequence[_House], minded: Sequence[_House], seed: int) -> None:
        self._node = _Node(houses)
        self._minded = minded
        self._beside: list[list[tuple[Plan, Profile]]] = []
        self._controllers: list[Controller] = []
        for house in minded:
            mind = house.tenant.mind
            if mind is None:
                raise AssertionError("an app without a mind was given one")
            self._beside.append(self._node.beside(house, 0.0))
            problem = replace(mind.problem, beside=self._beside[-1])
            self._controllers.append(Controller(problem, mind.predictor, habits=mind.habits, seed=seed))

    def decide(self, seen: Sequence[Observation], now: float) -> None:
        """Ask every controller in turn, and carry out what finds room."""
        for house, beside, controller, one in zip(
            self._minded, self._beside, self._controllers, seen, strict=True
        ):
            beside[:] = self._node.beside(house, now)
            decision = controller.observe(one)
            if decision is None:
                continue
            if decision.plan is not None and not self._node.fits(house, decision.plan, now):
                decision = structs.replace(decision, plan=None, detail=NO_ROOM)
            house.decided(decision, now)


class _Joint:
    """One controller for all."""

    def __init__(self, houses: Sequence[_House], minded: Sequence[_House], seed: int) -> None:
        self._node = _Node(houses)
        self._minded = minded
        others = tuple((house.plan, house.profile) for house in houses if house not in minded)
        minds = [house.tenant.mind for house in minded]
        self._mind = Together(
            [
                replace(mind, problem=replace(mind.problem, beside=others))
                for mind in minds
                if mind is not None
            ],
            seed=seed,
        )
        self._due: dict[int, Decision] = {}

    def decide(self, seen: Sequence[Observation], now: float) -> None:
        """Ask for decisions where none is due, and carry out those that find room, as soon as they do."""
        busy = [replace(one, is_changing=one.is_changing or bool(self._due)) for one in seen]
        for place, decision in enumerate(self._mind.observe(busy)):
            if decision.plan is None:
                self._minded[place].decided(decision, now)
            else:
                self._due[place] = decision
        for place, decision in list(self._due.items()):
            house = self._minded[place]
            if decision.plan is not None and self._node.fits(house, decision.plan, now):
                house.decided(decision, now)
                del self._due[place]
            elif now - decision.at > WAITS:
                house.decided(structs.replace(decision, plan=None, detail=NO_ROOM), now)
                del self._due[place]
