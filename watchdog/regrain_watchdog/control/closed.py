"""The controller in closed loop with the simulator: what it decides is carried out, and it sees what comes of it.

    course = drive(Controller(believed, Analytic()), World(problem=true), arrivals, plan)
    course.hit_rate, course.dollars, course.periods

What the controller believes and what is true may differ: each has a problem, and so a profile, of its own. It is told
of the calls of stages as the front tells of them, so that one that refines its profile learns. Without a controller the
plan stays as it is. A frozen grain is the controller's `Limits.grain`, an oracle its `foresight`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from regrain.plan import Group, Plan
from regrain_watchdog.control.controller import Foresight
from regrain_watchdog.control.decision import Decision
from regrain_watchdog.control.observation import Observation, living_of, widened
from regrain_watchdog.control.outlook import PEAK, Expected
from regrain_watchdog.policy import resident
from regrain_watchdog.policy.load import Arrivals, counts
from regrain_watchdog.policy.model import Model, make_model
from regrain_watchdog.policy.refine import Seen
from regrain_watchdog.policy.resident import Living
from regrain_watchdog.policy.search.problem import Problem
from regrain_watchdog.policy.search.switching import switch
from regrain_watchdog.simulate.engine import IN_TIME, UNFINISHED, Run, Worked

Floats = NDArray[np.float64]
ROUNDING = 1e-9
"""Part of the span by which the begin of a record may lie before its end and be that end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is true.

    Attributes:
        problem: the app with its true profile; the node and the prices that are paid. Its limits do not matter.
        keeps: which stages replicas keep loaded (policy/resident.py).
        step: seconds between two observations.
        period: seconds of a record.
    """

    problem: Problem
    keeps: str = resident.PLAN
    step: float = 1.0
    period: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What became of some seconds.

    Attributes:
        begin: seconds since the first.
        plan: in force at their begin.
        offered, hits: requests that arrived in them, and those of them that were answered in time, then or later.
        dollars: for what was reserved, both plans during a change and replicas that load included, and for requests.
    """

    begin: float
    plan: Plan
    offered: int
    hits: int
    dollars: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A change of plan: when it was decided, when it came into force, and when the old one had ended its calls."""

    decided: float
    at: float
    drained: float
    old: Plan
    new: Plan


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Course:
    """How it went.

    Attributes:
        outcome: (n,) of each request, as simulate.engine.Result has it.
    """

    periods: tuple[Period, ...]
    switches: tuple[Switch, ...]
    decisions: tuple[Decision, ...]
    outcome: NDArray[np.int8]

    @property
    def hit_rate(self) -> float:
        """Share of all offered requests that were answered in time; 1.0 of none."""
        return float((self.outcome == IN_TIME).mean()) if len(self.outcome) else 1.0

    @property
    def dollars(self) -> float:
        """What it cost in all."""
        return sum(period.dollars for period in self.periods)

    @property
    def per_request(self) -> float:
        """Dollars for each offered request."""
        return self.dollars / max(1, len(self.outcome))


class Decides(Protocol):
    """Whoever may be driven: a controller, or what decides in its place."""

    def observe(self, seen: Observation, /) -> Decision | None:
        """Take in what happened; return what was decided, or None."""


def drive(
    controller: Decides | None, world: World, arrivals: Arrivals, plan: Plan, *, seed: int = 0
) -> Course:
    """Let a load arrive at a plan, and a controller change it.

    Args:
        controller: that decides; None to keep the plan.
        world: what is true.
        arrivals: the requests, from 0 s on.
        plan: in force at first, its replicas warm.
        seed: of the jitter of service times.
    """
    loop = Loop(world, arrivals, plan, seed)
    if controller is not None:
        for now in np.arange(world.step, arrivals.span + 1e-9, world.step).tolist():
            loop.advance(now, controller)
    return loop.ended()


def foreseeing(arrivals: Arrivals, seconds: float) -> Foresight:
    """Return the foresight of an oracle: the load to plan for is that of the next so many seconds, as it will come."""

    def foresee(now: float) -> Expected | None:
        load = arrivals.between(now, min(now + seconds, arrivals.span))
        if not len(load):
            return None
        peak = float(counts(load, PEAK).max(initial=0.0)) / PEAK
        return Expected(load=load, rate=load.rate, peak=max(peak, load.rate), dwell=seconds)

    return foresee


@dataclass(slots=True)
class _Change:
    """A change under way: decided, and in force from a time on."""

    decided: float
    at: float
    new: Plan
    surplus: float
    before: int
    extra: float


class Loop:
    """Carries decisions out in the simulator, and keeps account."""

    def __init__(self, world: World, arrivals: Arrivals, plan: Plan, seed: int) -> None:
        self.world = world
        self.arrivals = arrivals
        self.plan = self._first = plan
        self.decisions: list[Decision] = []
        self.changes: list[_Change] = []
        self._hits = self._ended = self._counted = 0
        self._settled = self._settled_hits = 0
        self._size = 0.0
        self._shares: dict[int, tuple[Model, dict[str, float]]] = {}
        self._worked: tuple[Worked, ...] = ()
        self._run = Run(self._model(plan), arrivals, seed=seed)

    def advance(self, now: float, controller: Decides) -> None:
        """Go on to a time, and ask the controller."""
        self._run.advance(now)
        if self.changes and self.changes[-1].at <= now:
            self.plan = self.changes[-1].new
        decision = controller.observe(self._observation(now))
        if decision is None:
            return
        self.decisions.append(decision)
        if decision.plan is not None:
            self._change(decision.plan, now)

    def ended(self) -> Course:
        """Let all requests end; return how it went."""
        self._run.advance()
        result = self._run.result()
        switches = self._switches(result.finish)
        span = self.arrivals.span
        inside = np.arange(0.0, span, self.world.period)
        edges = np.append(inside[inside < span * (1 - ROUNDING)], span)
        spent = np.diff(self._spent(edges, switches))
        places = np.searchsorted(self.arrivals.at, edges)
        hits = np.concatenate([[0], np.cumsum(result.outcome == IN_TIME)])
        begins = [one.at for one in switches]
        plans = [self._first, *(one.new for one in switches)]
        request = self.world.problem.prices.request
        periods = tuple(
            Period(
                begin=float(edges[place]),
                plan=plans[bisect_right(begins, float(edges[place]))],
                offered=int(last - first),
                hits=int(hits[last] - hits[first]),
                dollars=float(spent[place]) + request * int(last - first),
            )
            for place, (first, last) in enumerate(pairwise(places.tolist()))
        )
        return Course(
            periods=periods, switches=switches, decisions=tuple(self.decisions), outcome=result.outcome
        )

    def _model(self, plan: Plan) -> Model:
        problem = self.world.problem
        model = make_model(problem.app, plan, problem.times)
        self._shares[id(model)] = model, _shares(plan, problem)
        return model

    def _living(self, plan: Plan) -> tuple[Living, ...]:
        order = self.world.problem.app.graph.stages
        return living_of(plan, lambda group: resident.kept(self.world.keeps, group.stages, order))

    def _change(self, plan: Plan, now: float) -> None:
        """Have a plan come into force once what it lacks has loaded."""
        living, problem = self._living(self.plan), self.world.problem
        way = switch(living, plan, problem)
        homes = resident.cast(living, plan.groups).homes
        gone = [one.group for one in living if one.number not in homes]
        surplus = sum(
            self._rate(structs.replace(group, replicas=gone.count(group.name)))
            for group in self.plan.groups
            if group.name in gone
        )
        at = now + way.seconds
        before = int(np.searchsorted(self.arrivals.at, at))
        extra = way.dollars / way.seconds if way.seconds else 0.0
        self.changes.append(_Change(now, at, plan, surplus, before, extra))
        self._run.change(self._model(plan), at=at)
        if at <= now:
            self.plan = plan

    def _rate(self, *groups: Group) -> float:
        return self.world.problem.cost(Plan(groups))

    def _observation(self, now: float) -> Observation:
        at = self.arrivals.at
        first, self._counted = self._counted, int(np.searchsorted(at, now, side="right"))
        size = self.arrivals.size[first : self._counted]
        if len(size):
            self._size = float(size.mean())
        hits, ended = self._outcomes()
        fresh_hits, fresh = hits - self._hits, ended - self._ended
        self._hits, self._ended = hits, ended
        return Observation(
            now=now,
            at=at[first : self._counted],
            size=size,
            first=first,
            widened=widened(self.arrivals.widths[first : self._counted], first),
            hits=fresh_hits,
            misses=fresh - fresh_hits,
            plan=self.plan,
            living=self._living(self.plan),
            is_changing=self._is_changing(now),
            seen=self._seen(),
        )

    def _seen(self) -> tuple[Seen, ...]:
        """Return the calls that were handed out before the last look, by now at their end."""
        calls, self._worked = self._worked, self._run.worked()
        stages = self.world.problem.app.graph.stages
        return tuple(
            Seen(
                stage=stages[one.stage],
                share=self._shares[id(one.model)][1][stages[one.stage]],
                units=one.units,
                calls=one.calls,
                seconds=one.seconds,
                size=self._size,
            )
            for one in calls
        )

    def _outcomes(self) -> tuple[int, int]:
        """Return the hits so far, and the requests that have ended."""
        outcome = self._run.result(self._settled).outcome
        under_way = np.flatnonzero(outcome == UNFINISHED)
        settled = int(under_way[0]) if len(under_way) else len(outcome)
        hits = self._settled_hits + int((outcome == IN_TIME).sum())
        ended = self._settled + len(outcome) - len(under_way)
        self._settled_hits += int((outcome[:settled] == IN_TIME).sum())
        self._settled += settled
        return hits, ended

    def _is_changing(self, now: float) -> bool:
        """Whether a plan is on its way, or the one before still ends its calls."""
        return bool(self.changes) and (now < self.changes[-1].at or self._settled < self.changes[-1].before)

    def _switches(self, finish: Floats) -> tuple[Switch, ...]:
        found, old = [], self._first
        for one in self.changes:
            drained = max(one.at, float(np.nanmax(finish[: one.before], initial=one.at)))
            found.append(Switch(decided=one.decided, at=one.at, drained=drained, old=old, new=one.new))
            old = one.new
        return tuple(found)

    def _spent(self, times: Floats, switches: Sequence[Switch]) -> Floats:
        """Return the dollars that were spent on what was reserved up to some times."""
        spent = self._rate(*self._first.groups) * times
        for one, change in zip(switches, self.changes, strict=True):
            more = self._rate(*one.new.groups) - self._rate(*one.old.groups)
            spent = spent + more * np.maximum(0.0, times - one.at)
            spent = spent + change.extra * np.clip(times - one.decided, 0.0, one.at - one.decided)
            spent = spent + change.surplus * np.clip(times - one.at, 0.0, one.drained - one.at)
        return np.asarray(spent, dtype=np.float64)


def _shares(plan: Plan, problem: Problem) -> dict[str, float]:
    """Return, by stage, the share of a GPU that its calls have, or the cores that one without a GPU declares."""
    stages = problem.app.profile.stages
    return {
        name: queue.gpu.fraction
        if queue.gpu is not None and stages[name].on_gpu
        else problem.app.manifest.stage(name).cpu
        for group in plan.groups
        for queue in group.queues
        for name in queue.stages
    }
