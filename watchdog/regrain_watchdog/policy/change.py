"""Whether the load has changed, said within seconds, so that the controller need not wait for its next turn.

Each quantity has its own CUSUM (Page 1954): the running sum S = max(0, S + log-likelihood ratio of "changed" against
"as before") alarms at S > h. Drawn from "as before", the mean number of updates between false alarms is at least exp(h)
(Lorden 1971), so h follows from the rate of false alarms that is asked for.

The rate. For n requests in t seconds, where lambda a second were expected, the ratio for a rate r times as high is
n log r - lambda t (r - 1). Real loads are burstier than Poisson: it is divided by D, the index of dispersion of counts
that the load has shown (quasi-likelihood, Wedderburn 1974). So that a load with slow swings (large D) is still caught
within seconds when it jumps to where it never was, one more sum tests against the busiest second seen, with D = 1.

For a leap, r = 8 has a sum of its own: a step to ten times the rate is caught as soon as about 9 requests have come, or
9 D, within 2 seconds from one request a second on. A step to twice the rate takes about 30 D / lambda seconds, one to
half of it about 110 D / lambda.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.load import SCALES, dispersion

RATIO, LEAP = 2.0, 8.0
"""The changes of the rate for which the tests are best."""
UP, DOWN = RATIO - 1, 0.45
"""What is taken off for each expected request. For "half" it would be 1 - 1/RATIO = 0.5 were counts Poisson. With
counts of variance D times their mean E exp(ratio) <= 1 holds up to log 2 - (log 2)**2 / 2 = 0.453."""
HISTORY = 600
"""Seconds of counts from which rate and dispersion are taken."""
LEARN, PATIENCE, LEARN_COUNT = 10, 80, 20
"""Seconds, at most so many of a bursty load, and requests before a rate is held against anything; values before a mean
is."""
SHIFT, CLIP = 1.0, 3.0
"""The shift of a mean for which the test is best, and how far from it one value counts, in standard deviations."""
MEMORY = 2000
"""Values that weigh on a mean."""
LEAST_SPREAD = 0.05
"""Standard deviation of log(1 + x) that is held against at least, so that constants may wobble by some percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What changed: "rate", "size" or "width 0" and so on, from what to what (means; of size and widths geometric).

    `seconds` is how long `after` was seen, of a rate.
    """

    what: str
    before: float
    after: float
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.what} {self.before:.3g} to {self.after:.3g}"


class ChangeDetector:
    """Watches the rate, the sizes and the widths of a load.

    Args:
        lists: lists that the app's flow maps over.
        period: seconds between two false alarms at least, in the mean, of all that is watched together.
    """

    def __init__(self, lists: int, *, period: float = 3600.0) -> None:
        self._period = period
        self._rate = _Rate()
        self._levels = {"size": _Level()} | {f"width {place}": _Level() for place in range(lists)}
        self._sums = 4 + 2 * len(self._levels)

    def update(
        self, seconds: float, count: int, sizes: Sequence[float], widths: Sequence[Sequence[float]]
    ) -> tuple[Change, ...]:
        """Take in what came in the last `seconds` (a second or less), and return what has changed.

        Args:
            seconds: since the update before.
            count: requests that arrived.
            sizes: of theirs.
            widths: for each list, those that have become known.
        """
        threshold = math.log(self._sums * max(self._period / seconds, 1.0))
        found = [self._rate.update(seconds, count, threshold)]
        for (what, level), values in zip(self._levels.items(), [sizes, *widths], strict=True):
            found.append(level.update(what, values, threshold))
        return tuple(change for change in found if change is not None)

    def leave(self) -> None:
        """Learn the rate anew: it has changed, as was found otherwise."""
        self._rate.leave()


class _Rate:
    """The sums of the rate, and the counts by the second that they hold it against.

    What came before a change says nothing of what comes after, so that it learns anew. A load that changes again within
    HISTORY may as well be a bursty one, which takes longer to know: each such change doubles the time to learn, up to
    PATIENCE.
    """

    def __init__(self) -> None:
        self._counts: deque[int] = deque(maxlen=HISTORY)
        self._since_change = HISTORY
        self._patience = LEARN
        self._part = [0.0, 0.0]
        self._rate = self._peak = 0.0
        self._dispersion = 1.0
        self._up = self._leap = self._down = self._burst = Sum()

    def update(self, seconds: float, count: int, threshold: float) -> Change | None:
        change = self._test(seconds, count, threshold) if self._rate > 0 else None
        self._part[0] += seconds
        self._part[1] += count
        if self._part[0] >= 1.0 - 1e-9:
            self._counts.append(round(self._part[1] / self._part[0]))
            self._part = [0.0, 0.0]
            self._since_change += 1
            self._learn()
        return change

    def _test(self, seconds: float, count: int, threshold: float) -> Change | None:
        expected, log, leap = self._rate * seconds, math.log(RATIO), math.log(LEAP)
        self._up = self._up.add((count * log - expected * UP) / self._dispersion, seconds, count)
        ratio = (count * leap - expected * (LEAP - 1)) / self._dispersion
        self._leap = self._leap.add(ratio, seconds, count)
        self._down = self._down.add((expected * DOWN - count * log) / self._dispersion, seconds, count)
        self._burst = self._burst.add(count * log - self._peak * seconds * UP, seconds, count)
        sums = (self._leap, self._up, self._down, self._burst)
        alarm = next((one for one in sums if one.value > threshold), None)
        if alarm is None:
            return None
        after = alarm.count / alarm.seconds
        change = Change(what="rate", before=self._rate, after=after, seconds=alarm.seconds)
        self.leave()
        return change

    def leave(self) -> None:
        """Learn anew."""
        self._patience = LEARN if self._since_change >= HISTORY else min(2 * self._patience, PATIENCE)
        self._since_change = 0
        self._counts.clear()
        self._up = self._leap = self._down = self._burst = Sum()
        self._learn()

    def _learn(self) -> None:
        """Take rate, dispersion and peak from the counts; 0 where there are too few to say."""
        found = np.array(self._counts, dtype=np.float64)
        enough = len(found) >= self._patience and found.sum() >= LEARN_COUNT
        self._rate = float(found.mean()) if enough else 0.0
        if enough:
            self._peak = float(found.max())
            self._dispersion = max([1.0, *(_dispersion(found, int(scale)) for scale in SCALES)])


def _dispersion(found: NDArray[np.float64], scale: int) -> float:
    """Return the index of dispersion of counts over so many seconds; 1 where it cannot be told."""
    told = dispersion(found[len(found) % scale :].reshape(-1, scale).sum(axis=1))
    return told if math.isfinite(told) else 1.0


@dataclass(frozen=True, slots=True)
class Sum:
    """A CUSUM, with the seconds and requests since it was 0 last."""

    value: float = 0.0
    seconds: float = 0.0
    count: int = 0

    def add(self, ratio: float, seconds: float, count: int) -> Sum:
        """Return it after some seconds with so many requests and such a log-likelihood ratio."""
        value = self.value + ratio
        return Sum(value, self.seconds + seconds, self.count + count) if value > 0 else Sum()


class _Level:
    """The sums of the mean of log(1 + x), held against the mean and spread of the last values."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._variance = 0.0
        self._up = self._down = 0.0

    def update(self, what: str, values: Sequence[float], threshold: float) -> Change | None:
        if not len(values):
            return None
        logs = np.log1p(np.asarray(values, dtype=np.float64))
        if self._count >= LEARN_COUNT:
            z = np.clip((logs - self._mean) / max(math.sqrt(self._variance), LEAST_SPREAD), -CLIP, CLIP)
            total, drift = SHIFT * float(z.sum()), SHIFT**2 / 2 * len(z)
            self._up = max(0.0, self._up + total - drift)
            self._down = max(0.0, self._down - total - drift)
        if max(self._up, self._down) > threshold:
            change = Change(what=what, before=math.expm1(self._mean), after=math.expm1(float(logs.mean())))
            self._count, self._up, self._down = 0, 0.0, 0.0
            return change
        self._learn(logs)
        return None

    def _learn(self, logs: NDArray[np.float64]) -> None:
        """Take values into the mean and variance, exactly up to MEMORY values and exponentially forgetting beyond."""
        self._count = min(self._count + len(logs), MEMORY)
        weight = min(len(logs) / self._count, 1.0)
        step = float(logs.mean()) - self._mean
        inner = float(logs.var())
        self._variance = (1 - weight) * self._variance + weight * inner + weight * (1 - weight) * step**2
        self._mean += weight * step
