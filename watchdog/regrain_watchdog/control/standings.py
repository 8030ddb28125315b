"""How the plan in force and others stand under the load that is expected: hit rate, cost, and the way there.

All plans are sought when the load has moved, when stages turn out to take another time than was known, or when the last
search is old. In between the best of that search are judged anew, which takes a handful of predictions instead of
hundreds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from regrain.plan import Plan
from regrain_watchdog.control.decision import HOUR, THOUSAND, Told, finite
from regrain_watchdog.control.outlook import Expected
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Maker
from regrain_watchdog.policy.predict.predictor import Prediction, Predictor
from regrain_watchdog.policy.profile import OutOfRangeError
from regrain_watchdog.policy.refine import Refined
from regrain_watchdog.policy.resident import Living
from regrain_watchdog.policy.search.packing import pack_together
from regrain_watchdog.policy.search.planner import Planner
from regrain_watchdog.policy.search.problem import Candidate, Problem, measured_shares
from regrain_watchdog.policy.search.switching import switch
from regrain_watchdog.policy.service import ServiceTime
from regrain_watchdog.policy.switch import Standing, Terms, Verdict, judge

MOVED = 0.08
"""Part of its rate by which the load must move for all plans to be sought anew."""
STRAYED = 0.03
"""The same, where the plan in force misses the objective and more comes than was planned for then."""
RENEWED, PRESSED = 300.0, 60.0
"""Seconds after which they are in any case, and where the plan in force or all that was found miss the objective: of
that twice as many each time that neither the load nor what is known of the stages has changed meanwhile."""
FEW = 8
"""Plans of the last search that are judged in between, and that a decision tells of."""
LEARNED, SURE = 0.03, 2.5
"""Part of its time by which a stage must turn out to be off for plans to be made of what was learned, and of the
standard errors of a mean of what is remembered where they are more."""
MOST_TIMES, HALVINGS = 16.0, 6
"""Times the rate up to which it is sought what a plan bears, and how closely: to a 23rd."""
CORRECTED = 0.03
"""Part of its cost by which a plan is corrected that was made for a vague rate."""
SHORT = 0.05
"""Of hit rate, by which a plan may miss the objective at the peak."""
_NEVER = (math.nan, -math.inf)
"""For what rate and when plans were sought: not yet, or for times that are not believed any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A plan and how it stands.

    Attributes:
        cost: dollars a second.
        hit_rate: predicted, of the plan in force maybe measured; None where nothing can be said.
        p95: seconds. busy: of its fullest pool. charge, seconds: of the way there. verdict: on going there.
    """

    plan: Plan
    cost: float
    hit_rate: float | None = None
    p95: float = math.inf
    busy: float = 0.0
    charge: float = 0.0
    seconds: float = 0.0
    verdict: Verdict | None = None

    def told(self, rate: float | None) -> Told:
        """Return it as a decision tells it; `rate`: requests a second that share its cost."""
        return Told(
            plan=self.plan,
            grain=self.plan.grain,
            hit_rate=self.hit_rate,
            p95=finite(self.p95),
            cost=self.cost * HOUR,
            per_thousand=self.cost / rate * THOUSAND if rate else None,
            charge=self.charge,
            seconds=self.seconds,
            needs=finite(self.verdict.needs) if self.verdict is not None else None,
            verdict=self.verdict.reason.name if self.verdict is not None else "",
        )


class Standings:
    """Seeks plans, judges them, and remembers the best of the last search.

    Attributes:
        problem: with what was learned.
        in_vain: requests a second for which no plan was found that meets the objective; infinite where that was not so.
    """

    def __init__(
        self, problem: Problem, predictor: Predictor, terms: Terms, *, risk: float, seed: int
    ) -> None:
        self.problem = problem
        self._predictor = predictor
        self._terms = terms
        self._risk = risk
        self._seed = seed
        self._planner: Planner | None = None
        self._maker = Maker(problem.app, problem.times)
        self._most: tuple[Plan, float] | None = None
        self._factors: tuple[float, ...] = ()
        self._found: tuple[Plan, ...] = ()
        self._sought = _NEVER
        self._judged_by = predictor.name
        self._pressed = False
        self._patience = PRESSED
        self.in_vain = math.inf

    def learn(self, refined: Refined) -> None:
        """Make plans of what was learned since, where that is something.

        They may have the shares, too, that are known by now of stages that nobody had measured.
        """
        factors, profile = refined.known(), None
        moved = len(factors) != len(self._factors) or any(
            abs(new / old - 1) > max(LEARNED, SURE * error)
            for new, old, error in zip(factors, self._factors, refined.errors(), strict=True)
        )
        if moved:
            profile = refined.profile()
            app = self.problem.app
            known = replace(app, profile=profile)
            times = {name: ServiceTime.of(name, profile.stages[name]) for name in known.graph.stages}
            found = measured_shares(profile.stages[name] for name in refined.unmeasured)
            shares = tuple(sorted({*self.problem.limits.shares, *found}))
            limits = replace(self.problem.limits, shares=shares)
            self.problem = replace(self.problem, app=known, times=times, limits=limits)
            self._maker = Maker(known, self.problem.times)
            self._factors, self._planner = factors, None
            self._sought, self.in_vain = _NEVER, math.inf

    def look(
        self,
        expected: Expected,
        present: Plan,
        *,
        living: Sequence[Living],
        now: float,
        anew: bool,
        misses: bool = False,
        leads: Callable[[Plan], bool] | None = None,
    ) -> list[Weighed]:
        """Return how the plan in force stands, and others after it.

        anew: seek plans since something has changed. misses: seek them since the plan in force misses the objective.
        leads: whether a way leads to a plan; to all where nothing is said.
        """
        found = self._candidates(expected, present, now, anew=anew, misses=misses, leads=leads)
        one = self._present(present, expected.load, found)
        others = [
            self._weighed(other, living)
            for other in found
            if other.plan != present and (leads is None or leads(other.plan))
        ]
        return [one, *others]

    def is_old(self, now: float, rate: float) -> bool:
        """Whether plans were sought so long ago, or for so much less, that a better one may be found by now."""
        return now - self._sought[1] >= self._patience or rate > (1 + STRAYED) * self._sought[0]

    def judged(
        self, plan: Plan, looks: Sequence[Weighed], load: Arrivals, living: Sequence[Living]
    ) -> Weighed | None:
        """Return how one plan stands, whether or not it is among those looked at.

        None where that cannot be told, or it does not fit beside what else there is.
        """
        known = next((one for one in looks if one.plan == plan), None)
        own = (plan, self.problem.app.profile)
        if known is None and pack_together([own, *self.problem.beside], self.problem.node) is None:
            return None
        try:
            return known or self._weighed(self._candidate(plan, load), living)
        except OutOfRangeError:  # an operator's, with a share or a batch that was not measured
            return None

    def verdicts(
        self, present: Weighed, others: Sequence[Weighed], expected: Expected, *, is_same: bool = False
    ) -> list[Weighed]:
        """Return the others with a verdict on each, the best first.

        is_same: whether the load is the one that the plan in force was taken for.

        Of those that meet the objective the best is the one that costs least over the dwell, the way there included; of
        the others the one with the highest hit rate, or the one that costs least of those that come as close.
        """
        if present.hit_rate is None:
            return []
        now = Standing(present.hit_rate, present.cost)
        saving = self._terms.again if is_same else self._terms.saving
        terms = replace(self._terms, saving=CORRECTED if expected.is_fresh else saving)
        risk = 0.0 if expected.is_fresh else self._risk  # to correct a guess is nothing to regret
        judged = [
            replace(
                one,
                verdict=judge(
                    now,
                    Standing(one.hit_rate, one.cost),
                    charge=one.charge + risk * present.cost,
                    dwell=expected.dwell,
                    terms=terms,
                ),
            )
            for one in others
            if one.hit_rate is not None
        ]
        most = max((one.hit_rate or 0.0 for one in judged), default=0.0)
        return sorted(judged, key=lambda one: self._order(one, most, expected.dwell))

    def bears_peak(self, one: Weighed, present: Weighed, expected: Expected) -> bool:
        """Whether a plan all but meets the objective at the peak, or does no worse there than the plan in force.

        How busy it is does not tell: for a tight objective much is shed while replicas have time left. The peaks of a
        bursty load are among the requests that it is judged by.
        """
        if expected.is_bursty or expected.peak <= expected.load.rate:
            return True
        peak = expected.load.scaled(expected.peak)
        hits = self.hits(one.plan, peak)
        return hits >= self._terms.attainment - SHORT or hits >= self.hits(present.plan, peak)

    def hits(self, plan: Plan, load: Arrivals) -> float:
        """Return the hit rate that a plan is expected to have under some load; NaN where that cannot be told."""
        try:
            return self._predict(plan, load).hit_rate
        except OutOfRangeError:  # an operator's, with a share or a batch that was not measured
            return math.nan

    def bears(self, present: Weighed, load: Arrivals) -> float | None:
        """Return up to what rate the plan in force is expected to meet the objective; None where it does not now.

        None, too, where all that is known of it was measured. It is sought anew with each search of plans. MOST_TIMES
        the rate stands for anything above it.
        """
        if present.hit_rate is None or present.hit_rate < self._terms.attainment:
            return None
        if self._most is None or self._most[0] != present.plan:
            low, high, told = 1.0, MOST_TIMES, math.nan
            for _ in range(HALVINGS):
                middle = math.sqrt(low * high)
                told = self.hits(present.plan, load.scaled(load.rate * middle))
                low, high = (middle, high) if told >= self._terms.attainment else (low, middle)
            if math.isnan(told):
                return None
            self._most = present.plan, load.rate * low
        return self._most[1]

    def best(self, weighed: Sequence[Weighed], present: Plan) -> list[Weighed]:
        """Return the best of each grain, a few, for people to read."""
        found: dict[str, Weighed] = {}
        for one in weighed:
            if one.plan != present:
                found.setdefault(one.plan.grain, one)
        return list(found.values())[:FEW]

    def _order(self, one: Weighed, most: float, dwell: float) -> tuple[bool, float, float]:
        """Return a key that is the less, the better a plan is; `most`: the best hit rate of all."""
        hit_rate = one.hit_rate or 0.0
        meets = hit_rate >= self._terms.attainment
        short = 0.0 if meets or hit_rate >= most - self._terms.points else most - hit_rate
        return not meets, short, one.cost * dwell + one.charge

    def _candidates(
        self,
        expected: Expected,
        present: Plan,
        now: float,
        *,
        anew: bool,
        misses: bool,
        leads: Callable[[Plan], bool] | None,
    ) -> list[Candidate]:
        load = expected.load
        if self._judged_by != self._predictor.name:  # one that verifies has got ready
            self._judged_by, self._sought = self._predictor.name, _NEVER
        rate, at = self._sought
        changed = anew or not abs(load.rate / rate - 1) <= MOVED  # NaN is not
        if not changed and not misses and now - at < (self._patience if self._pressed else RENEWED):
            return [self._candidate(plan, load) for plan in self._found]
        if self._planner is None:
            self._planner = Planner(self.problem)
        choice = self._planner.plan(load, self._predictor, present=present, seed=self._seed, leads=leads)
        attainment = self._terms.attainment
        ranked = sorted(choice.considered, key=lambda one: _rank(one, attainment))
        self._found = _few([one.plan for one in ranked])
        self._sought, self._most = (load.rate, now), None
        self._patience = PRESSED if changed else min(2 * self._patience, RENEWED)
        self._note_vain(load.rate, is_vain=choice.prediction.hit_rate < attainment, anew=anew)
        return ranked

    def _note_vain(self, rate: float, *, is_vain: bool, anew: bool) -> None:
        """Remember what load nothing was found for; what was so before a change says nothing of what comes after."""
        self._pressed = is_vain
        if anew or (not is_vain and rate >= self.in_vain):
            self.in_vain = math.inf
        if is_vain:
            self.in_vain = min(self.in_vain, rate)

    def _candidate(self, plan: Plan, load: Arrivals) -> Candidate:
        return Candidate(plan=plan, prediction=self._predict(plan, load), cost=self.problem.cost(plan))

    def _predict(self, plan: Plan, load: Arrivals) -> Prediction:
        return self._predictor.predict(self._maker.make(plan), load, seed=self._seed)

    def _present(self, plan: Plan, load: Arrivals, found: Sequence[Candidate]) -> Weighed:
        known = next((one for one in found if one.plan == plan), None)
        try:
            known = known or self._candidate(plan, load)
        except OutOfRangeError:  # an operator's, with a share or a batch that was not measured
            return Weighed(plan=plan, cost=self.problem.cost(plan))
        return _weigh(known)

    def _weighed(self, one: Candidate, living: Sequence[Living]) -> Weighed:
        way = switch(living, one.plan, self.problem)
        return replace(_weigh(one), charge=way.dollars, seconds=way.seconds)


def _weigh(one: Candidate) -> Weighed:
    told = one.prediction
    return Weighed(
        plan=one.plan,
        cost=one.cost,
        hit_rate=told.hit_rate,
        p95=told.p95,
        busy=max(told.busy, default=0.0),
    )


def _rank(one: Candidate, attainment: float) -> tuple[bool, float, float]:
    meets = one.prediction.hit_rate >= attainment
    return not meets, 0.0 if meets else -one.prediction.hit_rate, one.cost


def _few(ranked: Sequence[Plan]) -> tuple[Plan, ...]:
    """Return the best plans, and the best one of each grain, a few of both."""
    firsts: dict[str, Plan] = {}
    for plan in ranked:
        firsts.setdefault(plan.grain, plan)
    return tuple(dict.fromkeys((*ranked[: FEW // 2], *list(firsts.values())[: FEW // 2])))
