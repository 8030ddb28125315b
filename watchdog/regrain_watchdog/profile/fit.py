"""How well T(batch, size, share) foretells what it was not told: each measured point by all the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from msgspec import structs

from regrain_watchdog.policy.profile import OutOfRangeError, Profile, ProfileError, StageProfile
from regrain_watchdog.policy.service import ServiceTime, at

POOR = 0.15
"""Median error above which a stage's times should not be trusted between the points. Without a point the gap about it
is twice as wide, so between the points that there are the error is smaller: a quarter of it on a smooth curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How far off the times of a stage are where it was not measured.

    Attributes:
        points: that the others could say something of.
        median, worst: absolute error of what they say, as a part of what was measured; NaN without any.
        noise: median standard error of a point's own mean, as a part of it: no fit is better than that.
    """

    points: int
    median: float
    worst: float
    noise: float

    @property
    def poor(self) -> bool:
        """Whether it is far off by more than noise explains."""
        return self.points > 0 and self.median > POOR + self.noise


def fit(stage: str, profile: StageProfile) -> Fit:
    """Leave each point out once and ask the others for it. Those at the end of a range have nobody to ask."""
    errors = list(_errors(stage, profile))
    noise = [point.cv / np.sqrt(max(1, point.count)) for point in profile.points]
    return Fit(
        points=len(errors),
        median=float(np.median(errors)) if errors else float("nan"),
        worst=max(errors, default=float("nan")),
        noise=float(np.median(noise)) if noise else 0.0,
    )


def _errors(stage: str, profile: StageProfile) -> Iterator[float]:
    for place, point in enumerate(profile.points):
        others = profile.points[:place] + profile.points[place + 1 :]
        try:
            time = ServiceTime.of(stage, structs.replace(profile, points=others))
            if not time.sizes[0] <= point.size <= time.sizes[-1]:
                continue
            said = at(time, point.batch, point.size, point.share)
        except (OutOfRangeError, ProfileError):
            continue
        yield abs(said / point.seconds - 1) if point.seconds > 0 else 0.0


def warnings(profile: Profile, *, is_whole: bool) -> list[str]:
    """Return a sentence for each stage whose times are not to be trusted between its points.

    Args:
        profile: of the stages.
        is_whole: whether more time would add no point.
    """
    found = []
    advice = "measure it anew by --fresh while nothing else runs here" if is_whole else "give more --time"
    for name, stage in profile.stages.items():
        its = fit(name, stage)
        if its.poor:
            off = f"{name}: its times are off by {its.median:.0%} (median) between measured points"
            found.append(f"{off}; {advice}")
    return found
