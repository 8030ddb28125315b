"""Whether another pod is asked to run a group, and when one that failed is tried again.

A circuit breaker (Nygard, "Release It!", 2007): closed, requests go; after failures it opens and none go; once its time
is up a single trial goes, whose outcome closes it or opens it for twice as long. A pod that is gone opens it at once,
one that fails or takes too long after FAILURES in a row: that may be the request's doing.
"""

from __future__ import annotations

from dataclasses import dataclass

FAILURES = 3
"""Failures in a row after which nothing is sent."""
FIRST = 0.1
"""Seconds until the first trial after a pod has failed."""
LONGEST = 5.0
"""Seconds between two trials at most."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is known of a pod; times on one clock, in seconds.

    failures: in a row. trials: those that failed since it opened. until: when the next may go; 0.0 while it is closed.
    """

    failures: int = 0
    trials: int = 0
    until: float = 0.0

    @classmethod
    def untried(cls, now: float) -> Breaker:
        """Return the breaker of a pod that nobody has heard of yet: open, and to be tried at once."""
        return cls(until=now)

    @property
    def is_closed(self) -> bool:
        """Whether requests go."""
        return not self.until

    def may_try(self, now: float) -> bool:
        """Whether a trial may go."""
        return not self.is_closed and now >= self.until

    def succeeded(self) -> Breaker:
        """Return what follows from an answer."""
        return Breaker()

    def failed(self, now: float, *, gone: bool) -> Breaker:
        """Return what follows from a failure; `gone`: nobody is there, or nobody who serves.

        While it is open, what fails is a trial, or was sent before: only what is due moves the next trial on.
        """
        failures = self.failures + 1
        if self.is_closed:
            is_open = gone or failures >= FAILURES
            return Breaker(failures, 0, now + FIRST) if is_open else Breaker(failures)
        if not self.may_try(now):
            return Breaker(failures, self.trials, self.until)
        trials = self.trials + 1
        return Breaker(failures, trials, now + delay(trials))


def delay(trials: int) -> float:
    """Return the seconds until the next trial, so many having failed: 0.1, 0.2, 0.4, ... 5 at most."""
    return min(LONGEST, FIRST * 2.0 ** min(trials, 10))
