"""Arrivals as a process: Poisson, or Poisson whose rate moves between two phases (MMPP), fitted to a window.

Few numbers say of a load what queues feel of it: how many come, and how they bunch over the times in which a queue
fills and drains. The fit is by moments and has no randomness in it, so the same window gives the same process.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 200
"""Arrivals below which a window says nothing of burstiness: the index of dispersion over n / 10 bins of ten arrivals
has a standard error of sqrt(20 / n), a third at 200. Fewer are taken for Poisson."""
SIGNIFICANT = 3.0
"""Standard errors by which counts must be overdispersed at some scale to be called bursty."""
SCALES = 10
"""Scales at which the dispersion is looked at, each twice the one before, the smallest of about two arrivals a bin."""
FEWEST_BINS = 12
"""Bins that a scale needs for its dispersion to be looked at."""

REGULAR = 0.5
"""Part of its largest excess to which the dispersion falls at longer scales where bursts come by a clock, each as long
as the one before. At those scales it tells how many bursts came and not how long they last, so they are left out."""
ALIKE = 2.0
"""How many times longer, seen from a request in it, a burst of exponential length lasts than one of constant length, by
the mean rest E[s^2] / (2 E[s])."""


@dataclass(frozen=True, slots=True)
class Process:
    """A Markov-modulated Poisson process of one phase (Poisson) or two.

    Attributes:
        rates: requests a second while a phase lasts.
        stays: mean seconds that a phase lasts; infinite where there is only one.
    """

    rates: tuple[float, ...]
    stays: tuple[float, ...] = (float("inf"),)

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of the time that each phase has."""
        if len(self.rates) == 1:
            return (1.0,)
        whole = sum(self.stays)
        return tuple(stay / whole for stay in self.stays)

    @property
    def rate(self) -> float:
        """Requests a second in the mean."""
        return sum(rate * share for rate, share in zip(self.rates, self.shares, strict=True))

    @property
    def weights(self) -> tuple[float, ...]:
        """The share of the requests that come in each phase."""
        mean = self.rate
        if mean <= 0.0:
            return self.shares
        return tuple(rate * share / mean for rate, share in zip(self.rates, self.shares, strict=True))

    def dispersion(self, seconds: float) -> float:
        """Return the index of dispersion of counts, variance over mean of the arrivals in so many seconds.

        With phases' rates l1, l2, shares p1, p2, mean rate l and r = 1/stay1 + 1/stay2 (Heffes and Lucantoni, "A
        Markov modulated characterization of packetized voice and data traffic", 1986):
        I(t) = 1 + 2 p1 p2 (l1 - l2)^2 / (l r) (1 - (1 - exp(-r t)) / (r t)).
        """
        if len(self.rates) == 1 or self.rate <= 0.0:
            return 1.0
        (one, two), (share, rest) = self.rates, self.shares
        speed = sum(1.0 / stay for stay in self.stays)
        limit = 2.0 * share * rest * (one - two) ** 2 / (self.rate * speed)
        return float(1.0 + limit * _build_up(np.array([speed * seconds]))[0])


def poisson(rate: float) -> Process:
    """Return arrivals without memory; `rate` requests a second."""
    return Process((rate,))


def fit(at: NDArray[np.float64], span: float) -> Process:
    """Return the process that a window looks like.

    Rate, dispersion over all scales that the window shows, and the skewness of its counts give the four numbers of an
    MMPP(2). A window of fewer than FEWEST arrivals, or one that is not bursty by SIGNIFICANT, gives Poisson.

    Args:
        at: (n,) seconds, ascending, each in [0, span].
        span: seconds of the window.
    """
    count = len(at)
    if span <= 0.0 or count == 0:
        return poisson(0.0)
    rate = count / span
    if count < FEWEST:
        return poisson(rate)
    scales, found, errors = dispersions(at, span)
    if not len(scales) or np.max((found - 1.0) / errors) < SIGNIFICANT:
        return poisson(rate)
    excess, weights = np.maximum(found - 1.0, 0.0), 1.0 / (errors * found) ** 2
    top = int(np.argmax(found))
    is_regular = bool(excess[top:].min() < REGULAR * excess[top])
    kept = slice(top + 1) if is_regular else slice(None)
    limit, speed = _decay(scales[kept], excess[kept], weights[kept])
    if is_regular:
        limit, speed = limit / ALIKE, speed * ALIKE
    variance = limit * rate * speed / 2.0
    if variance <= 0.0:
        return poisson(rate)
    share = _share_of_burst(at, span, rate, variance, speed)
    return _two_phases(rate, variance, speed, share)


