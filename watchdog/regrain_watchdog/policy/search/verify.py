"""A second look at what a quick predictor found: a sure one, which takes longer, is asked about what promises most.

How far the quick one is off is much the same for plans that are alike. So what it says of a plan is corrected by what
it was off by for the plan most like it that both were asked about: of the same grain, with the nearest hit rate. Then
the cheapest plan that meets the objective as corrected is asked about, and so on, until none is left that is cheaper
than the best. The best is always one that the sure predictor was asked about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from regrain.plan import Plan
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.predict.predictor import Predictor
from regrain_watchdog.policy.search.judge import Judge
from regrain_watchdog.policy.search.packing import Placement
from regrain_watchdog.policy.search.problem import Candidate, Problem

GRAINS = 4
"""Whose best plans are asked about in any case, those with a fluid group counted apart."""
CHOSEN = 0.6
"""Of what may be asked, that goes to plans which the search has seen; the rest is for what lies near the best."""
DOUBT = 0.05
"""How far a corrected hit rate is believed to be off at most: that of a plan none of whose grain was asked about."""
ALIKE, PER_COST = 0.015, 0.2
"""How far that of a plan is whose like was asked about, and how much more for each part of its cost that the two differ
by; by twice what their hit rates differ, too. Only once the objective is met: until then every plan is worth a look."""

ORDINARY, FLUID = "", "~"
"""Kinds of grains: plans of no other kind say anything of one."""


class Verifier(Judge):
    """Judges by a quick predictor's word, corrected; what would be the best by that, a sure one is asked about.

    Of pools the sure one is asked outright: the quick one is off by too much, and by too unlike amounts.

    quick: has judged plans by the quick predictor.
    """

    def __init__(
        self, problem: Problem, quick: Judge, predictor: Predictor, load: Arrivals, seed: int
    ) -> None:
        super().__init__(problem, predictor, load, seed, most=problem.limits.verified)
        self._attainment = problem.app.slo.attainment
        self._quick = quick
        self._off: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)

    def place(self, plan: Plan) -> Placement | None:
        """Return where its replicas go; None where they do not fit."""
        return self._quick.place(plan)

    def judge(self, plan: Plan) -> Candidate | None:
        """Return what is expected of a plan; None where it does not fit, or nothing more may be asked."""
        known = self.known(plan)
        if known is not None:
            return known
        told = self._quick.judge(plan)
        if told is None or self.is_spent:
            return None
        grain = plan.grain
        if _kind(grain) == FLUID:  # of which one says little of another
            return self._ask(told, grain)
        if self._is_hopeful(told, grain):
            return self._ask(told, grain)
        return _with(told, self._guess(told, grain)[0])

    def choose(self, present: Plan | None) -> None:
        """Ask about the plan in force and the best of some grains, then about whatever promises to be better."""
        seen = [(one, one.plan.grain) for one in self._quick.considered]
        for one, grain in self._first(seen, present):
            self._ask(one, grain)
        waiting = [(one, grain) for one, grain in seen if self.known(one.plan) is None]
        while waiting and self.nodes < CHOSEN * self.most:
            waiting = [one for one in waiting if not self.has_met or self._is_hopeful(*one)]
            ranks = [self._rank(self._guess(one, grain)[0], one.cost) for one, grain in waiting]
            if ranks:
                self._ask(*waiting.pop(min(range(len(ranks)), key=ranks.__getitem__)))

    def _ask(self, told: Candidate, grain: str) -> Candidate | None:
        """Ask the sure predictor about a plan, and note by how much the quick one was off."""
        found = super().judge(told.plan)
        if found is not None:
            off = found.prediction.hit_rate - told.prediction.hit_rate
            for key in (grain, _kind(grain)):
                self._off[key].append((told.prediction.hit_rate, told.cost, off))
        return found

    def _first(
        self, seen: list[tuple[Candidate, str]], present: Plan | None
    ) -> Iterator[tuple[Candidate, str]]:
        """Return the plan in force, and the best plan of each of the best grains as the quick predictor has it."""
        firsts: dict[str, Candidate] = {}
        for one, grain in seen:
            if one.plan == present:
                yield one, grain
            if self.is_better(one, firsts.get(grain)):
                firsts[grain] = one
        ranked = sorted(
            firsts.items(), key=lambda item: self._rank(item[1].prediction.hit_rate, item[1].cost)
        )
        for kind in (ORDINARY, FLUID):
            yield from [(one, grain) for grain, one in ranked if _kind(grain) == kind][:GRAINS]

    def _is_hopeful(self, told: Candidate, grain: str) -> bool:
        """Whether a plan may be better than the best, as far as one can tell without asking."""
        guess, doubt = self._guess(told, grain)
        return self.is_better(_with(told, min(1.0, guess + doubt)), self.best)

    def _rank(self, hit_rate: float, cost: float) -> tuple[float, float, float]:
        """Order plans: the cheapest of those that meet the objective, then those with the highest hit rate."""
        return (0.0, cost, -hit_rate) if hit_rate >= self._attainment else (1.0, -hit_rate, cost)

    def _guess(self, told: Candidate, grain: str) -> tuple[float, float]:
        """Return the hit rate that the quick predictor tells, less what it was off by for the plan most like it.

        And how far that may be off.
        """
        alike = self._off.get(grain) or self._off.get(_kind(grain))
        hit_rate = told.prediction.hit_rate
        if not alike:
            return hit_rate, DOUBT
        near, cost, off = min(alike, key=lambda one: (abs(one[0] - hit_rate), abs(one[1] - told.cost)))
        doubt = DOUBT
        if self.has_met and grain in self._off:
            doubt = min(DOUBT, ALIKE + 2 * abs(near - hit_rate) + PER_COST * abs(cost / told.cost - 1.0))
        return min(1.0, max(0.0, hit_rate + off)), doubt


def _with(told: Candidate, hit_rate: float) -> Candidate:
    """Return a plan with another hit rate in place of the one that was told."""
    return replace(told, prediction=replace(told.prediction, hit_rate=hit_rate))


def _kind(grain: str) -> str:
    """Return what plans of two grains have in common: whether they have a fluid group."""
    return FLUID if FLUID in grain else ORDINARY
