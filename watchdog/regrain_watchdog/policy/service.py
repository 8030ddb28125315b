"""T(batch, size, share): a stage's service time anywhere between the points that were measured, and nowhere beyond."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.profile import OutOfRangeError, Point, ProfileError, StageProfile

SURE = 2.0
"""Standard errors of a mean within which noise may have moved it."""
TINY = 1e-9
"""Seconds that any call takes at least."""


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
        """Take it from a profile; ProfileError where that has no points.

        The settings of all points span a grid. What is missing of it (`filled`) and what noise has made slower on a
        larger share (`falling`) is made good; a setting beyond the grid is never made up.
        """
        if not profile.points:
            raise ProfileError(f"the profile has no points of stage {stage}; run `regrain profile` again")
        axes = [
            np.unique([setting[place] for setting in map(_setting, profile.points)]) for place in range(3)
        ]
        shape = tuple(len(axis) for axis in axes)
        seconds, doubt = np.full(shape, np.nan), np.zeros(shape)
        for point in profile.points:
            at = tuple(
                np.searchsorted(axis, value) for axis, value in zip(axes, _setting(point), strict=True)
            )
            seconds[at] = point.seconds
            doubt[at] = SURE * point.seconds * point.cv / np.sqrt(max(point.count, 1))
        shares, sizes, batches = axes
        seconds = falling(filled(seconds, shares, batches), doubt)
        cv = float(np.median([point.cv for point in profile.points]))
        return cls(stage, shares, sizes, batches, seconds, cv)

    def call(self, batch: float, share: float) -> NDArray[np.float64]:
        """Return the seconds of a call with so many units, for each of `sizes`.

        Between batches linear; between shares linear in 1/share, as T = a/share + b has it (Amdahl).

        Raises:
            OutOfRangeError: the batch or the share lies beyond what was measured.
        """
        if batch == 0:
            return np.zeros(len(self.sizes))
        self._check("a batch of", batch, self.batches)
        self._check("a share of", share, self.shares)
        at, weight = self._sides(share)
        by_batch = (1 - weight) * self.seconds[at] + weight * self.seconds[max(at - 1, 0)]
        place, rest = _between(self.batches, batch)
        after = min(place + 1, len(self.batches) - 1)
        found: NDArray[np.float64] = (1 - rest) * by_batch[:, place] + rest * by_batch[:, after]
        return found

    def _sides(self, share: float) -> tuple[int, float]:
        """Return the place in `shares` of the larger of the two around a share, and the weight of the smaller."""
        low, weight = _between(1.0 / self.shares[::-1], 1.0 / share)
        return len(self.shares) - 1 - low, weight

    def _check(self, what: str, value: float, measured: NDArray[np.float64]) -> None:
        if not measured[0] * (1 - 1e-9) <= value <= measured[-1] * (1 + 1e-9):
            raise OutOfRangeError(
                f"{what} {value:g} was not measured for stage {self.stage}; "
                f"measured were {measured[0]:g} to {measured[-1]:g}"
            )


def at(time: ServiceTime, batch: float, size: float, share: float) -> float:
    """Return the seconds of a call at one size of request; beyond the sizes that were measured, as at the nearest.

    Raises:
        OutOfRangeError: the batch or the share lies beyond what was measured.
    """
    return float(np.interp(size, time.sizes, time.call(batch, share)))


def knots(time: ServiceTime, batch: float, share: float) -> Iterator[tuple[float, float, float]]:
    """Yield each share and batch of the grid that a call's time is taken from, with its weight in it; they sum to 1.

    Args:
        time: a stage's, that reaches the batch and the share.
        batch: units, at least 1.
        share: of a GPU, or cores.
    """
    (at, weight), (place, rest) = time._sides(share), _between(time.batches, batch)
    for row, part in ((at, 1 - weight), (at - 1, weight)):
        for column, other in ((place, 1 - rest), (place + 1, rest)):
            if part * other > 0:
                yield float(time.shares[row]), float(time.batches[column]), part * other


def filled(
    seconds: NDArray[np.float64], shares: NDArray[np.float64], batches: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a grid of times with those that are NaN filled by what its others say of their share, size and batch.

    The law is log T = a(share) + b(size) + c(batch), fitted by least squares to the times that are there. Where they
    leave it open, a time is taken to grow as batch / share does, which no batch and no share is worse than.

    Args:
        seconds: (shares, sizes, batches); one at least is a number.
        shares: of its first axis.
        batches: of its last axis.
    """
    holes = np.isnan(seconds)
    if not holes.any():
        return seconds
    slope = np.log(batches)[None, None, :] - np.log(shares)[:, None, None]
    places = np.indices(seconds.shape).reshape(3, -1)
    starts = np.cumsum((0, *seconds.shape))
    design = np.zeros((seconds.size, starts[-1]))
    for axis in range(3):
        design[np.arange(seconds.size), starts[axis] + places[axis]] = 1.0
    rest = (np.log(np.maximum(seconds, TINY)) - slope).ravel()
    known = ~holes.ravel()
    level = rest[known].mean()
    law, *_ = np.linalg.lstsq(design[known], rest[known] - level, rcond=None)
    fitted = np.exp(slope + level + (design @ law).reshape(seconds.shape))
    return np.where(holes, fitted, seconds)


def falling(seconds: NDArray[np.float64], doubt: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return times that do not grow with the share (axis 0), as far as that changes none by more than its doubt.

    The mean of the largest function below and the smallest above that never grow.
    """
    below = np.minimum.accumulate(seconds, axis=0)
    above = np.maximum.accumulate(seconds[::-1], axis=0)[::-1]
    found: NDArray[np.float64] = np.clip((below + above) / 2, seconds - doubt, seconds + doubt)
    return found


def _setting(point: Point) -> tuple[float, float, float]:
    return point.share, point.size, float(point.batch)


def _between(knots: NDArray[np.float64], value: float) -> tuple[int, float]:
    """Return the knot below a value and how far it is to the next, in [0, 1]."""
    if len(knots) == 1:
        return 0, 0.0
    low = min(max(int(knots.searchsorted(value, side="right")) - 1, 0), len(knots) - 2)
    weight = float((value - knots[low]) / (knots[low + 1] - knots[low]))
    return low, min(max(weight, 0.0), 1.0)
