"""What a policy comes to once it has learned from the calls of its own plans.

A plan is made by a profile that is off by a few per cent at each point, and the cheapest of many plans is one of those
that look better than they are. Whoever serves it sees so within minutes, and plans anew. So each policy serves the
calibration draw under its plan, refines the profile by what the stages took, and plans again, until a plan comes that
it has had, or it has had enough of them; of those it keeps the one that is best by what was seen of itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from benchmarks.granularity.judge import Judge
from benchmarks.granularity.policies import Made, Mind
from benchmarks.granularity.predictors import ANALYTIC
from regrain.plan import Plan

ROUNDS = 3
"""Plans that are served at most before one is kept."""


class Settling:
    """Has policies serve the calibration draw of a cell, each of their plans once."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._minds: dict[Plan, Mind] = {}

    def begun(self) -> Mind:
        """Return what every policy begins with: the profile, refined by calls of the first grain that has a plan."""
        first = Mind(self._judge.world.offer(self._judge.slo))
        plans = (
            first.planned(self._judge.calibration, grain=grain, by=ANALYTIC).plan for grain in first.grains()
        )
        plan = next((one for one in plans if one is not None), None)
        return self.after(plan) if plan is not None else first

    def after(self, plan: Plan) -> Mind:
        """Return what is known once a plan has served the calibration draw."""
        if plan not in self._minds:
            judge = self._judge
            self._minds[plan] = Mind(judge.world.offer(judge.slo, judge.learned(plan)))
        return self._minds[plan]

    def settled(self, mind: Mind, ask: Callable[[Mind], Made], by: str) -> Made:
        """Return the plan that a policy keeps.

        Args:
            mind: what it knows at first.
            ask: returns its plan for what it knows.
            by: the predictor that it tells plans apart by.
        """
        tried: dict[Plan, Made] = {}
        considered: dict[Plan, None] = {}
        made = ask(mind)
        while made.plan is not None and made.plan not in tried:
            own = self.after(made.plan)
            tried[made.plan] = replace(made, expected=own.expected(made.plan, self._judge.calibration, by))
            considered |= dict.fromkeys(made.considered)
            if len(tried) == ROUNDS:
                break
            made = ask(own)
        if not tried:
            return made
        best = min(tried.values(), key=self._rank)
        return replace(best, considered=tuple(considered))

    def _rank(self, made: Made) -> tuple[bool, float, float]:
        """Order plans: the cheapest of those that meet the objective, then those with the highest hit rate."""
        cost = self._judge.dollars(made.plan) if made.plan is not None else 0.0
        if made.expected >= self._judge.world.protocol.slo.attainment:
            return False, cost, -made.expected
        return True, -made.expected, cost
