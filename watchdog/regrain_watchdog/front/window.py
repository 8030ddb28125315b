"""What the last seconds were like: rate, latency percentiles, hit rate.

Latencies go into bins that grow by 5 %, so a percentile is right to about 2.5 % at any load and a request
costs one addition. Pure: time comes in as `now`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

SHORTEST = 1e-5
GROWTH = 1.05
BINS = 400  # SHORTEST * GROWTH ** 400 = 3000 seconds
_SCALE = 1 / math.log(GROWTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a window of `window` seconds held. `rate` is requests per second; `p50`, `p95`, `p99` are seconds.

    `hit_rate` is in [0, 1]. Percentiles and hit rate are of hits and misses; None where there are none.
    """

    window: float
    requests: int
    rate: float
    p50: float | None
    p95: float | None
    p99: float | None
    hit_rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """What ended in one whole second; it began at `start` (CLOCK_MONOTONIC). Percentiles as in Summary."""

    start: int
    requests: int
    hits: int
    misses: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(slots=True)
class _Second:
    """What ended in one second of the clock."""

    second: int = -1
    hits: int = 0
    misses: int = 0
    others: int = 0
    bins: list[int] = field(default_factory=lambda: [0] * BINS)


class Window:
    """Remembers the last `seconds` whole seconds.

    Args:
        seconds: how far it looks back.
    """

    def __init__(self, seconds: int = 30) -> None:
        self._seconds = seconds
        self._ring = [_Second() for _ in range(seconds + 1)]
        self._first = math.inf

    def add(self, seconds: float, *, hit: bool | None, now: float) -> None:
        """Count a request that took `seconds`; `hit` is None for one that counts in the rate alone."""
        second = int(now)
        slot = self._ring[second % len(self._ring)]
        if slot.second != second:
            slot = self._ring[second % len(self._ring)] = _Second(second)
            self._first = min(self._first, now)
        if hit is None:
            slot.others += 1
            return
        place = int(math.log(seconds / SHORTEST) * _SCALE) if seconds > SHORTEST else 0
        slot.bins[place if place < BINS else BINS - 1] += 1
        if hit:
            slot.hits += 1
        else:
            slot.misses += 1

    def summary(self, now: float) -> Summary:
        """Sum up the window that ends with `now`; its first second may be a partial one."""
        second = int(now)
        slots = [slot for slot in self._ring if second - self._seconds <= slot.second <= second]
        bins = [sum(column) for column in zip(*(slot.bins for slot in slots), strict=True)] if slots else []
        hits, misses = sum(slot.hits for slot in slots), sum(slot.misses for slot in slots)
        judged = hits + misses
        count = judged + sum(slot.others for slot in slots)
        span = min(max(now - self._first, 1.0), self._seconds + now - second)
        return Summary(
            window=span,
            requests=count,
            rate=count / span,
            p50=_percentile(bins, judged, 0.50),
            p95=_percentile(bins, judged, 0.95),
            p99=_percentile(bins, judged, 0.99),
            hit_rate=hits / judged if judged else None,
        )

    def seconds(self, now: float) -> list[Second]:
        """Return each of the last whole seconds, oldest first, from the first in which anything ended."""
        first = max(int(now) - self._seconds, int(min(self._first, now)))
        return [self._told(second) for second in range(first, int(now))]

    def _told(self, second: int) -> Second:
        slot = self._ring[second % len(self._ring)]
        if slot.second != second:  # nothing ended in it
            slot = _Second(second)
        judged = slot.hits + slot.misses
        return Second(
            start=second,
            requests=judged + slot.others,
            hits=slot.hits,
            misses=slot.misses,
            p50=_percentile(slot.bins, judged, 0.50),
            p95=_percentile(slot.bins, judged, 0.95),
            p99=_percentile(slot.bins, judged, 0.99),
        )


def _percentile(bins: list[int], count: int, share: float) -> float | None:
    """The middle of the bin in which the share of requests is reached."""
    wanted = math.ceil(count * share)
    reached = 0
    for place, amount in enumerate(bins):
        reached += amount
        if amount and reached >= wanted:
            return SHORTEST * math.pow(GROWTH, place + 0.5)
    return None
