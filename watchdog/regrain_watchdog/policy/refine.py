"""A profile that goes on learning from the calls of the stages as they serve.

What was profiled last week, alone on the machine, is not quite what is met today: each stage's times are off by a
factor that is learnt here. So is one of its own for each point that calls come near, since a point is the mean of some
calls, and times have steps between points. And an app that was never profiled has points as soon as it has served:
those that were seen, and around them those of a cautious rule (`around`), so that a planner may try the neighbours of
what runs and nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from msgspec import structs

from regrain_watchdog.policy.profile import OutOfRangeError, Point, Profile, StageProfile
from regrain_watchdog.policy.service import ServiceTime, at, knots

DOUBT = 20.0
"""Calls that the profile's own word counts as, before a stage is taken to be off."""
SPREAD = 0.03
"""How far single points of a profile are taken to be off their stage's factor, beside the noise of their calls."""
MEMORY = 400.0
"""Calls that are remembered: the older ones count ever less, so that a stage may change for good."""
STEP = 2.0
"""How far from the shares that were seen a planner may go: to half of the least and twice the largest."""
EXTREME = 8.0
"""A call that takes more than so many times what is expected counts as taking so many times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Calls of a stage in one dispatch.

    Attributes:
        stage: its name.
        share: of a GPU that they had; cores of a stage without one.
        units: in all calls.
        calls: how many.
        seconds: that they took together, the waits for their leases included, as a profile has them.
        size: mean of the requests that the units come from.
    """

    stage: str
    share: float
    units: int
    calls: int
    seconds: float
    size: float = 0.0

    @property
    def batch(self) -> float:
        """Units in a call; calls of unlike size count as of their mean, since times are all but linear in it."""
        return self.units / self.calls


@dataclass(slots=True)
class Average:
    """A mean of the last MEMORY values or so."""

    value: float = 0.0
    square: float = 0.0
    count: float = 0.0

    def add(self, value: float, times: float) -> None:
        """Count a value so many times."""
        self.count = min(self.count, MEMORY) + times
        self.value += (value - self.value) * times / self.count
        self.square += (value**2 - self.square) * times / self.count

    @property
    def cv(self) -> float:
        """Standard deviation over the mean."""
        return math.sqrt(max(0.0, self.square / self.value**2 - 1)) if self.value else 0.0


@dataclass(slots=True)
class _Live:
    """What was seen of a stage.

    ratio: times against its profile's. near: the same, by share and batch of the points that calls lie between.
    cells: times where the profile does not reach, by share and batch.
    """

    ratio: Average = field(default_factory=Average)
    near: dict[tuple[float, int], Average] = field(default_factory=dict)
    cells: dict[tuple[float, int], Average] = field(default_factory=dict)


