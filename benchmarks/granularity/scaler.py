"""What stands in for the controller where a policy is not the planner's: it plans for the load that is expected.

It sees what the controller sees, learns of the load by the same outlook, and acts every period. Where its plan stays
within a tenth of the load it planned for, it leaves it.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.granularity.policies import Mind
from regrain.plan import Plan
from regrain_watchdog.control.controller import Habits
from regrain_watchdog.control.decision import Decision, Told
from regrain_watchdog.control.observation import Observation
from regrain_watchdog.control.outlook import Outlook
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import lists
from regrain_watchdog.policy.refine import Refined

MOVED = 0.1


class Scaler:
    """Plans anew every period as a function of what is known by then and of the load says."""

    def __init__(
        self,
        mind: Callable[[], Mind],
        plan: Callable[[Mind, Arrivals], Plan | None],
        refined: Refined,
        habits: Habits | None = None,
    ) -> None:
        habits = habits or Habits()
        self._outlook = Outlook(
            len(lists(mind().offer.app.graph)), begin=0.0, window=habits.window, lean=habits.lean
        )
        self._mind, self._plan, self._refined, self._period = mind, plan, refined, habits.period
        self._next = 0.0
        self._rate = float("nan")
        self._number = 0

    def observe(self, seen: Observation) -> Decision | None:
        """Take in what happened; return a decision where another plan is wanted."""
        changes = self._outlook.take(seen)
        for calls in seen.seen:
            self._refined.take(calls)
        if seen.is_changing or (seen.now < self._next and not changes):
            return None
        self._next = seen.now + self._period
        expected = self._outlook.expected()
        if expected is None or abs(expected.load.rate / self._rate - 1) <= MOVED:
            return None
        mind = self._mind()
        wanted = self._plan(mind, expected.load)
        if wanted is None:
            return None
        self._rate = expected.load.rate
        if wanted == seen.plan:
            return None
        self._number += 1
        return Decision(
            number=self._number,
            at=seen.now,
            woken="period",
            reason="SCALED",
            sentence="it is what the policy has for this load",
            plan=wanted,
            present=Told(plan=seen.plan, grain=seen.plan.grain, cost=mind.cost(seen.plan)),
        )
