"""The rate of the next seconds, forecast from the counts so far, with the error that such forecasts have had.

For each horizon the forecast is one of a few exponentially weighted means with memories from 5 to 320 seconds: the one
whose forecasts for that horizon have been off least; until some were judged, the longest, which wobbles least. On the
first 40 % of two traces of Azure's LLM services no memory was best on both, and trends (Holt, damped or not) added next
to nothing. Only counts up to now are used.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

MEMORIES = (5.0, 20.0, 80.0, 320.0)
"""Seconds."""
HORIZONS = (10.0, 30.0, 60.0)
"""Seconds ahead over which the mean rate is forecast."""
YOUNG = 10
"""Seconds of counts before which forecasts are not judged: one made of a second without a request was off by far."""
JUDGED = 600
"""Forecasts that the errors are told from."""
LEAST_JUDGED = 20
"""Forecasts below which no memory is best yet, and the spread of a Poisson process stands in for the errors seen."""
QUANTILE, NORMAL = 0.95, 1.645
"""The margin's quantile, and that of a normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What is expected of the mean rate over the next `horizon` seconds.

    Attributes:
        horizon: seconds.
        rate: expected requests a second.
        high: which it stays below with probability 0.95, by the errors seen so far.
        error: mean absolute error of past forecasts over the mean rate; NaN before any could be judged.
        coverage: share of past rates below their `high`; NaN likewise.
    """

    horizon: float
    rate: float
    high: float
    error: float
    coverage: float


class Forecaster:
    """Forecasts one app's rate."""

    def __init__(self) -> None:
        self._means = [_Mean(memory) for memory in MEMORIES]
        self._tracks = [_Track(int(horizon)) for horizon in HORIZONS]
        self._part = [0.0, 0.0]

    def update(self, seconds: float, count: int) -> None:
        """Take in the requests that came in the last `seconds`; they are judged by the whole second."""
        self._part[0] += seconds
        self._part[1] += count
        if self._part[0] < 1.0 - 1e-9:
            return
        rate = self._part[1] / self._part[0]
        self._part = [0.0, 0.0]
        for mean in self._means:
            mean.add(rate)
        for track in self._tracks:
            track.add(rate, [mean.value for mean in self._means])

    def restart(self, rate: float) -> None:
        """Begin anew from a rate: what came before a change says nothing of what comes. Errors seen are kept."""
        for mean in self._means:
            mean.restart(rate)
        for track in self._tracks:
            track.restart()

    def forecast(self, horizon: float) -> Forecast:
        """Return what is expected of the next seconds, by the least of HORIZONS that is as long, or the longest."""
        track = next((track for track in self._tracks if track.horizon >= horizon), self._tracks[-1])
        return track.forecast([mean.value for mean in self._means])


class _Mean:
    """An exponentially weighted mean of rates by the second, unbiased from the first on."""

    def __init__(self, memory: float) -> None:
        self._keep = math.exp(-1.0 / memory)
        self._weight = 0.0
        self._sum = 0.0

    def add(self, rate: float) -> None:
        self._weight = self._weight * self._keep + 1.0
        self._sum = self._sum * self._keep + rate

    def restart(self, rate: float) -> None:
        """Have seen one second of a rate and nothing else."""
        self._weight, self._sum = 1.0, rate

    @property
    def value(self) -> float:
        return self._sum / self._weight if self._weight else 0.0


class _Track:
    """The forecasts for one horizon, and what came of them.

    Errors count in units of the square root of the rate forecast, as those of a Poisson process spread.
    """

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self._seen: deque[float] = deque(maxlen=horizon)
        self._open: deque[tuple[list[float], Forecast]] = deque(maxlen=horizon + 1)
        self._off = np.zeros(len(MEMORIES))
        self._errors: deque[float] = deque(maxlen=JUDGED)
        self._judged: deque[tuple[float, float, bool]] = deque(maxlen=JUDGED)

    def add(self, rate: float, means: list[float]) -> None:
        """Take in a second's rate: judge the forecast whose horizon ends with it, and make one more."""
        self._seen.append(rate)
        if len(self._open) > self.horizon - 1 and len(self._seen) == self.horizon:
            self._judge(*self._open.popleft(), sum(self._seen) / self.horizon)
        if len(self._seen) >= YOUNG:
            self._open.append((means, self.forecast(means)))

    def restart(self) -> None:
        """Judge none of the forecasts that were made so far."""
        self._seen.clear()
        self._open.clear()

    def _judge(self, means: list[float], told: Forecast, came: float) -> None:
        self._off = self._off * (1 - 1 / JUDGED) + np.abs(np.array(means) - came)
        self._errors.append((came - told.rate) / self._unit(told.rate))
        self._judged.append((abs(came - told.rate), came, came <= told.high))

    def forecast(self, means: list[float]) -> Forecast:
        rate = means[-1 if len(self._errors) < LEAST_JUDGED else int(np.argmin(self._off))]
        off, came, below = zip(*self._judged, strict=True) if self._judged else ((), (), ())
        return Forecast(
            horizon=float(self.horizon),
            rate=rate,
            high=rate + self._margin() * self._unit(rate),
            error=sum(off) / sum(came) if sum(came) else math.nan,
            coverage=sum(below) / len(below) if below else math.nan,
        )

    def _margin(self) -> float:
        poisson = NORMAL / math.sqrt(self.horizon)
        if len(self._errors) < LEAST_JUDGED:
            return poisson
        return max(0.0, float(np.quantile(np.array(self._errors), QUANTILE)))

    def _unit(self, rate: float) -> float:
        return math.sqrt(max(rate, 1.0 / self.horizon))
