"""A second look at what a quick predictor found: a sure one, which takes longer, is asked about what promises most.

How far the quick one is off is much the same for plans that are alike. So what it says of a plan is corrected by what
it was off by for the plan most like it that both were asked about: of the same grain, with the nearest hit rate. Then
the cheapest plan that meets the objective as corrected is asked about, and so on, until none is left that is cheaper
than the best. The best is always one that the sure predictor was asked about.
"""

from __future__ import annotations

import math
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
"""How far below what would make it the best the hit rate of a plan may be, as corrected, for it to be asked about."""

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
        guess = self._guess(told, grain)
        is_hopeful = self.is_better(_with(told, min(1.0, guess + DOUBT)), self.best)
        return self._ask(told, grain) if is_hopeful else _with(told, guess)

    def choose(self, present: Plan | None) -> None:
        """Ask about the plan in force and the best of some grains, then about whatever promises to be better."""
        seen = [(one, one.plan.grain) for one in self._quick.considered]
        for one, grain in self._first(seen, present):
            self._ask(one, grain)
        waiting = [(one, grain) for one, grain in seen if self.known(one.plan) is None]
        while waiting and self.nodes < CHOSEN * self.most:
            ranks = [self._promise(one, grain) for one, grain in waiting]
            place = min(range(len(waiting)), key=ranks.__getitem__)
            if math.isinf(ranks[place][0]):
                return
            self._ask(*waiting.pop(place))

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

    def _promise(self, one: Candidate, grain: str) -> tuple[float, float, float]:
        """Return a key that is the less, the more a plan promises; infinite where it does not promise to be better."""
        hit_rate = self._guess(one, grain)
        if self.best is None or not self.has_met:
            return self._rank(hit_rate, one.cost)
        is_hopeful = one.cost < self.best.cost and hit_rate >= self._attainment - DOUBT
        return self._rank(hit_rate, one.cost) if is_hopeful else (math.inf, 0.0, 0.0)

    def _rank(self, hit_rate: float, cost: float) -> tuple[float, float, float]:
        """Order plans: the cheapest of those that meet the objective, then those with the highest hit rate."""
        return (0.0, cost, -hit_rate) if hit_rate >= self._attainment else (1.0, -hit_rate, cost)

    def _guess(self, told: Candidate, grain: str) -> float:
        """Return the hit rate that the quick predictor tells, less what it was off by for the plan most like it."""
        alike = self._off.get(grain) or self._off.get(_kind(grain))
        hit_rate = told.prediction.hit_rate
        if not alike:
            return hit_rate
        *_, off = min(alike, key=lambda one: (abs(one[0] - hit_rate), abs(one[1] - told.cost)))
        return min(1.0, max(0.0, hit_rate + off))


def _with(told: Candidate, hit_rate: float) -> Candidate:
    """Return a plan with another hit rate in place of the one that was told."""
    return replace(told, prediction=replace(told.prediction, hit_rate=hit_rate))


def _kind(grain: str) -> str:
    """Return what plans of two grains have in common: whether they have a fluid group."""
    return FLUID if FLUID in grain else ORDINARY