def dispersions(
    at: NDArray[np.float64], span: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return scales in seconds, the index of dispersion of counts at each, and its standard error if it were 1."""
    smallest = 2.0 * span / len(at)
    scales = smallest * 2.0 ** np.arange(SCALES)
    scales = scales[scales * FEWEST_BINS <= span]
    bins = np.array([int(span / scale) for scale in scales])
    found: NDArray[np.float64] = np.array(
        [_dispersion(_counts(at, scale, many)) for scale, many in zip(scales, bins, strict=True)]
    )
    errors: NDArray[np.float64] = np.sqrt(2.0 / np.maximum(bins - 1, 1)).astype(np.float64)
    return scales.astype(np.float64), found, errors


def _counts(at: NDArray[np.float64], scale: float, bins: int) -> NDArray[np.int64]:
    places = (at / scale).astype(np.int64)
    return np.bincount(places[places < bins], minlength=bins)


def _dispersion(counts: NDArray[np.int64]) -> float:
    mean = float(counts.mean())
    return float(counts.var(ddof=1)) / mean if mean > 0.0 else 1.0


def _build_up(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 - (1 - exp(-x)) / x."""
    return 1.0 + np.expm1(-times) / np.maximum(times, 1e-12)


def _decay(
    scales: NDArray[np.float64], excess: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return limit and speed of the excess limit (1 - (1 - exp(-r t)) / (r t)) that fits best."""
    speeds = np.geomspace(0.1 / scales[-1], 10.0 / scales[0], 60)
    shapes = _build_up(speeds[:, None] * scales)
    limits = (shapes * excess * weights).sum(axis=1) / (shapes**2 * weights).sum(axis=1)
    misses = ((limits[:, None] * shapes - excess) ** 2 * weights).sum(axis=1)
    best = int(np.argmin(misses))
    return float(limits[best]), float(speeds[best])


def _share_of_burst(
    at: NDArray[np.float64], span: float, rate: float, variance: float, speed: float
) -> float:
    """Return the share of the time in the faster phase, by the third moment of counts over half a phase's time.

    A rate that is one of two has skewness (1 - 2 p) / sqrt(p (1 - p)); the third factorial cumulant of the counts in t
    seconds is that of the rate, if t is short against the phases, times t^3.
    """
    scale = max(0.5 / speed, 2.0 / rate)
    bins = max(2, int(span / scale))
    counts = _counts(at, span / bins, bins).astype(np.float64)
    mean = counts.mean()
    second = ((counts - mean) ** 2).mean()
    third = ((counts - mean) ** 3).mean()
    varied = max(second - mean, 1e-9 * mean)
    skewness = float((third - 3.0 * second + 2.0 * mean) / varied**1.5)
    share = 0.5 - 0.5 * skewness / np.sqrt(skewness**2 + 4.0)
    most = rate**2 / (rate**2 + variance)  # beyond it the slower phase would have a rate below zero
    return float(np.clip(share, 0.01, min(0.99, most)))


def _two_phases(rate: float, variance: float, speed: float, share: float) -> Process:
    fast = rate + float(np.sqrt(variance * (1.0 - share) / share))
    slow = max(0.0, rate - float(np.sqrt(variance * share / (1.0 - share))))
    slow = max(slow, 1e-3 * rate)
    fast = (rate - slow * (1.0 - share)) / share
    return Process((slow, fast), (1.0 / (speed * share), 1.0 / (speed * (1.0 - share))))
