"""When a batch goes, and how many dispatches a replica holds at once.

Both are scalar functions, so that the live system and a simulator run the very same decisions.
"""

from __future__ import annotations

PIPELINED_WORK = 0.001
"""Seconds of work that may wait at a replica. It hides the doorbell of short runs (tens of microseconds) and is
too little to matter for a deadline."""
MAX_PIPELINED = 32
"""Runs that wait at a replica at most."""


def due(waiting: int, oldest: float, *, max_size: int, max_wait: float, now: float) -> float:
    """Return when the next batch is due, on the clock of `now`: at once if it is full or has waited long enough.

    Args:
        waiting: units that wait.
        oldest: when the first of them came.
        max_size: units that a batch holds at most.
        max_wait: seconds that the first unit waits for others at most.
        now: the time; a result <= now means that the batch goes.

    Example: max_size 8, max_wait 0.005, 3 units since 10.000 -> due at 10.005; the 8th at 10.002 -> due at once.
    """
    if waiting >= max_size or max_wait <= 0.0:
        return now
    return oldest + max_wait


def may_hold(service: float) -> int:
    """Return how many dispatches a replica may hold, its mean service time being `service` seconds.

    One runs, others may wait as long as they are PIPELINED_WORK together: 1 + PIPELINED_WORK / service, within
    [1, MAX_PIPELINED]. An unknown service time (0) counts as long: a replica earns its credits.

    Example: 40 us -> 26; 1 ms -> 2; 50 ms -> 1.
    """
    if service <= 0.0:
        return 1
    return min(MAX_PIPELINED, 1 + int(min(MAX_PIPELINED, PIPELINED_WORK / service)))


def smoothed(mean: float, sample: float, *, weight: float = 0.1) -> float:
    """Return the exponentially weighted mean after one more sample; the first sample is the mean."""
    return sample if mean <= 0.0 else mean + weight * (sample - mean)