class Refined:
    """A profile and what was seen since.

    profile: what was measured; a stage may be without points.
    most: by stage, units in a call at most.
    """

    def __init__(self, profile: Profile, most: Mapping[str, int]) -> None:
        self._profile = profile
        self._most = dict(most)
        self._live: dict[str, _Live] = {name: _Live() for name in profile.stages}
        self._times = {
            name: ServiceTime.of(name, stage) for name, stage in profile.stages.items() if stage.points
        }

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """The stages that nobody had measured: all that is known of them was seen while they served."""
        return tuple(name for name in self._live if name not in self._times)

    def take(self, seen: Seen) -> None:
        """Learn from some calls; those of a stage that the profile does not name are left alone."""
        live = self._live.get(seen.stage)
        if live is None or min(seen.calls, seen.units) < 1 or seen.seconds <= 0:
            return
        each = seen.seconds / seen.calls
        expected = self._expected(seen)
        if expected is None:
            live.cells.setdefault((seen.share, max(1, round(seen.batch))), Average()).add(each, seen.calls)
        elif expected > 0:
            ratio = min(each / expected, EXTREME)
            live.ratio.add(ratio, seen.calls)
            for share, batch, weight in knots(self._times[seen.stage], seen.batch, seen.share):
                live.near.setdefault((share, round(batch)), Average()).add(ratio, weight * seen.calls)

    def factor(self, stage: str) -> float:
        """Return how many times as long as profiled a stage takes: 1 + n / (n + DOUBT) * (mean ratio - 1)."""
        ratio = self._live[stage].ratio
        return 1 + ratio.count / (ratio.count + DOUBT) * (ratio.value - 1)

    def known(self) -> tuple[float, ...]:
        """Return what was learned in a few numbers, by which it is seen whether it has changed.

        They are each stage's factor, those of its points, and the times seen where the profile does not reach.
        """
        factors = [self.factor(name) for name in self._live]
        points = [self._near(name, one) for name in self._live for one in self._profile.stages[name].points]
        return (
            *factors,
            *points,
            *(mean.value for live in self._live.values() for mean in live.cells.values()),
        )

    def errors(self) -> tuple[float, ...]:
        """Return by what part each of `known` wanders, without end: the standard error of what is remembered of calls.

        Of a stage and its points by the median spread of its points, so that one that was measured badly bars none.
        """
        spread = {name: time.cv for name, time in self._times.items()}
        stages = [spread.get(name, 0.0) for name in self._live]
        points = [spread[name] for name in self._live for _ in self._profile.stages[name].points]
        cells = [mean.cv for live in self._live.values() for mean in live.cells.values()]
        return tuple(cv / math.sqrt(MEMORY) for cv in (*stages, *points, *cells))

    def profile(self) -> Profile:
        """Return the profile as it is known now; points that are assumed have a count of 0."""
        stages = {name: self._stage(name, stage) for name, stage in self._profile.stages.items()}
        return structs.replace(self._profile, stages=stages)

    def _expected(self, seen: Seen) -> float | None:
        """Return what the profile says of a call; None where it does not reach."""
        times = self._times.get(seen.stage)
        try:
            return at(times, seen.batch, seen.size, seen.share) if times is not None else None
        except OutOfRangeError:
            return None

    def _near(self, stage: str, point: Point) -> float:
        """Return how many times as long as profiled calls take at one point.

        The mean of a normal law given n calls around it (n their weights in it) with spread cv, if before it was the
        stage's factor with a variance of SPREAD^2 and what the point's own calls leave open, cv^2 / count.
        """
        factor, seen = self.factor(stage), self._live[stage].near.get((point.share, point.batch))
        if seen is None:
            return factor
        noise = self._times[stage].cv ** 2
        open_ = SPREAD**2 + noise / max(1, point.count)
        return factor + seen.count / (seen.count + noise / open_) * (seen.value - factor)

    def _stage(self, name: str, stage: StageProfile) -> StageProfile:
        known = [
            structs.replace(point, seconds=point.seconds * self._near(name, point)) for point in stage.points
        ]
        sizes = {point.size for point in known} or {0.0}
        met = [
            Point(batch, size, share, mean.value, mean.cv, max(1, round(mean.count)))
            for (share, batch), mean in self._live[name].cells.items()
            for size in sorted(sizes)
        ]
        whole = 1.0 if stage.on_gpu else math.inf
        most = self._most.get(name, 1)
        assumed = reaching([*known, *met], most) if known else around(met, most, whole)
        points = sorted((*known, *met, *assumed), key=lambda point: (point.share, point.size, point.batch))
        return structs.replace(stage, points=tuple(points))


def around(seen: Iterable[Point], most: int, whole: float) -> Iterator[Point]:
    """Yield points beyond those that were seen, none of which a stage should turn out to be slower than.

    A larger batch takes longer as it is larger (as if it were no batch), a smaller one as long as the least that was
    seen; a smaller share takes longer as it is smaller, a larger one as long.

    Args:
        seen: of one size.
        most: units in a call at most; batches are assumed from 1 to this.
        whole: the largest share that there is.
    """
    rows: dict[float, list[Point]] = {}
    for point in sorted(seen, key=lambda point: (point.share, point.batch)):
        rows.setdefault(point.share, []).append(point)
    for row in rows.values():
        ends = [_moved(row[0], batch=1)] * (row[0].batch > 1)
        ends += [_moved(row[-1], batch=most)] * (row[-1].batch < most)
        yield from ends
        row.extend(ends)
    if not rows:
        return
    least, largest = min(rows), max(rows)
    yield from (_moved(point, share=least / STEP) for point in rows[least])
    if largest < whole:
        yield from (_moved(point, share=min(whole, largest * STEP)) for point in rows[largest])


def reaching(points: Iterable[Point], most: int) -> Iterator[Point]:
    """Yield points for the batches of 1 and of `most` where those that were measured do not reach them, as `around`."""
    rows: dict[tuple[float, float], list[Point]] = {}
    for point in sorted(points, key=lambda point: point.batch):
        rows.setdefault((point.share, point.size), []).append(point)
    least = min(row[0].batch for row in rows.values())
    largest = max(row[-1].batch for row in rows.values())
    for row in rows.values():
        if row[0].batch == least > 1:
            yield _moved(row[0], batch=1)
        if row[-1].batch == largest < most:
            yield _moved(row[-1], batch=most)


def _moved(point: Point, *, batch: int = 0, share: float = 0.0) -> Point:
    """Return a point that nobody measured, for another batch or share than it was measured at."""
    slower = max(1.0, (batch or point.batch) / point.batch) * max(1.0, point.share / (share or point.share))
    return Point(batch or point.batch, point.size, share or point.share, point.seconds * slower, point.cv, 0)
