"""What arrives: requests as they came, and what a window of them says of the next minutes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCALES = (1.0, 10.0, 60.0)
"""Seconds over which requests are counted, to see how bursty they are."""
LEAST_COUNTS = 8
"""Counts from which a variance is told: with fewer it says little."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """Requests in the order in which they came.

    Attributes:
        at: (n,) seconds from the begin of the window; ascending.
        size: (n,) of each request, in the app's measure (bytes of its body).
        widths: (n, lists) items of each list that the flow maps over.
        span: seconds of the window; >= at[-1].
    """

    at: NDArray[np.float64]
    size: NDArray[np.float64]
    widths: NDArray[np.int32]
    span: float

    def __len__(self) -> int:
        return len(self.at)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.at) / self.span if self.span > 0 else 0.0

    def between(self, begin: float, end: float) -> Arrivals:
        """Return those with begin <= at < end, counted from `begin`."""
        low, high = np.searchsorted(self.at, (begin, end))
        return Arrivals(self.at[low:high] - begin, self.size[low:high], self.widths[low:high], end - begin)

    def scaled(self, rate: float) -> Arrivals:
        """Return the same requests arriving at another mean rate, with gaps stretched alike."""
        factor = self.rate / rate
        return Arrivals(self.at * factor, self.size, self.widths, self.span * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a window of requests is like, in few numbers.

    Attributes:
        rate: requests a second.
        cv2: squared coefficient of variation of the gaps: 1 for Poisson, more where requests come in bursts; NaN with
            fewer than three requests.
        dispersion: for each of SCALES, variance over mean of the counts of so many seconds: 1 for Poisson; NaN where
            the window holds fewer than LEAST_COUNTS of them.
        size: QUANTILES of the sizes; none without requests.
        widths: for each list, QUANTILES of its items.
    """

    rate: float
    cv2: float
    dispersion: tuple[float, ...]
    size: tuple[float, ...]
    widths: tuple[tuple[float, ...], ...]


def traits(arrivals: Arrivals) -> Traits:
    """Return what a window of requests is like."""
    gaps = np.diff(arrivals.at)
    mean = float(gaps.mean()) if len(gaps) > 1 else 0.0
    return Traits(
        rate=arrivals.rate,
        cv2=float(gaps.var()) / mean**2 if mean > 0 else float("nan"),
        dispersion=tuple(dispersion(counts(arrivals, scale)) for scale in SCALES),
        size=_quantiles(arrivals.size),
        widths=tuple(_quantiles(column) for column in arrivals.widths.T),
    )


def counts(arrivals: Arrivals, seconds: float) -> NDArray[np.float64]:
    """Return the requests in each whole stretch of so many seconds, (floor(span / seconds),); none of no span."""
    whole = max(0, int(arrivals.span / seconds + 1e-9))
    found, _ = np.histogram(arrivals.at, bins=whole, range=(0.0, whole * seconds)) if whole else ([], None)
    return np.asarray(found, dtype=np.float64)


def dispersion(found: NDArray[np.float64]) -> float:
    """Return the index of dispersion of counts, Var N / E N (Cox and Lewis 1966); NaN where they are too few."""
    mean = float(found.mean()) if len(found) >= LEAST_COUNTS else 0.0
    return float(found.var(ddof=1)) / mean if mean > 0 else float("nan")


def _quantiles(values: NDArray[np.float64] | NDArray[np.int32]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(values, QUANTILES)) if len(values) else ()
