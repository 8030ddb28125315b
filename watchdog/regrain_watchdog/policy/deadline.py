"""How long a unit still has to go, learned step by step, so that one that cannot arrive in time is known early.

What a step costs is kept as a smoothed mean and a smoothed mean deviation, as TCP keeps its round trips (Jacobson,
"Congestion avoidance and control", 1988): both follow the present, and neither needs a history.

What decides is written over scalars and arrays, so that a simulator compiles the very same functions.
"""

from __future__ import annotations

import math
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass

MEAN_GAIN = 1 / 8
DEVIATION_GAIN = 1 / 4
MARGIN = 2.0
"""Mean deviations that are added where an estimate must rarely be too low."""
HALF_LIFE = 1.0
"""Seconds without a sample after which an estimate is believed half. Else one that is too high would have everything
shed, and nothing would ever show that it is wrong."""
REFRESH = 0.01
"""Seconds that the way from each step is believed before it is looked at again."""


def learned(mean: float, deviation: float, sample: float) -> tuple[float, float]:
    """Return mean and deviation after one more sample; the first is the mean, and half of it the deviation."""
    if mean <= 0.0:
        return sample, sample / 2
    error = sample - mean
    return mean + MEAN_GAIN * error, deviation + DEVIATION_GAIN * (abs(error) - deviation)


def belief(seen: float, now: float) -> float:
    """Return how far an estimate is believed, in [0, 1]: less the longer ago its last sample is."""
    return math.exp2(-max(0.0, now - seen) / HALF_LIFE)


def safe(mean: float, deviation: float) -> float:
    """Return seconds that are rarely exceeded."""
    return mean + MARGIN * deviation


@dataclass(slots=True)
class Estimate:
    """A duration that is learned from samples; seconds.

    Example: samples 0.1, 0.1, 0.3 -> mean 0.125, deviation 0.078, safe 0.281.
    """

    mean: float = 0.0
    deviation: float = 0.0
    seen: float = 0.0

    def learn(self, sample: float, now: float) -> None:
        """Take one more sample, as `learned` does."""
        self.mean, self.deviation = learned(self.mean, self.deviation, sample)
        self.seen = now

    def belief(self, now: float) -> float:
        """Return how far the estimate is believed, in [0, 1]."""
        return belief(self.seen, now)

    @property
    def safe(self) -> float:
        """Seconds that are rarely exceeded."""
        return safe(self.mean, self.deviation)


def remaining(costs: Sequence[float], after: Sequence[Sequence[int]]) -> list[float]:
    """Return, for each step, the seconds from its begin to the end of the request: the longest way on from it.

    Args:
        costs: seconds by step, in topological order.
        after: by step, the steps that take its results.

    Example: costs (1, 2, 5), after ((1, 2), (), ()) -> [6, 2, 5].
    """
    left = [0.0] * len(costs)
    fill_remaining(left, costs, after)
    return left


def fill_remaining(
    left: MutableSequence[float], costs: Sequence[float], after: Sequence[Sequence[int]]
) -> None:
    """Write into `left` what `remaining` returns; in `after` a negative number stands for no step."""
    for place in range(len(costs) - 1, -1, -1):
        longest = 0.0
        for following in after[place]:
            if following >= 0:
                longest = max(longest, left[following])
        left[place] = costs[place] + longest
