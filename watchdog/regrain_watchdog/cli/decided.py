"""What a controller decides while a load is sent, from looks at its last decision."""

from __future__ import annotations

from collections import Counter

from regrain_watchdog.control.decision import Decision
from regrain_watchdog.load.report import Decisions


class Decided:
    """Counts decisions from the first look on, which finds the last one of before.

    Decisions between two looks are counted by their numbers, without their reasons. A controller that was started anew
    counts from 1 again.
    """

    def __init__(self) -> None:
        self._is_known = False
        self._last: Decision | None = None
        self._made = 0
        self._changes = 0
        self._reasons: Counter[str] = Counter()

    def take(self, told: Decision | None) -> None:
        """Take in the last decision; None where nothing was decided yet."""
        first, before, self._is_known, self._last = not self._is_known, self._last, True, told
        if first or told is None or told == before:
            return
        reached = before.number if before is not None and before.number < told.number else 0
        self._made += told.number - reached
        self._changes += told.plan is not None
        self._reasons[told.reason] += 1

    def so_far(self) -> Decisions | None:
        """Return what was decided; None where no look found a controller."""
        if not self._is_known:
            return None
        return Decisions(made=self._made, changes=self._changes, reasons=dict(self._reasons))
