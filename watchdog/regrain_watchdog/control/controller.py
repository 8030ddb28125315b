"""The controller: what it observes goes in, the plan that is to rule comes out, with the reason.

It is pure: time comes in with the observations, and equal ones give equal decisions, so that the live system and the
simulator run the very same. Nothing of a decision depends on what arrives after it.

It wakes every few seconds, when the load has changed, and when the plan in force falls short of what was predicted. It
then judges the plan in force and others under the load that is expected, and goes over where that pays (policy/switch).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from regrain.plan import Plan
from regrain_watchdog.control.caution import FAR_SHORT, MISSED, Caution
from regrain_watchdog.control.decision import Decision, finite
from regrain_watchdog.control.observation import Observation
from regrain_watchdog.control.outcome import Outcome
from regrain_watchdog.control.outlook import WATCHED, Expected, Outlook
from regrain_watchdog.control.refused import Refused
from regrain_watchdog.control.standings import Standings, Weighed
from regrain_watchdog.control.trial import Bucket, Distrust, Trial
from regrain_watchdog.policy.change import Change
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import lists
from regrain_watchdog.policy.predict.predictor import Predictor
from regrain_watchdog.policy.profile import OutOfRangeError, ProfileError
from regrain_watchdog.policy.refine import Refined
from regrain_watchdog.policy.search.problem import NoPlanError, Problem
from regrain_watchdog.policy.switch import Reason, Terms

PERIOD = "period"
SHORTFALL = "the plan falls short of its prediction"
REFUSED = "there was no room for the plan that was asked for"
PATIENCE = 5.0
"""Seconds after which a plan that was asked for, and for which nothing is under way, counts as refused."""
ANOTHER, SAME = 0.2, 0.1
"""Part of the rate by which a load must differ to be another one, and up to which it is the same."""
AGAIN, OFF, YOUNG = 2.5, 0.1, "the rate since the change is another than was planned for"
"""Seconds after a look before another one while the rate after a change is vague, and is off or a saving waits for it;
by how much it must be off, and what such a look is for."""
GUARDED = 12
"""Candidates that are looked at, the best first, until one may be taken."""

Foresight = Callable[[float], Expected | None]
"""Gives the load to plan for at a time, in place of what was observed: for oracles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How the controller goes about it.

    Attributes:
        period: seconds between two wakes where nothing changes.
        window: seconds of requests that stand for those to come.
        lean: how far from the rate that is expected to the one that is rarely exceeded is planned for, in [0, 1].
        an_hour, burst: changes an hour while the objective is met, and how many of them may follow each other.
        urgent_an_hour, urgent_burst: likewise while it is missed.
        slack, points, saving, again, margin: as in policy.switch.Terms.
        risk: seconds of the present plan's cost that any change for a cheaper one is charged, so that none is made for
            next to nothing.
    """

    period: float = 15.0
    window: float = 300.0
    lean: float = 0.5
    an_hour: float = 12.0
    burst: int = 3
    urgent_an_hour: float = 60.0
    urgent_burst: int = 6
    slack: float = 0.02
    points: float = 0.005
    saving: float = 0.1
    again: float = 0.2
    margin: float = 0.5
    risk: float = 30.0


@dataclass(slots=True)
class _Asked:
    """A plan that was asked for: when, for what rate, what was predicted of it, and whether the way there was begun."""

    plan: Plan
    at: float
    rate: float
    before: Plan | None
    predicted: float | None
    is_begun: bool = False


class Controller:
    """Decides for one app on one node.

    problem: the app, the node, prices and limits; with `limits.grain` set the grain is never changed.
    predictor: that judges. begin: when it begins to learn.
    refined: learns from the calls of stages; None where the profile is to be taken as it is.
    foresight: for oracles.

    Attributes:
        failures: how often planning has failed.
    """

    def __init__(
        self,
        problem: Problem,
        predictor: Predictor,
        *,
        begin: float = 0.0,
        habits: Habits | None = None,
        seed: int = 0,
        refined: Refined | None = None,
        foresight: Foresight | None = None,
    ) -> None:
        self.failures = 0
        self._habits = habits = habits or Habits()
        graph = problem.app.graph
        self._outlook = Outlook(len(lists(graph)), begin=begin, window=habits.window, lean=habits.lean)
        self._foresight = foresight
        self._refined = refined
        terms = Terms(
            attainment=problem.app.slo.attainment,
            slack=habits.slack,
            points=habits.points,
            saving=habits.saving,
            again=habits.again,
            margin=habits.margin,
        )
        self._standings = Standings(problem, predictor, terms, risk=habits.risk, seed=seed)
        self._distrust, self._refused, self._caution = Distrust(), Refused(), Caution(begin)
        self._calm = Bucket(habits.an_hour, habits.burst)
        self._urgent = Bucket(habits.urgent_an_hour, habits.urgent_burst)
        self._trial: Trial | None = None
        self._asked: _Asked | None = None
        self._woken: list[str] = []
        self._now = self._looked = begin
        self._next = begin + (min(habits.period, WATCHED) if foresight is None else 0.0)
        self._attainment, self._enough = terms.attainment, terms.attainment - terms.slack
        self._rate = self._looked_for = self._taken_for = math.nan
        self._number = 0
        self._saved = -math.inf

    def observe(self, seen: Observation) -> Decision | None:
        """Take in what happened, about once a second; return what was decided, or None where it sleeps on.

        A decision's plan is to be put in force; without one the plan in force stays. That planning fails is a decision
        too: the plan stays, and `failures` counts it.
        """
        self._woken += [str(change) for change in self._learn(seen)]
        is_busy = seen.is_changing or self._asked is not None
        if not self._woken and not is_busy and self._is_off(seen.now):
            self._woken.append(YOUNG)
        if (not self._woken or is_busy) and seen.now < self._next:
            return None
        self._looked = seen.now
        measured = self._trial.measured if self._trial is not None else math.nan  # deciding may forget it
        outcome = self._outcome(seen)
        waits = outcome.reason is Reason.EARLY and self._outlook.young is not None
        self._next = seen.now + (AGAIN if waits else self._habits.period)
        decision = self._decision(outcome, seen, measured)
        if outcome.reason is not Reason.BUSY:
            self._woken = []
        return decision

    def recall(self, seen: Observation) -> None:
        """Learn from what happened before it began to decide; the next observation is then decided on at once."""
        self._learn(seen)
        self._woken, self._next = [], seen.now

    def _learn(self, seen: Observation) -> tuple[Change, ...]:
        """Take in what happened; return what of the load has changed."""
        seconds, self._now = seen.now - self._now, seen.now
        changes = self._outlook.take(seen)
        if self._refined is not None:
            for calls in seen.seen:
                self._refined.take(calls)
        self._follow(seen, seconds)
        if changes and self._trial is not None:
            self._trial.begin()
        return changes

    def _is_off(self, now: float) -> bool:
        """Whether a change was planned for too early: the rate since then has moved on."""
        if self._foresight is not None or now - self._looked < AGAIN:
            return False
        young = self._outlook.young
        return young is not None and abs(young / self._looked_for - 1) > OFF

    def _follow(self, seen: Observation, seconds: float) -> None:
        """Hold the plan in force against its prediction, and see what became of one that was asked for."""
        if self._asked is not None:
            self._follow_asked(seen, self._asked)
        if seen.is_changing:
            return
        if self._trial is None or self._trial.plan != seen.plan:
            self._trial = Trial(seen.plan)
        elif self._trial.follow(seconds, seen.hits, seen.misses):
            self._woken.append(SHORTFALL)

    def _follow_asked(self, seen: Observation, asked: _Asked) -> None:
        """See whether a plan that was asked for has come into force; one that was never begun found no room."""
        if seen.is_changing:
            asked.is_begun = True
        elif seen.plan == asked.plan:
            self._trial, self._asked, self._taken_for = Trial(asked.plan, asked.before), None, asked.rate
            if asked.predicted is not None:
                self._trial.expect(asked.predicted)
        elif seen.now - asked.at >= PATIENCE:
            self._distrust.add(asked.plan, seen.now)
            self._asked = None
            if not asked.is_begun and not seen.is_held:
                self._refused.add(asked.plan, seen.plan, seen.living, self._standings.problem, seen.now)
                self._woken.append(REFUSED)

    def _outcome(self, seen: Observation) -> Outcome:
        """Decide; whatever goes wrong leaves the plan in force."""
        if seen.is_held:
            return Outcome(Reason.HELD)
        if seen.is_changing or self._asked is not None:
            return Outcome(Reason.BUSY)
        try:
            return self._decide(seen)
        except (OutOfRangeError, ProfileError) as error:
            return Outcome(Reason.UNKNOWN, detail=str(error))
        except NoPlanError as error:
            return Outcome(Reason.NONE, detail=str(error))
        except Exception as error:  # a predictor is anybody's, and the app is served on
            self.failures += 1
            return Outcome(Reason.FAILED, detail=f"{type(error).__name__}: {error}")

    def _decide(self, seen: Observation) -> Outcome:
        expected = self._expected(seen.now)
        if expected is None:
            return Outcome(Reason.UNKNOWN, detail="too few requests have come, or for too short a time")
        if self._refined is not None:
            self._standings.learn(self._refined)
        trial = self._trial or Trial(seen.plan)
        self._looked_for = expected.rate
        if not abs(expected.rate / self._rate - 1) <= ANOTHER:
            if not expected.is_bursty:
                trial.begin()
            self._rate = expected.rate
        looks, present = self._looks(seen, expected, trial)
        if trial.failed:
            self._distrust.add(seen.plan, seen.now)
            self._grow_cautious(FAR_SHORT)
            trial.begin()
            back = self._back(trial, present, looks, seen, expected.load)
            if back is not None:
                return replace(self._go(Reason.ROLLBACK, back, seen, looks, expected), present=present)
        elif looks[0].hit_rate is not None:
            trial.expect(looks[0].hit_rate)
        outcome = self._choose(present, looks[1:], seen, expected)
        bears = self._standings.bears(present, expected.load) if outcome.plan is None else None
        return replace(outcome, present=present, bears=bears)

    def _expected(self, now: float) -> Expected | None:
        """Return the load to plan for: more than is expected where plans did worse of late than predicted."""
        if self._foresight is not None:
            return self._foresight(now)
        expected, trial = self._outlook.expected(), self._trial
        if trial is not None and trial.misled(self._attainment, self._enough):
            self._grow_cautious(MISSED)
            trial.forgive()
        if expected is None:
            return None
        return self._caution.over(expected, now, in_vain=self._standings.in_vain)

    def _grow_cautious(self, by: float) -> None:
        """Plan for more from here on, unless there is no plan that would do what comes."""
        if math.isinf(self._standings.in_vain):
            self._caution.grow(by)

    def _looks(self, seen: Observation, expected: Expected, trial: Trial) -> tuple[list[Weighed], Weighed]:
        """Return how plans stand and the one in force is held to; others are sought anew where that one misses."""
        problem = self._standings.problem

        def leads(plan: Plan) -> bool:
            return self._refused.leads(plan, seen.plan, seen.living, problem, seen.now)

        look = partial(
            self._standings.look, expected, seen.plan, living=seen.living, now=seen.now, leads=leads
        )
        looks = look(anew=any(one != SHORTFALL for one in self._woken))
        present = self._doubted(_measured(looks[0], trial), trial, expected)
        if self._misses(present) and self._standings.is_old(seen.now, expected.load.rate):
            looks = look(anew=False, misses=True)
        return looks, present

    def _misses(self, present: Weighed) -> bool:
        return present.hit_rate is not None and present.hit_rate < self._enough

    def _doubted(self, present: Weighed, trial: Trial, expected: Expected) -> Weighed:
        """Return the plan in force as meeting the objective where it may: what is told of the load is off by some.

        It may where it was not measured to fall short, and where the requests that are sure to come would be in time
        and were in the long run, or those were of a bursty load or so far of the very load that it was taken for.
        """
        if not self._misses(present) or trial.failed or trial.bounds()[1] < self._attainment:
            return present
        counts = expected.is_bursty if trial.is_known else self._is_same(expected)
        may = counts and trial.measured >= self._enough
        if not may and expected.low < expected.load.rate and not trial.long_run < self._enough:
            may = self._standings.hits(present.plan, expected.load.scaled(expected.low)) >= self._enough
        return replace(present, hit_rate=self._enough) if may else present

    def _is_same(self, expected: Expected) -> bool:
        """Whether the load is the one that the plan in force was taken for."""
        return abs(expected.rate / self._taken_for - 1) <= SAME  # NaN is not

    def _back(
        self, trial: Trial, present: Weighed, looks: Sequence[Weighed], seen: Observation, load: Arrivals
    ) -> Weighed | None:
        """Return the plan before the one in force, if that is expected to do better than this one was measured to."""
        before = trial.before
        if before is None or self._distrust.holds(before, seen.now) or not self._urgent.has(seen.now):
            return None
        leads = self._refused.leads(before, seen.plan, seen.living, self._standings.problem, seen.now)
        found = self._standings.judged(before, looks, load, seen.living) if leads else None
        if found is None or found.hit_rate is None:
            return None
        return found if found.hit_rate > (present.hit_rate or 0.0) + self._habits.points else None

    def _choose(
        self, present: Weighed, others: Sequence[Weighed], seen: Observation, expected: Expected
    ) -> Outcome:
        """Go over to the first of the candidates, the best first, that is worth it and may be taken."""
        judged = self._standings.verdicts(
            present,
            [one for one in others if not self._distrust.holds(one.plan, seen.now)],
            expected,
            is_same=self._is_same(expected),
        )
        reason = judged[0].verdict.reason if judged and judged[0].verdict is not None else Reason.BEST
        for one in judged[:GUARDED]:
            if one.verdict is None or not one.verdict.goes:
                continue
            if one.verdict.reason is Reason.CHEAPER and not expected.is_settled:
                reason = Reason.EARLY
                continue
            is_cheaper = one.verdict.reason is Reason.CHEAPER
            bears = one.verdict.reason is Reason.HITS or self._standings.bears_peak(one, present, expected)
            if not bears or (is_cheaper and not self._bears_least(one.plan, expected)):
                reason = Reason.PEAK
                continue
            bucket = self._calm if is_cheaper else self._urgent
            if not bucket.has(seen.now):
                return Outcome(Reason.RATE, None, judged, expected)
            return self._go(one.verdict.reason, one, seen, judged, expected)
        return Outcome(reason, None, judged, expected)

    def _bears_least(self, plan: Plan, expected: Expected) -> bool:
        """Whether a cheaper plan is expected to meet the objective under all that it must bear."""
        if expected.least <= expected.load.rate or math.isinf(expected.least):
            return math.isfinite(expected.least)
        return self._standings.hits(plan, expected.load.scaled(expected.least)) >= self._attainment

    def _go(
        self, reason: Reason, to: Weighed, seen: Observation, weighed: Sequence[Weighed], expected: Expected
    ) -> Outcome:
        """Ask for a plan; it is told of first, whatever was ranked before it."""
        (self._calm if reason is Reason.CHEAPER else self._urgent).take(seen.now)
        if reason is not Reason.CHEAPER:
            self._outlook.regret(self._saved)
        self._saved = seen.now if reason is Reason.CHEAPER else -math.inf
        if (
            reason is Reason.HITS
            and self._trial is not None
            and self._trial.predicted >= (to.hit_rate or 0.0)
        ):
            self._distrust.add(seen.plan, seen.now)  # left for what was measured: it would look as good again
        before = None if reason is Reason.ROLLBACK else seen.plan
        self._asked = _Asked(to.plan, seen.now, expected.rate, before, to.hit_rate)
        return Outcome(reason, to.plan, (to, *weighed), expected)

    def _decision(self, outcome: Outcome, seen: Observation, measured: float) -> Decision:
        self._number += 1
        present = outcome.present or Weighed(plan=seen.plan, cost=self._standings.problem.cost(seen.plan))
        return outcome.told(
            number=self._number,
            at=seen.now,
            woken="; ".join(self._woken) or PERIOD,
            present=present.told(outcome.rate),
            candidates=self._standings.best(outcome.weighed, present.plan),
            measured=measured,
            failures=self.failures,
        )


def _measured(present: Weighed, trial: Trial) -> Weighed:
    """Return the plan in force with what was measured in place of what was predicted, where that is surer."""
    least, most = trial.bounds()
    if trial.failed or present.hit_rate is None:
        return replace(present, hit_rate=finite(trial.measured))
    return replace(present, hit_rate=min(max(present.hit_rate, least), most))
