"""Whether a bursty load has gone beyond its bursts, said within seconds.

To the tests of its mean a bursty load may do whatever its bursts did. Yet one that comes ten times as often shows it in
its lulls already, where these bring more than the bursts before. So what comes is held against the rate of the bursts:
two levels are fitted to the counts by the second (a Poisson mixture, by expectation maximisation), and a CUSUM as in
`change` tests RATIO times the higher one against it. Where the counts within the bursts spread by more than chance the
sum is divided by their index of dispersion.

Of a load with bursts of six times the rate of its lulls a step to ten times the rate is found after 2 seconds in the
median from 9 requests a second on, 4 at 3.4, when it is a lull that follows; a test against the full law of two states
that switch is no faster, and raised more false alarms.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.change import Change, Sum

RATIO = 1.6
"""Times the rate of the bursts, for which the test is best."""
ROUNDS = 30
LEAST = 60
"""Seconds of counts below which there are no levels."""
FLOOR = 0.01
"""Requests a second, and the share of the seconds, that a level has at least."""
SURE = 50.0
"""Log odds beyond which a second is of one level alone."""


class Bursts:
    """Watches a bursty load. period: seconds between two false alarms at least, in the mean."""

    def __init__(self, *, period: float = 3600.0) -> None:
        self._period = period
        self._high, self._spread = 0.0, 1.0
        self._sum = Sum()

    @property
    def seconds(self) -> float:
        """For how long more may have come than the bursts bring; what came then is none to learn from."""
        return self._sum.seconds

    def learn(self, found: NDArray[np.float64]) -> None:
        """Learn how much the bursts bring from counts by the second, (n,); from too few nothing."""
        if len(found) < LEAST or not found.any():
            return
        self._high, self._spread = high_level(found)

    def update(self, seconds: float, count: int) -> Change | None:
        """Take in what came in the last `seconds` (a second or less); return the change if the load went beyond.

        It is said again and again until `forget`: who knows more of the past may think otherwise.
        """
        if not self._high:
            return None
        ratio = (count * math.log(RATIO) - self._high * seconds * (RATIO - 1)) / self._spread
        self._sum = self._sum.add(ratio, seconds, count)
        if self._sum.value <= math.log(max(self._period / seconds, 1.0)):
            return None
        after = self._sum.count / self._sum.seconds
        return Change(what="rate", before=self._high, after=after, seconds=self._sum.seconds)

    def forget(self) -> None:
        """Know nothing: the load is another one."""
        self._high, self._spread, self._sum = 0.0, 1.0, Sum()


def high_level(found: NDArray[np.float64]) -> tuple[float, float]:
    """Return the higher of two Poisson rates that counts come from, and the index of dispersion at it, 1 at least.

    Args:
        found: (n,) counts, not all of them 0.
    """
    low = max(float(np.quantile(found, 0.3)), FLOOR)
    high, share = max(float(np.quantile(found, 0.95)), 2 * low), 0.2
    for _ in range(ROUNDS):
        odds = found * math.log(high / low) - (high - low) + math.log(share / (1 - share))
        is_high = 1 / (1 + np.exp(-np.clip(odds, -SURE, SURE)))
        share = min(max(float(is_high.mean()), FLOOR), 1 - FLOOR)
        high = max(float((is_high * found).sum() / is_high.sum()), 2 * FLOOR)
        low = min(max(float(((1 - is_high) * found).sum() / (1 - is_high).sum()), FLOOR), high)
    spread = float((is_high * (found - high) ** 2).sum() / is_high.sum()) / high
    return high, max(1.0, spread)
