"""The joint controller: of several apps that share a node, it decides for all at once.

An app that could do with less makes room only where somebody wants it, which none of them can see alone. So the plans
are sought together (policy/search/joint). An app then goes over to its own where that pays for itself; and where that
would leave no room for the others, all go where it pays for all taken together.

It is pure, and it does less than `controller` does for an app alone: no plan is held against its prediction, and none
is taken back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from regrain.plan import Plan
from regrain_watchdog.control.controller import PERIOD, Habits
from regrain_watchdog.control.decision import Decision
from regrain_watchdog.control.observation import Observation
from regrain_watchdog.control.outlook import Expected, Outlook
from regrain_watchdog.control.standings import SHORT, Weighed
from regrain_watchdog.control.trial import Bucket
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import lists, make_model
from regrain_watchdog.policy.predict.predictor import Prediction, Predictor
from regrain_watchdog.policy.profile import OutOfRangeError
from regrain_watchdog.policy.search.joint import plan_together
from regrain_watchdog.policy.search.packing import pack_together
from regrain_watchdog.policy.search.problem import NoPlanError, Problem
from regrain_watchdog.policy.search.switching import switch
from regrain_watchdog.policy.switch import Reason, Standing, Terms, Verdict, judge

MOVED, RENEWED, PRESSED = 0.08, 300.0, 60.0
"""Part of an app's rate by which it must move for plans to be sought anew, and seconds after which they are anyway;
the same where all that were found miss an objective. What met it when it was found and does not any more, at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mind:
    """What is believed of an app, and how it is gone about.

    Attributes:
        problem: the app as it was profiled, the node, prices and limits.
        predictor: that judges.
        habits: of the controller.
    """

    problem: Problem
    predictor: Predictor
    habits: Habits = field(default_factory=Habits)


@dataclass(frozen=True, slots=True)
class _Outlooked:
    """An app at a wake: what is expected of its load, and how its plan and the one found for it stand."""

    expected: Expected
    present: Weighed
    found: Weighed


