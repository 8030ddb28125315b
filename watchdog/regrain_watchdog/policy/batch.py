"""When a batch goes, how many units go together, and how many dispatches a replica holds at once.

All are scalar functions, so that the live system and a simulator run the very same decisions.
"""

from __future__ import annotations

PIPELINED_WORK = 0.001
"""Seconds of work below which a dispatch may have another one wait behind it at the replica. The doorbell that this
hides takes tens of microseconds; for longer work it would hide nothing, and what waits there cannot be reordered."""
PACKED_WORK = 0.0005
"""Seconds of work that units which need not go together may make in one dispatch."""
HASTE = 0.001
"""Seconds by which a batch goes before the latest moment for its most urgent unit. A timer fires a little late, and a
unit that is late by a hair gives way to all others (policy/shed.py): it would be waited with and then not be run."""
MAX_PACKED = 32
"""Units that are packed into a dispatch at most."""


def due(
    waiting: int,
    oldest: float,
    *,
    max_size: int,
    max_wait: float,
    now: float,
    latest: float = float("inf"),
) -> float:
    """Return when the next batch is due, on the clock of `now`: at once if it is full or has waited long enough.

    Args:
        waiting: units that wait.
        oldest: when the first of them came.
        max_size: units that a batch holds at most.
        max_wait: seconds that the first unit waits for others at most.
        now: the time; a result <= now means that the batch goes.
        latest: when it must go for its most urgent unit to be in time.

    Example: max_size 8, max_wait 0.005, 3 units since 10.000 -> due at 10.005; the 8th at 10.002 -> due at once.
    """
    if waiting >= max_size or max_wait <= 0.0:
        return now
    return min(oldest + max_wait, max(now, latest - HASTE))


def units_together(service: float, *, max_size: int) -> int:
    """Return how many units one dispatch may hold, a unit taking `service` seconds.

    A batched stage sets the number by its `max_size`. Beyond that, units so short that many of them make no more than
    PACKED_WORK seconds go together: they run one after the other, and what a dispatch costs is shared.

    Example: max_size 1: 10 us -> 32; 100 us -> 5; 1 ms -> 1. max_size 8: 1 ms -> 8.
    """
    if service <= 0.0:
        return max_size
    return max(max_size, int(min(MAX_PACKED, PACKED_WORK / service)))


def timely(size: int, *, more: float, slack: float) -> int:
    """Return how many of `size` units may go together for the first of them to be in time; at least 1.

    Args:
        size: units that may go together otherwise.
        more: seconds by which each unit more makes a dispatch longer.
        slack: seconds that are left if the first unit goes alone.

    Example: 8 units, each 5 ms more, 12 ms of slack -> 3.
    """
    if more * size <= max(0.0, slack):
        return size
    return max(1, min(size, 1 + int(slack / more))) if slack > 0.0 else 1


def may_hold(service: float) -> int:
    """Return how many dispatches a replica may hold, its mean service time being `service` seconds.

    One runs; a second one may wait beside it if the first is shorter than PIPELINED_WORK, so that the replica does not
    idle for a doorbell after each. What comes meanwhile waits in the queue and is packed into the next. An unknown
    service time (0) counts as long.

    Example: 40 us -> 2; 1 ms -> 1; 50 ms -> 1.
    """
    return 2 if 0.0 < service < PIPELINED_WORK else 1


def smoothed(mean: float, sample: float, *, weight: float = 0.1) -> float:
    """Return the exponentially weighted mean after one more sample; the first sample is the mean."""
    return sample if mean <= 0.0 else mean + weight * (sample - mean)
