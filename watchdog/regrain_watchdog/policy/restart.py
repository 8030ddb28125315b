"""How long to wait before a replica that died is started again."""

from __future__ import annotations

FIRST = 0.1
LONGEST = 5.0
SETTLED = 10.0
"""Seconds after which a replica that lived is no longer held to have died at its start."""

ATTEMPTS = 3
"""Deaths in a row after which an app that has never been ready is not tried again."""


def delay(deaths: int) -> float:
    """Return the seconds to wait after so many deaths in a row: 0.1, 0.2, 0.4, ... 5 at most.

    The first death of a replica that had settled (deaths 0) costs no wait.
    """
    return 0.0 if deaths <= 0 else min(LONGEST, FIRST * 2.0 ** min(deaths - 1, 10))


def deaths_in_a_row(before: int, lived: float) -> int:
    """Return the count after one more death; a replica that lived SETTLED seconds starts it anew at 0."""
    return 0 if lived >= SETTLED else before + 1
