"""Whether a plan does what was predicted of it, said as soon as enough requests have ended to tell.

A sequential probability ratio test (Wald 1945) of "the hit rate is a tolerance below the prediction, or less bad"
against "twice the tolerance below". Misses come in bursts, so that n requests tell less than n draws: the
log-likelihood ratio is divided by the index of dispersion of misses by block (quasi-likelihood, Wedderburn 1974).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

TOLERANCE = 0.05
"""By which a prediction may be off: about the predictors' mean absolute error; less would blame every plan."""
LEAST, MOST = 0.01, 0.99
BLOCKS = 5
"""Blocks before anything is said: a dispersion cannot be told from fewer."""
KEPT = 1000
"""Blocks from which the dispersion is told."""


@dataclass(slots=True)
class Shortfall:
    """Holds measured against predicted.

    predicted: the hit rate. alarm: chance that a plan which does as predicted, or a tolerance worse, is ever blamed.
    """

    predicted: float
    alarm: float = 1e-3
    tolerance: float = TOLERANCE
    _hits: int = 0
    _misses: int = 0
    _blocks: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, hits: int, misses: int) -> bool:
        """Take in a block of requests that ended (some seconds' worth); whether the plan falls short for certain."""
        if hits + misses:
            self._hits += hits
            self._misses += misses
            self._blocks.append((hits, misses))
        return len(self._blocks) >= BLOCKS and self.ratio() > math.log(1 / self.alarm)

    @property
    def measured(self) -> float:
        """The hit rate so far; NaN before any request."""
        count = self._hits + self._misses
        return self._hits / count if count else math.nan

    def ratio(self) -> float:
        """Return the log-likelihood ratio of "falls short" against "does not"."""
        fair = min(max(self.predicted - self.tolerance, LEAST), MOST)
        short = min(max(self.predicted - 2 * self.tolerance, LEAST / 2), MOST)
        raw = self._hits * math.log(short / fair) + self._misses * math.log((1 - short) / (1 - fair))
        return raw / self._dispersion()

    def _dispersion(self) -> float:
        """Return the variance of misses by block over that of independent draws (Pearson's statistic), 1 at least."""
        rate = self._misses / (self._hits + self._misses) if self._hits + self._misses else 0.0
        if not 0 < rate < 1 or len(self._blocks) < 2:
            return 1.0
        pearson = sum(
            (misses - rate * (hits + misses)) ** 2 / (rate * (1 - rate) * (hits + misses))
            for hits, misses in self._blocks
        )
        return max(1.0, pearson / (len(self._blocks) - 1))
