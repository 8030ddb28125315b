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
SLOPE_GAIN = 1 / 4
MARGIN = 2.0
"""Mean deviations that are added where an estimate must rarely be too low."""
HALF_LIFE = 1.0
"""Seconds without a sample after which an estimate is believed half. Else one that is too high would have everything
shed, and nothing would ever show that it is wrong."""
REFRESH = 0.01
"""Seconds that the way from each step is believed before it is looked at again."""


def learned(
    mean: float, deviation: float, size: float, slope: float, *, sample: float, units: int
) -> tuple[float, float, float, float]:
    """Return mean, deviation, size and slope after one more sample, which is of a dispatch of so many units.

    The four are a line: `mean` seconds at the mean `size`, `slope` seconds for each unit more, and the mean deviation
    from that. So large batches do not make small ones seem long. The first sample is the mean, and half of it the
    deviation. The slope moves by normalised least mean squares (Widrow and Hoff 1960; Nagumo and Noda 1967).
    """
    if mean <= 0.0:
        return sample, sample / 2, float(units), 0.0
    distance = units - size
    error = sample - mean - slope * distance
    mean += MEAN_GAIN * (sample - mean)
    size += MEAN_GAIN * distance
    slope += SLOPE_GAIN * error * distance / (1.0 + distance * distance)
    slope = min(max(0.0, slope), mean / size)
    return mean, deviation + DEVIATION_GAIN * (abs(error) - deviation), size, slope


def belief(seen: float, now: float) -> float:
    """Return how far an estimate is believed, in [0, 1]: less the longer ago its last sample is."""
    return math.exp2(-max(0.0, now - seen) / HALF_LIFE)


def safe(mean: float, deviation: float) -> float:
    """Return seconds that are rarely exceeded."""
    return mean + MARGIN * deviation


def saved(size: float, slope: float) -> float:
    """Return the seconds by which a dispatch of one unit is shorter than the mean."""
    return slope * (size - 1.0)


@dataclass(slots=True)
class Estimate:
    """What a dispatch takes, learned from samples; seconds. size, slope: of batches, as in `learned`.

    Example: samples 0.1, 0.1, 0.3 of one unit each -> mean 0.125, deviation 0.078, safe 0.281.
    """

    mean: float = 0.0
    deviation: float = 0.0
    seen: float = 0.0
    size: float = 1.0
    slope: float = 0.0

    def learn(self, sample: float, now: float, units: int = 1) -> None:
        """Take one more sample, as `learned` does."""
        self.mean, self.deviation, self.size, self.slope = learned(
            self.mean, self.deviation, self.size, self.slope, sample=sample, units=units
        )
        self.seen = now

    def belief(self, now: float) -> float:
        """Return how far the estimate is believed, in [0, 1]."""
        return belief(self.seen, now)

    @property
    def safe(self) -> float:
        """Seconds that are rarely exceeded."""
        return safe(self.mean, self.deviation)

    @property
    def saved(self) -> float:
        """Seconds by which a dispatch of one unit is shorter than the mean."""
        return saved(self.size, self.slope)

    @property
    def alone(self) -> float:
        """Seconds of a dispatch of one unit."""
        return self.mean - self.saved


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
