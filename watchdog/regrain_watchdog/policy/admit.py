"""Whether a request that comes now is let in, and when one that is not should come again.

A request that would be late is refused at the door, where it costs nothing: no memory, no stage, and no place in line
before one that can be in time.
"""

from __future__ import annotations

import math

HEADROOM = 1.25
"""By how much what waits ahead may take longer than predicted. Without it the line grows until everybody is answered at
the very last moment, and each delay makes one late that had been let in."""
RESIDUAL = 0.5
"""Share of a dispatch that one which is under way still has to go, on average."""
LONGEST_RETRY = 60
"""Seconds after which a refused caller is asked back at the latest."""


def admits(*, ahead: float, left: float, alone: float, slack: float, firm: bool) -> bool:
    """Whether a request is let in.

    Args:
        ahead: seconds until what waits before it will have been served.
        left: seconds that it takes itself, once it is its turn.
        alone: seconds that it would take if it shared its dispatches with nobody.
        slack: seconds from now to its deadline.
        firm: whether the caller gave the deadline.

    With nobody ahead it is let in for a soft deadline even if it will be late: there is no one to give way to. So is
    one that would be late even alone, since then the objective is out of reach, and refusing helps nobody; that batches
    have become too long for it is no reason, for they would stay so. A firm deadline that cannot be met is not waited
    for.

    Example: 0.2 s ahead, 0.05 s of its own, 0.3 s slack -> let in; 0.21 s ahead -> refused.
    """
    in_time = ahead * HEADROOM + left <= slack
    return in_time if firm else in_time or ahead <= 0.0 or alone > slack


def wait(waiting: int, together: int, serving: int, service: float) -> float:
    """Return the seconds until one of the replicas that serve would be free, all of them being busy.

    Args:
        waiting: units that go before.
        together: units of a dispatch.
        serving: replicas.
        service: seconds of a dispatch.

    Example: 5 units wait, 2 go together, 1 replica takes 0.1 s -> (3 + 0.5) x 0.1 = 0.35 s.
    """
    return (math.ceil(waiting / together) + RESIDUAL * serving) * service / serving


def retry_after(seconds: float) -> int:
    """Return the whole seconds of Retry-After, where what waits will have been served in so many: 1 to 60."""
    return max(1, min(LONGEST_RETRY, math.ceil(min(seconds, LONGEST_RETRY))))
