"""T(batch, size, share): a stage's service time anywhere between the points that were measured, and nowhere beyond."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.profile import OutOfRangeError, Point, ProfileError, StageProfile


@dataclass(frozen=True, slots=True, eq=False)
class ServiceTime:
    """The service time of one stage.

    Attributes:
        stage: its name.
        shares, sizes, batches: what was measured, each ascending.
        seconds: (shares, sizes, batches) means of a call.
        cv: of a call at a share, a size and a batch that lie in the middle.
    """

    stage: str
    shares: NDArray[np.float64]
    sizes: NDArray[np.float64]
    batches: NDArray[np.float64]
    seconds: NDArray[np.float64]
    cv: float

    @classmethod
    def of(cls, stage: str, profile: StageProfile) -> ServiceTime:
        """Take it from a profile; ProfileError where points are missing from the grid of all their settings."""
        shares, sizes, batches = (
            np.unique([point[place] for point in map(_setting, profile.points)]) for place in range(3)
        )
        seconds = np.full((len(shares), len(sizes), len(batches)), np.nan)
        for point in profile.points:
            share, size, batch = _setting(point)
            place = (
                np.searchsorted(shares, share),
                np.searchsorted(sizes, size),
                np.searchsorted(batches, batch),
            )
            seconds[place] = point.seconds
        if not len(profile.points) or np.isnan(seconds).any():
            raise ProfileError(
                f"the profile of stage {stage} lacks some of its settings; run `regrain profile` again"
            )
        cv = float(np.median([point.cv for point in profile.points]))
        return cls(stage, shares, sizes, batches, seconds, cv)

    def call(self, batch: int, share: float) -> NDArray[np.float64]:
        """Return the seconds of a call with so many units, for each of `sizes`.

        Between batches linear; between shares linear in 1/share, as T = a/share + b has it (Amdahl).

        Raises:
            OutOfRangeError: the batch or the share lies beyond what was measured.
        """
        if batch == 0:
            return np.zeros(len(self.sizes))
        self._check("a batch of", batch, self.batches)
        self._check("a share of", share, self.shares)
        low, weight = _between(1.0 / self.shares[::-1], 1.0 / share)
        at = len(self.shares) - 1 - low
        by_batch = (1 - weight) * self.seconds[at] + weight * self.seconds[max(at - 1, 0)]
        place, rest = _between(self.batches, batch)
        after = min(place + 1, len(self.batches) - 1)
        found: NDArray[np.float64] = (1 - rest) * by_batch[:, place] + rest * by_batch[:, after]
        return found

    def _check(self, what: str, value: float, measured: NDArray[np.float64]) -> None:
        if not measured[0] * (1 - 1e-9) <= value <= measured[-1] * (1 + 1e-9):
            raise OutOfRangeError(
                f"{what} {value:g} was not measured for stage {self.stage}; "
                f"measured were {measured[0]:g} to {measured[-1]:g}"
            )


def _setting(point: Point) -> tuple[float, float, float]:
    return point.share, point.size, float(point.batch)


def _between(knots: NDArray[np.float64], value: float) -> tuple[int, float]:
    """Return the knot below a value and how far it is to the next, in [0, 1]."""
    if len(knots) == 1:
        return 0, 0.0
    low = int(np.clip(np.searchsorted(knots, value, side="right") - 1, 0, len(knots) - 2))
    weight = (value - knots[low]) / (knots[low + 1] - knots[low])
    return low, float(np.clip(weight, 0.0, 1.0))
