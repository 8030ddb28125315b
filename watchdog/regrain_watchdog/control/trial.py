"""How a plan in force does against what was predicted of it, and which plans have lost trust by that."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from regrain.plan import Plan
from regrain_watchdog.policy.sequential import Shortfall

BLOCK = 5.0
"""Seconds of requests that are held against the prediction together."""
MOVED = 0.02
"""Of hit rate, by which a prediction must move to be another one."""
MANY, BLOCKS, KEPT = 100, 6, 60
"""Requests and blocks of them from which a measured hit rate counts beside a predicted one; blocks that are kept."""
LONG, MOST_LONG = 120, 360
"""Blocks from which, and of which at most, a hit rate is that of the long run."""
SURE = 2.5
"""Standard errors."""
DISTRUST, MOST = 300.0, 4 * 3600.0
"""Seconds for which a plan is not taken again that failed once, doubled each time, and at most."""


class Trial:
    """The plan in force on trial.

    plan: in force. before: the plan that ruled before, where this one was decided for; None where an operator chose it.

    Attributes:
        failed: whether it has fallen short of its prediction for certain.
    """

    def __init__(self, plan: Plan, before: Plan | None = None) -> None:
        self.plan = plan
        self.before = before
        self.failed = False
        self._test: Shortfall | None = None
        self._part = (0.0, 0, 0)
        self._blocks: deque[tuple[int, int]] = deque(maxlen=KEPT)
        self._long: deque[tuple[int, int]] = deque(maxlen=MOST_LONG)

    def begin(self) -> None:
        """Forget what was measured: the load has changed."""
        self._test, self.failed = None, False
        self._part = (0.0, 0, 0)
        self._blocks.clear()
        self._long.clear()

    def forgive(self) -> None:
        """Forget what was measured so far, but for the test against the prediction and the long run."""
        self._blocks.clear()

    def expect(self, predicted: float) -> None:
        """Hold it against a prediction; one that has moved is another one."""
        if self._test is None or abs(predicted - self._test.predicted) > MOVED:
            self._test, self.failed = Shortfall(predicted), False

    def follow(self, seconds: float, hits: int, misses: int) -> bool:
        """Take in the requests that ended in the last seconds; whether it has turned out only now to fall short."""
        lasted, in_time, missed = self._part
        self._part = lasted + seconds, in_time + hits, missed + misses
        if self._part[0] < BLOCK - 1e-9:
            return False
        _, in_time, missed = self._part
        self._part = (0.0, 0, 0)
        self._blocks.append((in_time, missed))
        self._long.append((in_time, missed))
        falls_short = self._test is not None and self._test.add(in_time, missed)
        is_new, self.failed = falls_short and not self.failed, self.failed or falls_short
        return is_new

    @property
    def measured(self) -> float:
        """The hit rate of the last minutes, since the plan or the load changed; NaN before any request."""
        return _share(self._blocks)

    @property
    def long_run(self) -> float:
        """The hit rate of the last half an hour, likewise; NaN before ten minutes of it."""
        return _share(self._long) if len(self._long) >= LONG else math.nan

    @property
    def predicted(self) -> float:
        """The hit rate that it is held against; NaN before any."""
        return self._test.predicted if self._test is not None else math.nan

    @property
    def is_known(self) -> bool:
        """Whether enough was measured to say something."""
        return self._counts()[1] >= MANY and len(self._blocks) >= BLOCKS

    def bounds(self) -> tuple[float, float]:
        """Return between which hit rates the plan is for certain; 0 and 1 where too little was measured to say.

        The standard error is that of the blocks' rates, or of independent requests if that is more.
        """
        if not self.is_known:
            return 0.0, 1.0
        hits, ended = self._counts()
        rate = hits / ended
        spread = sum((in_time - rate * (in_time + missed)) ** 2 for in_time, missed in self._blocks)
        error = math.sqrt(max(rate * (1 - rate) * ended, spread, 1.0)) / ended
        return max(0.0, rate - SURE * error), min(1.0, rate + SURE * error)

    def misled(self, attainment: float, enough: float) -> bool:
        """Whether it misses the objective for certain, and was not expected to: of `enough` it was predicted.

        One that was taken for less than comes now does as predicted where it misses; others are sought for that. One
        that has failed is yet to be held to what was measured, which may not be forgiven before.
        """
        return not self.failed and self.bounds()[1] < attainment and not self.predicted < enough

    def _counts(self) -> tuple[int, int]:
        hits = sum(in_time for in_time, _ in self._blocks)
        return hits, hits + sum(missed for _, missed in self._blocks)


def _share(blocks: Iterable[tuple[int, int]]) -> float:
    """Return the hit rate of some blocks; NaN of no requests."""
    hits, misses = (sum(counts) for counts in zip((0, 0), *blocks, strict=True))
    return hits / (hits + misses) if hits + misses else math.nan


class Distrust:
    """Plans that are not taken for a while, for they did worse than predicted or did not come into force."""

    def __init__(self) -> None:
        self._until: dict[Plan, tuple[float, float]] = {}

    def add(self, plan: Plan, now: float) -> None:
        """Distrust a plan, for twice as long as the time before."""
        _, seconds = self._until.get(plan, (0.0, DISTRUST / 2))
        self._until[plan] = now + min(2 * seconds, MOST), min(2 * seconds, MOST)

    def holds(self, plan: Plan, now: float) -> bool:
        """Whether a plan is distrusted now."""
        return now < self._until.get(plan, (0.0, 0.0))[0]


class Bucket:
    """So many changes an hour, of which some may follow each other at once."""

    def __init__(self, an_hour: float, burst: int) -> None:
        self._rate = an_hour / 3600.0
        self._burst = burst
        self._left = float(burst)
        self._at = -math.inf

    def has(self, now: float) -> bool:
        """Whether one more is allowed now."""
        return self._now(now) >= 1.0

    def take(self, now: float) -> None:
        """Count one."""
        self._left, self._at = self._now(now) - 1.0, now

    def _now(self, now: float) -> float:
        passed = now - self._at
        return (
            float(self._burst) if math.isinf(passed) else min(self._burst, self._left + passed * self._rate)
        )
