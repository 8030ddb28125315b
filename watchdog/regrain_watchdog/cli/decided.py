"""What a controller decides while a load is sent, from looks at its last decision."""

from __future__ import annotations

from collections import Counter

from regrain_watchdog.control.decision import Decision
from regrain_watchdog.load.report import Decisions


class Decided:
    """Counts decisions from the first look on, which finds the last one of before.

    Decisions between two looks are counted by their numbers, without their reasons. A controller that was started anew
    counts from 1 again. Of one that is first seen to have decided, the last decision alone counts: those before it may
    be older than the load.
    """

    def __init__(self) -> None:
        self._is_known = False
        self._last: Decision | None = None
        self._made = 0
        self._changes = 0
        self._reasons: Counter[str] = Counter()

    def take(self, told: Decision | None) -> None:
        """Take in the last decision; None where nothing was decided yet."""
        first, self._is_known = not self._is_known, True
        if told is None:
            return
        before, self._last = self._last, told
        if first or told == before:
            return
        self._made += _since(before, told)
        self._changes += told.plan is not None
        self._reasons[told.reason] += 1

    def so_far(self) -> Decisions | None:
        """Return what was decided; None where no look found a controller."""
        if not self._is_known:
            return None
        return Decisions(made=self._made, changes=self._changes, reasons=dict(self._reasons))


def _since(before: Decision | None, told: Decision) -> int:
    """Return how many decisions were made after one; None where there was none to be seen."""
    if before is None:
        return 1
    return told.number - before.number if before.number < told.number else told.number
