"""What arrives: requests as they came, and what a window of them says of the next minutes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
