"""How long to wait before a replica that died is started again, and when a group counts as crash-looping."""

from __future__ import annotations

from collections.abc import Sequence

FIRST = 0.1
LONGEST = 5.0
SETTLED = 10.0
"""Seconds after which a replica that lived is no longer held to have died at its start."""

IDLE = 1.0
"""Seconds after which one that is warm and has nothing to do does not end because of its start."""
SLOW = 5.0
"""Seconds after which a replica that starts is not waited for by others that are to start."""
LOOK = 0.5
"""Seconds between two looks at whether one more may start, at most."""
ATTEMPTS = 3
"""Deaths in a row after which an app that has never been ready is not tried again."""
LOOP = 5
"""Deaths in a row after which a group is in a crash loop; it is tried further, each LONGEST seconds in the end."""


def may_start(ages: Sequence[float], cores: int, *, serving: bool) -> bool:
    """Return whether one more replica may start beside those that do.

    All at once while nobody serves. Else as many as half of the cores, and one at least: loading models keeps a core
    busy, and what is served meanwhile needs some. One that takes longer than SLOW keeps nobody back.

    Args:
        ages: seconds since each of those that start began.
        cores: of this machine.
        serving: whether any replica serves.
    """
    return not serving or sum(age < SLOW for age in ages) < max(1, cores // 2)


def delay(deaths: int) -> float:
    """Return the seconds to wait after so many deaths in a row: 0.1, 0.2, 0.4, ... 5 at most.

    The first death of a replica that had settled (deaths 0) costs no wait.
    """
    return 0.0 if deaths <= 0 else min(LONGEST, FIRST * 2.0 ** min(deaths - 1, 10))


def deaths_in_a_row(before: int, lived: float, *, served: bool = False) -> int:
    """Return the count after one more death.

    A replica that lived SETTLED seconds or has answered a request (`served`) starts it anew at 0: what killed it is
    then no matter of its start, and requests that kill are dealt with one by one.
    """
    return 0 if served or lived >= SETTLED else before + 1


def is_loop(deaths: int) -> bool:
    """Whether so many deaths in a row make a crash loop."""
    return deaths >= LOOP
