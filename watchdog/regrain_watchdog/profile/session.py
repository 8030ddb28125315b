"""Measure an app point by point until the time is up, keeping what was measured before of the same code."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from msgspec import structs

from regrain.manifest import Manifest, StageSpec
from regrain.wire import measuring
from regrain_watchdog import words
from regrain_watchdog.policy.profile import Hop, OutOfRangeError, Point, Profile, ProfileError, StageProfile
from regrain_watchdog.policy.service import ServiceTime, at
from regrain_watchdog.profile.bench import Bench, RefusedError
from regrain_watchdog.profile.inputs import Body
from regrain_watchdog.profile.points import Axes, Setting, doubling, settings
from regrain_watchdog.profile.seats import Seats

SHORTEST, LONGEST = 0.02, 5.0
"""Seconds that calls at one point go on at least and at most."""
MOST_CORES = 8
"""Cores that stages without a GPU are tried on at most, unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured.

    Attributes:
        time: seconds after which no further point begins.
        error: standard error of a mean, over the mean, that is close enough.
        batches, shares, cores: what to measure; empty for what is usual.
    """

    time: float = 120.0
    error: float = 0.02
    batches: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()
    cores: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: points measured of those that are wanted, and what is being done."""

    done: int
    of: int
    doing: str


@dataclass(slots=True)
class Session:
    """One measuring of an app.

    Attributes:
        bench: where its stages run. seats: the GPU; None where no stage needs one.
        before: an earlier profile; what it knows of the same code on the same device is kept.
        save: takes the profile after each point. told: takes the progress before each.
        notes: afterwards, what could not be measured and why. skipped: points for which the time was up.
    """

    manifest: Manifest
    bodies: Sequence[Body]
    effort: Effort
    bench: Bench
    seats: Seats | None
    before: Profile | None
    save: Callable[[Profile], None]
    told: Callable[[Progress], None]
    hop: Hop | None = None
    clock: Callable[[], float] = time.monotonic
    notes: list[str] = field(default_factory=list)
    skipped: int = 0
    _stages: dict[str, StageProfile] = field(default_factory=dict)
    _cores: dict[str, float] = field(default_factory=dict)
    _share: float = 0.0
    _resizes: list[float] = field(default_factory=list)
    _context: int = 0
    _fused: float | None = None

    async def run(self) -> Profile:
        """Measure; return the profile.

        Raises:
            RefusedError: a stage cannot be loaded, or fails on the app's own requests.
            ProfileError: no request reaches a stage.
        """
        until = self.clock() + self.effort.time
        for stage in self.manifest.stages:
            if stage.gpu is not None and self.seats is None:
                without = "was measured without the GPU that it declares; give one by --gpus"
                self.notes.append(f"{stage.name} {without}")
            self._stages[stage.name] = self._known(stage)
        await self._load()
        walked = await self._walk()
        await self._points({stage.name: self._axes(stage, walked) for stage in self.manifest.stages}, until)
        self._check_all(walked)
        await self._chain(walked, until)
        self.save(self.profile())
        return self.profile()

    async def _points(self, axes: Mapping[str, Axes], until: float) -> None:
        """Measure what has not been until the time is up; both ends of a stage's batches even then."""
        wanted = self._missing(axes)
        for place, setting in enumerate(wanted):
            left = until - self.clock()
            batches = axes[setting.stage].batches
            seen = {point.batch for point in self._stages[setting.stage].points}
            if left <= 0 and setting.batch not in {batches[0], batches[-1]} - seen:
                self.skipped += 1
                continue
            doing = f"{setting.stage}: {setting.batch} at once on {self._named(setting)}"
            self.told(Progress(place, len(wanted), doing))
            await self._point(setting, min(LONGEST, max(SHORTEST, left / (len(wanted) - place))))
        if self.skipped:
            self.notes.append(
                f"the time was up before {self.skipped} of {len(wanted)} points; run it again to go on"
            )

    def _check_all(self, walked: measuring.Walked) -> None:
        """Raise ProfileError where a stage has no point at all."""
        for name, stage in self._stages.items():
            if not stage.points:
                unseen = "no request reaches it, give one that does by --input"
                reason = "; ".join(self.notes) if any(walked.units[name]) else unseen
                raise ProfileError(f"nothing could be measured of stage {name}: {reason}")

    def profile(self) -> Profile:
        """Return what is known by now."""
        default = self.before or Profile(app="", stages={})
        return Profile(
            app=self.manifest.app,
            device=self.seats.device if self.seats is not None else "",
            stages={name: stage for name, stage in self._stages.items() if stage.points},
            hop=self.hop or default.hop,
            context=self._context,
            resident=self.bench.ready.memory,
            start=self.bench.ready.seconds or default.start,
            lease=median(self._resizes) if self._resizes else default.lease,
            fused=self._fused,
        )

    def _known(self, stage: StageSpec) -> StageProfile:
        """Return what an earlier profile knows of a stage as it is now."""
        on_gpu = self._on_gpu(stage)
        empty = StageProfile(digest=stage.digest, on_gpu=on_gpu, points=())
        before = self.before.stages.get(stage.name) if self.before is not None else None
        device = self.seats.device if self.seats is not None else ""
        if before is None or self.before is None:
            return empty
        same = (before.digest, before.on_gpu) == (stage.digest, on_gpu)
        return before if same and (not on_gpu or self.before.device == device) else empty

    def _on_gpu(self, stage: StageSpec) -> bool:
        return stage.gpu is not None and self.seats is not None

    async def _load(self) -> None:
        """Load every stage, and note what each takes."""
        held = 0
        if self.seats is not None:
            self._context = held = await self._seat(max(self._shares()))
        memory = self.bench.ready.memory
        for stage in self.manifest.stages:
            self.told(Progress(0, 0, f"loading {stage.name}"))
            loaded = await self.bench.ask(measuring.Load(stage.name, stage.cpu), measuring.Loaded)
            self._cores[stage.name] = stage.cpu
            device = self._held(loaded.device)
            weights = device - held if self._on_gpu(stage) else loaded.memory - memory
            self._put(stage.name, load=loaded.seconds, weights=max(0, weights))
            memory, held = loaded.memory, device

    async def _walk(self) -> measuring.Walked:
        self.told(Progress(0, 0, "running the requests once"))
        asked = measuring.Walk(tuple(body.request for body in self.bodies))
        walked = await self.bench.ask(asked, measuring.Walked)
        for name, out_bytes in walked.out_bytes.items():
            grown = 0 if self._stages[name].on_gpu else walked.grown[name]
            self._put(name, out_bytes=out_bytes, weights=self._stages[name].weights + grown)
        return walked

    def _missing(self, axes: Mapping[str, Axes]) -> list[Setting]:
        """Return the settings that are to be measured and have not been."""
        known = {
            (name, point.share, point.size, point.batch)
            for name, stage in self._stages.items()
            for point in stage.points
        }
        return [
            one
            for one in settings(axes)
            if (one.stage, one.share, self.bodies[one.request].size, one.batch) not in known
        ]

    def _axes(self, stage: StageSpec, walked: measuring.Walked) -> Axes:
        most = stage.max_size if stage.batched else 1
        batches = tuple(batch for batch in self.effort.batches if batch <= most) or doubling(most)
        on_gpu = self._on_gpu(stage)
        return Axes(
            batches=batches,
            requests=tuple(place for place, units in enumerate(walked.units[stage.name]) if units),
            shares=self._shares() if on_gpu else self._tried_cores(stage),
            loads=not on_gpu,
        )

    def _shares(self) -> tuple[float, ...]:
        return self.effort.shares or (self.seats.shares() if self.seats is not None else ())

    def _tried_cores(self, stage: StageSpec) -> tuple[float, ...]:
        """Return the cores that a stage declares, which are those it will run on, then what there is."""
        here = min(MOST_CORES, len(os.sched_getaffinity(0)))
        others = self.effort.cores or tuple(map(float, doubling(here)))
        return tuple(dict.fromkeys((stage.cpu, *others)))

    async def _point(self, setting: Setting, limit: float) -> None:
        """Measure one setting; note why where that cannot be."""
        try:
            await self._prepare(setting)
            ask = measuring.Time(setting.stage, setting.request, setting.batch, limit, self.effort.error)
            timed = await self.bench.ask(ask, measuring.Timed, within=limit)
        except RefusedError as error:
            if str(error) not in self.notes:
                self.notes.append(str(error))
            return
        stage = self._stages[setting.stage]
        size = self.bodies[setting.request].size
        point = Point(setting.batch, size, setting.share, timed.seconds, timed.cv, timed.count)
        points = sorted((*stage.points, point), key=lambda one: (one.share, one.size, one.batch))
        self._put(setting.stage, points=tuple(points))
        if stage.on_gpu and setting.batch > 1:
            beside = self._held(timed.device) - self._context - self._weights()
            self._put(setting.stage, activation=max(0, beside // setting.batch))
        self.save(self.profile())

    async def _prepare(self, setting: Setting) -> None:
        """Have the stage on the share, or the cores, that it is to be measured on."""
        if self._stages[setting.stage].on_gpu:
            if self._share != setting.share:
                await self._seat(setting.share)
        else:
            await self._have(setting.stage, setting.share)

    async def _have(self, name: str, cores: float) -> None:
        """Have a stage loaded with so many cores."""
        if self._cores[name] != cores:
            await self.bench.ask(measuring.Load(name, cores), measuring.Loaded)
            self._cores[name] = cores

    async def _seat(self, share: float) -> int:
        """Have leases of a share from here on; return the bytes that the process holds of the GPU."""
        if self.seats is None:
            raise RefusedError("there is no GPU")
        seated = await self.bench.ask(measuring.Seat(self.seats.entitle(share)), measuring.Seated)
        if self._share:
            self._resizes.append(seated.seconds)
        self._share = share
        return self._held(seated.device)

    async def _chain(self, walked: measuring.Walked, until: float) -> None:
        """Measure the whole flow fused, and hold it against the sum of its stages; one request even after the time."""
        times = {name: ServiceTime.of(name, stage) for name, stage in self._stages.items()}
        for stage in self.manifest.stages:
            await self._have(stage.name, stage.cpu)
        off: list[float] = []
        for place, body in enumerate(self.bodies):
            left = until - self.clock()
            if off and left <= 0:
                break
            self.told(Progress(1, 1, "the whole flow"))
            limit = min(LONGEST, max(SHORTEST, left / (len(self.bodies) - place)))
            try:
                expected = sum(self._expected(walked, place, body.size, times))
                ask = measuring.Chain(place, limit, self.effort.error)
                timed = await self.bench.ask(ask, measuring.Timed, within=limit)
            except (OutOfRangeError, RefusedError):
                continue
            off.append(timed.seconds - expected)
        self._fused = fmean(off) if off else None

    def _expected(
        self, walked: measuring.Walked, place: int, size: float, times: dict[str, ServiceTime]
    ) -> Iterator[float]:
        """Yield what each stage's calls for a request take by themselves, on what they have now."""
        for stage in self.manifest.stages:
            chunk = stage.max_size if stage.batched else 1
            share = self._share if self._on_gpu(stage) else self._cores[stage.name]
            full, rest = divmod(walked.units[stage.name][place], chunk)
            for batch, calls in ((chunk, full), (rest, 1)):
                if batch and calls:
                    yield calls * at(times[stage.name], batch, size, share)

    def _weights(self) -> int:
        return sum(stage.weights for stage in self._stages.values() if stage.on_gpu)

    def _held(self, told: int) -> int:
        return self.seats.held(self.bench.ready.pid, told) if self.seats is not None else told

    def _named(self, setting: Setting) -> str:
        on_gpu = self._stages[setting.stage].on_gpu
        return f"{setting.share:.0%} of a GPU" if on_gpu else words.cores(setting.share)

    def _put(self, name: str, **changes: object) -> None:
        self._stages[name] = structs.replace(self._stages[name], **changes)