class Together:
    """Decides for the apps of one node.

    minds: of each app; all of them wake at the habits of the first, whose predictor judges. begin: when it begins to
    learn. seed: of the predictor's randomness.
    """

    def __init__(self, minds: Sequence[Mind], *, begin: float = 0.0, seed: int = 0) -> None:
        self._minds = minds
        self._habits = habits = minds[0].habits
        self._seed = seed
        self._outlooks = [
            Outlook(len(lists(mind.problem.app.graph)), begin=begin, window=habits.window, lean=habits.lean)
            for mind in minds
        ]
        self._calm = Bucket(habits.an_hour, habits.burst)
        self._urgent = Bucket(habits.urgent_an_hour, habits.urgent_burst)
        self._woken: list[str] = []
        self._next = begin
        self._target: tuple[Plan, ...] = ()
        self._rates: tuple[float, ...] = ()
        self._sought, self._misses = -math.inf, False
        self._number = 0

    def observe(self, seen: Sequence[Observation]) -> tuple[Decision, ...]:
        """Take in what happened to each app; return what was decided for each, or nothing where it sleeps on."""
        now = seen[0].now
        for mind, outlook, one in zip(self._minds, self._outlooks, seen, strict=True):
            name = mind.problem.app.manifest.app
            self._woken += [f"{name}: {change.what}" for change in outlook.take(one)]
        is_busy = any(one.is_changing for one in seen)
        if (not self._woken or is_busy) and now < self._next:
            return ()
        self._next = now + self._habits.period
        found = self._decide(seen, is_busy=is_busy)
        if not is_busy:
            self._woken = []
        return found

    def _decide(self, seen: Sequence[Observation], *, is_busy: bool) -> tuple[Decision, ...]:
        if is_busy or any(one.is_held for one in seen):
            return self._same(seen, Reason.BUSY if is_busy else Reason.HELD)
        loads = [outlook.expected() for outlook in self._outlooks]
        expected = [load for load in loads if load is not None]
        if len(expected) < len(loads):
            return self._same(seen, Reason.UNKNOWN, "too few requests have come")
        try:
            apps = self._look(seen, expected)
        except OutOfRangeError as error:
            return self._same(seen, Reason.UNKNOWN, str(error))
        except NoPlanError as error:
            return self._same(seen, Reason.NONE, str(error))
        goes, verdicts = self._choose(apps, seen[0].now)
        return tuple(
            self._decision(one, app, goes=go, verdict=verdict)
            for one, app, go, verdict in zip(seen, apps, goes, verdicts, strict=True)
        )

    def _look(self, seen: Sequence[Observation], expected: Sequence[Expected]) -> list[_Outlooked]:
        """Return how each app stands, and would stand with what is best for all."""
        now, rates = seen[0].now, tuple(one.load.rate for one in expected)
        still = self._rates and all(
            abs(rate / before - 1) <= MOVED for rate, before in zip(rates, self._rates, strict=True)
        )
        is_old = now - self._sought >= (PRESSED if self._misses else RENEWED)
        if still and not self._woken and not is_old:
            apps = self._standing(seen, expected)
            if self._misses or not self._is_missed(apps):
                return apps
        joint = plan_together(
            [mind.problem for mind in self._minds],
            [one.load for one in expected],
            self._minds[0].predictor,
            presents=[one.plan for one in seen],
            seed=self._seed,
        )
        self._target = tuple(one.plan for one in joint.chosen)
        self._rates, self._sought = rates, now
        apps = self._standing(seen, expected)
        self._misses = self._is_missed(apps)
        return apps

    def _standing(self, seen: Sequence[Observation], expected: Sequence[Expected]) -> list[_Outlooked]:
        return [
            _Outlooked(load, self._weighed(mind, one.plan, load, one), self._weighed(mind, target, load, one))
            for mind, one, load, target in zip(self._minds, seen, expected, self._target, strict=True)
        ]

    def _is_missed(self, apps: Sequence[_Outlooked]) -> bool:
        """Whether an objective is expected to be missed with the plans found."""
        return _met(apps, self._minds, found=True) < 1.0

    def _weighed(self, mind: Mind, plan: Plan, load: Expected, seen: Observation) -> Weighed:
        problem = mind.problem
        told = self._predict(mind, plan, load.load)
        way = switch(seen.living, plan, problem)
        return Weighed(
            plan=plan,
            cost=problem.cost(plan),
            hit_rate=told.hit_rate,
            p95=told.p95,
            busy=max(told.busy, default=0.0),
            charge=way.dollars,
            seconds=way.seconds,
        )

    def _predict(self, mind: Mind, plan: Plan, load: Arrivals) -> Prediction:
        problem = mind.problem
        model = make_model(problem.app, plan, problem.times)
        return self._minds[0].predictor.predict(model, load, seed=self._seed)

    def _choose(self, apps: Sequence[_Outlooked], now: float) -> tuple[list[bool], list[Verdict]]:
        """Return who goes over to the plan found for it, and why or why not."""
        verdicts = [self._verdict([app], [mind]) for app, mind in zip(apps, self._minds, strict=True)]
        differs = [app.found.plan != app.present.plan for app in apps]
        goes = [verdict.goes and other for verdict, other in zip(verdicts, differs, strict=True)]
        if not self._fits(apps, goes):
            together = self._verdict(apps, self._minds)
            goes = [together.goes and other for other in differs]
            verdicts = [together] * len(apps)
        for go, verdict in zip(goes, verdicts, strict=True):
            bucket = self._calm if verdict.reason is Reason.CHEAPER else self._urgent
            if go and not bucket.has(now):
                return [False] * len(apps), [Verdict(False, Reason.RATE)] * len(apps)
        if any(goes):
            first = verdicts[goes.index(True)]
            (self._calm if first.reason is Reason.CHEAPER else self._urgent).take(now)
        return goes, verdicts

    def _verdict(self, apps: Sequence[_Outlooked], minds: Sequence[Mind]) -> Verdict:
        """Judge the plans found against those in force, of some apps taken together."""
        habits = self._habits
        terms = Terms(
            attainment=1.0,
            slack=habits.slack,
            points=habits.points,
            saving=habits.saving,
            margin=habits.margin,
        )
        now = Standing(_met(apps, minds, found=False), sum(app.present.cost for app in apps))
        other = Standing(_met(apps, minds, found=True), sum(app.found.cost for app in apps))
        verdict = judge(
            now,
            other,
            charge=sum(app.found.charge for app in apps) + habits.risk * now.cost,
            dwell=min(app.expected.dwell for app in apps),
            terms=terms,
        )
        return self._cautious(verdict, apps, minds) if verdict.goes else verdict

    def _cautious(self, verdict: Verdict, apps: Sequence[_Outlooked], minds: Sequence[Mind]) -> Verdict:
        """Return a verdict to go, unless that may be regretted once the apps have their peaks of late again.

        A cheaper plan must all but meet the objective there, or do no worse than the present one. Where an app is to do
        with less for the sake of another, as much must be met there in all as now. Neither is done before loads have
        lasted for a while: most bursts end sooner than what is moved for them pays.
        """
        peaks = [self._at_peak(app, mind) for app, mind in zip(apps, minds, strict=True)]
        has_lasted = all(app.expected.is_settled for app in apps)
        if verdict.reason is Reason.CHEAPER:
            if not has_lasted:
                return Verdict(False, Reason.EARLY)
            return verdict if all(map(_bears, peaks, minds)) else Verdict(False, Reason.PEAK)
        gives = any(_hits(one.found) < _hits(one.present) for one in peaks)
        bears = _met(peaks, minds, found=True) >= _met(peaks, minds, found=False)
        return Verdict(False, Reason.TAKES) if gives and not (has_lasted and bears) else verdict

    def _at_peak(self, app: _Outlooked, mind: Mind) -> _Outlooked:
        """Return how an app stands, and would stand, if as many requests came as at the peak of late."""
        load, rate = app.expected.load, max(app.expected.peak, app.expected.load.rate)
        if rate > load.rate:
            load = load.scaled(rate)
        present, found = (
            replace(one, hit_rate=self._predict(mind, one.plan, load).hit_rate)
            for one in (app.present, app.found)
        )
        return _Outlooked(replace(app.expected, load=load, rate=rate), present, found)

    def _fits(self, apps: Sequence[_Outlooked], goes: Sequence[bool]) -> bool:
        problem = self._minds[0].problem
        plans = [
            ((app.found if go else app.present).plan, mind.problem.app.profile)
            for app, go, mind in zip(apps, goes, self._minds, strict=True)
        ]
        return pack_together([*plans, *problem.beside], problem.node) is not None

    def _same(self, seen: Sequence[Observation], reason: Reason, detail: str = "") -> tuple[Decision, ...]:
        """Leave all as it is."""
        self._number += 1
        return tuple(
            Decision(
                number=self._number,
                at=one.now,
                woken=self._why,
                reason=reason.name,
                sentence=reason.value,
                present=Weighed(plan=one.plan, cost=mind.problem.cost(one.plan)).told(None),
                detail=detail,
            )
            for mind, one in zip(self._minds, seen, strict=True)
        )

    def _decision(self, seen: Observation, app: _Outlooked, *, goes: bool, verdict: Verdict) -> Decision:
        self._number += 1
        rate = app.expected.rate
        return Decision(
            number=self._number,
            at=seen.now,
            woken=self._why,
            reason=verdict.reason.name,
            sentence=verdict.reason.value,
            plan=app.found.plan if goes else None,
            present=app.present.told(rate),
            candidates=(replace(app.found, verdict=verdict).told(rate),),
            rate=rate,
            planned=app.expected.load.rate,
            peak=app.expected.peak,
            dwell=app.expected.dwell,
        )

    @property
    def _why(self) -> str:
        return "; ".join(self._woken) or PERIOD


def _hits(one: Weighed) -> float:
    return one.hit_rate or 0.0


def _bears(peak: _Outlooked, mind: Mind) -> bool:
    """Whether the plan found all but meets the objective at the peak, or does no worse than the present one."""
    enough = mind.problem.app.slo.attainment - SHORT
    return _hits(peak.found) >= min(enough, _hits(peak.present))


def _met(apps: Sequence[_Outlooked], minds: Sequence[Mind], *, found: bool) -> float:
    """Return how much of what is asked for is expected to be met: hits over those that objectives ask for, up to 1."""
    hits = asked = 0.0
    for app, mind in zip(apps, minds, strict=True):
        attainment = mind.problem.app.slo.attainment
        rate = _hits(app.found if found else app.present)
        hits += app.expected.rate * min(rate, attainment)
        asked += app.expected.rate * attainment
    return 1.0 if hits >= asked - 1e-12 else hits / asked
