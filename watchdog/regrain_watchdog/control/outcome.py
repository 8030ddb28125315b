"""What came of a wake, and how that is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from regrain.plan import Plan
from regrain_watchdog.control.decision import Decision, Shape, Told, finite
from regrain_watchdog.control.outlook import Expected
from regrain_watchdog.control.standings import Weighed
from regrain_watchdog.policy.switch import Reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """Why, which plan if one is to be put in force, and what was looked at.

    Attributes:
        reason: why. plan: to be put in force; None where the present one stays.
        weighed: what was looked at, the best first; before all of it `plan`.
        present: the plan in force. expected: the load. detail: what else.
        bears: requests a second up to which the plan in force is expected to meet the objective.
    """

    reason: Reason
    plan: Plan | None = None
    weighed: Sequence[Weighed] = ()
    expected: Expected | None = None
    detail: str = ""
    present: Weighed | None = None
    bears: float | None = None

    def told(
        self,
        *,
        number: int,
        at: float,
        woken: str,
        present: Told,
        candidates: Sequence[Weighed],
        measured: float,
        failures: int,
    ) -> Decision:
        """Return it as a decision; arguments as there."""
        expected = self.expected
        return Decision(
            number=number,
            at=at,
            woken=woken,
            reason=self.reason.name,
            sentence=self.reason.value,
            plan=self.plan,
            present=present,
            candidates=tuple(one.told(self.rate) for one in candidates),
            rate=self.rate,
            planned=expected.load.rate if expected is not None else None,
            peak=expected.peak if expected is not None else None,
            dwell=expected.dwell if expected is not None else None,
            shape=Shape.of(expected.load) if expected is not None else None,
            bears=self.bears,
            measured=finite(measured),
            failures=failures,
            detail=self.detail,
        )

    @property
    def rate(self) -> float | None:
        """Requests a second that are expected."""
        return self.expected.rate if self.expected is not None else None
