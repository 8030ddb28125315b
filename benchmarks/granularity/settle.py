"""What a policy comes to once it has learned from the calls of its own plans.

A plan is made by a profile that is off by a few per cent at each point, and the cheapest of many plans is one of those
that look better than they are. Whoever serves it sees so within minutes, and plans anew. So each policy serves the
calibration draw under its plan, refines the profile by what the stages took, and plans again, until a plan comes that
it has had, or it has had enough of them; of those it keeps the one that is best by all that it has seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

from benchmarks.granularity.judge import Judge
from benchmarks.granularity.policies import Made, Mind
from benchmarks.granularity.predictors import ANALYTIC
from regrain.plan import Plan

ROUNDS = 5
"""Plans that are served at most before one is kept."""


class Settling:
    """Has policies serve the calibration draw of a cell, one plan after the other."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._minds: dict[tuple[Plan, ...], Mind] = {}

    def begun(self) -> Mind:
        """Return what every policy begins with: the profile, refined by calls of the first grain that has a plan."""
        return self.after(*self._first)

    def after(self, *plans: Plan) -> Mind:
        """Return what is known once plans have served the calibration draw, each after the ones before."""
        if plans not in self._minds:
            judge = self._judge
            self._minds[plans] = Mind(judge.world.offer(judge.slo, judge.learned(plans)))
        return self._minds[plans]

    def settled(self, mind: Mind, ask: Callable[[Mind], Made], by: str) -> Made:
        """Return the plan that a policy keeps.

        Args:
            mind: what it knows at first, as `begun`.
            ask: returns its plan for what it knows.
            by: the predictor that it tells plans apart by.
        """
        tried: dict[Plan, Made] = {}
        considered: dict[Plan, None] = {}
        made = ask(mind)
        while made.plan is not None and made.plan not in tried:
            tried[made.plan] = made
            considered |= dict.fromkeys(made.considered)
            mind = self.after(*self._first, *tried)
            if len(tried) == ROUNDS:
                break
            made = ask(mind)
        if not tried:
            return made
        best = min(
            (
                replace(one, expected=mind.expected(plan, self._judge.calibration, by))
                for plan, one in tried.items()
            ),
            key=self._rank,
        )
        return replace(best, considered=tuple(considered))

    @cached_property
    def _first(self) -> tuple[Plan, ...]:
        bare = Mind(self._judge.world.offer(self._judge.slo))
        plans = (bare.planned(self._judge.calibration, grain=one, by=ANALYTIC).plan for one in bare.grains())
        return next(((plan,) for plan in plans if plan is not None), ())

    def _rank(self, made: Made) -> tuple[bool, float, float]:
        """Order plans: the cheapest of those that meet the objective, then those with the highest hit rate."""
        cost = self._judge.dollars(made.plan) if made.plan is not None else 0.0
        if made.expected >= self._judge.world.protocol.slo.attainment:
            return False, cost, -made.expected
        return True, -made.expected, cost
