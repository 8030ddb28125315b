"""A replica as the front sees it: its link, what it has mapped, and the dispatches that it holds."""

from __future__ import annotations

import contextlib
import enum
import mmap
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from regrain.errors import RequestError
from regrain.plan import Step
from regrain.wire import frames
from regrain.wire.boards import BEGUN, BEGUN_AT, PROGRESS
from regrain_watchdog.front.flight import Job, leaves
from regrain_watchdog.front.link import Link
from regrain_watchdog.front.outcomes import are_sound, covers, has_shape, values_of
from regrain_watchdog.front.reply import RETRY_AFTER
from regrain_watchdog.front.segments import Pool
from regrain_watchdog.front.streaming import Collected
from regrain_watchdog.gpu.ending import End, kill

if TYPE_CHECKING:
    from regrain_watchdog.front.function import Function
    from regrain_watchdog.front.handlers import Handlers
    from regrain_watchdog.front.tracing.traces import Legs


class State(enum.Enum):
    """How far a replica is. One that is LOADING has served already and takes in further stages."""

    STARTING = "starting"
    LOADING = "loading"
    LOADED = "loaded"
    READY = "ready"
    STOPPING = "stopping"
    DEAD = "dead"


@dataclass(slots=True, eq=False)
class Dispatch:
    """A batch of `size` units of a function at a replica. A warm-up has no jobs; its results are thrown away.

    first: when the first item of one that streams came; 0.0 before. credit: items of it that may still come.
    legs: its spans, where a request of it is recorded.
    """

    function: Function
    jobs: list[Job]
    size: int
    sent: float
    first: float = 0.0
    credit: int = 0
    extents: list[frames.Extent] = field(default_factory=list)
    legs: Legs | None = None

    @property
    def step(self) -> Step:
        """What is run."""
        return self.function.step

    @property
    def is_asked(self) -> bool:
        """Whether a request is in it: not the app's sample alone."""
        return any(not job.flight.call.is_sample for job in self.jobs)

    def lost(self, why: str) -> None:
        """It does not come back."""
        if self.legs is not None:
            self.legs.lost(why)

    def given(self) -> Iterator[frames.Leaf]:
        """Every leaf in a segment that its jobs bring, or the sample that a warm-up runs."""
        units = [job.values for job in self.jobs] or self.function.learned.sample
        for values in units:
            for parts in values:
                yield from leaves(parts.values)


@dataclass(slots=True, eq=False)
class Replica:
    """One worker process.

    number: its id, never used twice; it is also the owner of its segments in the pool.
    leash: our end of the pipe by which the kernel ends it with us; -1 for none.
    home: the function whose number of replicas it counts for. functions: all that it serves.
    wanted: the stages that it is to have loaded. resident: those of them that it has. warmed: those that have run.
    memory: bytes that it holds for itself (unique set size), as it last said. freed: those that it gave back at last.
    has_settled: whether it has loaded and dropped all that it was told to.
    served: whether it has answered a request. gives_way: whether it is less urgent than those that serve.
    on_trial: whether it took the place of one that died early, and has not shown yet that it lasts.
    """

    number: int
    pool: Pool
    progress: mmap.mmap
    handlers: Handlers
    home: Function
    functions: list[Function] = field(default_factory=list)
    wanted: frozenset[str] = frozenset()
    resident: frozenset[str] = frozenset()
    warmed: set[str] = field(default_factory=set)
    memory: int = 0
    freed: int = 0
    has_settled: bool = False
    link: Link[frames.FromReplica] | None = None
    pid: int = 0
    pidfd: int = -1
    leash: int = -1
    end: End = kill
    state: State = State.STARTING
    born: float = 0.0
    load_seconds: dict[str, float] = field(default_factory=dict)
    holding: dict[int, Dispatch] = field(default_factory=dict)
    killed_for: str = ""
    timed_out: bool = False
    served: bool = False
    gives_way: bool = False
    on_trial: bool = False
    _runs: int = 0
    _steps: dict[int, tuple[int, Step]] = field(default_factory=dict)
    _mapped: set[int] = field(default_factory=set)

    def received(self, frame: frames.FromReplica, _descriptors: list[int]) -> None:
        """Handle a frame of the replica; whatever does not fit what it was asked ends it."""
        match frame:
            case frames.Done():
                dispatch = self.holding.get(frame.run)
                if dispatch is None or not self._is_sound(dispatch, frame):
                    self.kill("it sent a result that fits no dispatch")
                    return
                del self.holding[frame.run]
                self.handlers.done(self, dispatch, frame)
            case frames.Item():
                self._take(frame)
            case frames.Need():
                self._grant(frame)
            case frames.Loaded():
                self.load_seconds.update(
                    (name, seconds) for name, seconds in frame.seconds.items() if name in self.wanted
                )
                self.resident = self.wanted.intersection(frame.stages)
                self.memory, self.freed = frame.memory, frame.freed
                self.has_settled = self.wanted == set(frame.stages)
                self.handlers.loaded(self, frame)
            case frames.LoadFailed():
                self.handlers.load_failed(self, frame)

    def closed(self, reason: str) -> None:
        """The link is down, so the replica is done for."""
        if self.state is not State.DEAD:
            self.handlers.gone(self, self.killed_for or reason)

    def can(self, step: Step) -> bool:
        """Whether it has all stages of a step loaded."""
        return self.resident.issuperset(step.stages)

    @property
    def is_warming(self) -> bool:
        """Whether it runs samples to get warm."""
        return any(not dispatch.jobs for dispatch in self.holding.values())

    def runs_any(self, functions: Collection[Function]) -> bool:
        """Whether it holds a dispatch of one of some functions, also of one that it has parted from."""
        return any(dispatch.function in functions for dispatch in self.holding.values())

    def load(self, stages: tuple[str, ...]) -> None:
        """Have it load stages beside those that it has."""
        self.wanted = self.wanted.union(stages)
        self.has_settled = False
        self._send(frames.Load(stages))

    def entitle(self, entitled: frames.Entitle) -> None:
        """Tell it what it is entitled to of a GPU from here on."""
        self._send(entitled)

    def unload(self, stages: tuple[str, ...]) -> None:
        """Have it drop stages, after what it holds; nothing further that needs them may be sent."""
        self.wanted = self.wanted.difference(stages)
        self.resident = self.resident.difference(stages)
        self.warmed.difference_update(stages)
        self.freed, self.has_settled = 0, False
        self._send(frames.Unload(stages))

    def run(self, units: list[frames.Unit], dispatch: Dispatch, nbytes: int) -> None:
        """Hand it a batch; `nbytes` is the room that the results are expected to need.

        RequestError if the batch is too large for a frame, or (503) the system gives no descriptors to hand it over.
        """
        if nbytes:
            with contextlib.suppress(RequestError):  # it may need less, and asks once it has results
                dispatch.extents.append(self.pool.grant(self.number, nbytes))
        self._runs += 1
        self.holding[self._runs] = dispatch
        try:
            self._queue(units, dispatch)
        except RequestError:
            del self.holding[self._runs]
            for extent in dispatch.extents:
                self.pool.commit(extent, 0)
            raise
        if dispatch.step.streams:
            self._let_stream(self._runs, dispatch)
        if self.link is not None:
            self.link.flush()

    def _queue(self, units: list[frames.Unit], dispatch: Dispatch) -> None:
        """Queue a batch for it; RequestError as `run`."""
        step = dispatch.step
        self._map_all(units, dispatch.extents)
        try:
            run = frames.Run(self._runs, self._define(step), units, list(dispatch.extents))
            if self.link is not None:
                self.link.queue(run)
        except frames.FrameError as error:
            detail = f"what {'+'.join(step.stages)} takes cannot be handed over: {error}"
            raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, detail) from error

    def _let_stream(self, run: int, dispatch: Dispatch) -> None:
        """Grant a run its first items; a warm-up gives one, and so does the sample."""
        for job in dispatch.jobs:
            call = job.flight.call
            call.items = call.items or Collected()
            if not call.is_sample:
                call.items.attach(partial(self._credit, run))
        if not dispatch.is_asked:
            self._credit(run, 1)
            self._credit(run, 0)

    def _credit(self, run: int, items: int) -> None:
        dispatch = self.holding.get(run)
        if dispatch is not None:
            dispatch.credit += items
            self._send(frames.Credit(run, items))

    def _take(self, item: frames.Item) -> None:
        """Hand on an item of a run that streams."""
        dispatch = self.holding.get(item.run)
        is_inline = all(leaf.segment < 0 for leaf in item.value.leaves)
        if dispatch is None or not dispatch.credit or not is_inline:
            self.kill("it sent an item that nobody granted")
            return
        dispatch.credit -= 1
        dispatch.first = dispatch.first or time.monotonic()
        for job in dispatch.jobs:
            if job.flight.ended:
                self._credit(item.run, 0)
            elif job.flight.call.items is not None:
                job.flight.call.items.put(item.value)

    def _map_all(self, units: list[frames.Unit], extents: list[frames.Extent]) -> None:
        """Have it map every segment that a batch reads or writes."""
        for unit in units:
            for parts in unit.values:
                for leaf in leaves(parts.values):
                    self._map(leaf.segment)
        for extent in extents:
            self._map(extent.segment)

    def drop(self, segment: int) -> None:
        """A segment is gone: have it unmapped."""
        if segment in self._mapped:
            self._mapped.discard(segment)
            self._send(frames.Drop(segment))

    def stop(self) -> None:
        """Have it finish what it holds and exit."""
        if self.state is not State.DEAD:
            self.state = State.STOPPING
            self._send(frames.Stop())

    def kill(self, reason: str) -> None:
        """End it at once."""
        self.killed_for = self.killed_for or reason
        if self.pidfd >= 0:
            self.end(self.pid, self.pidfd)
        if self.link is not None:
            self.link.close(reason)

    def bury(self) -> None:
        """Let go of everything that belongs to a dead replica."""
        self.state = State.DEAD
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        if self.leash >= 0:
            os.close(self.leash)
            self.leash = -1
        self.progress.close()
        self.pool.retire(self.number)

    def running(self) -> tuple[int, float]:
        """Return the place of the stage that it runs (-1: none) and since when (monotonic seconds)."""
        place, since = PROGRESS.unpack_from(self.progress)
        return int(place), float(since)

    def begun(self) -> int:
        """Return the number of the dispatch in `holding` that it began last; those after it only wait."""
        return int(BEGUN.unpack_from(self.progress, BEGUN_AT)[0])

    def _grant(self, need: frames.Need) -> None:
        dispatch = self.holding.get(need.run)
        if dispatch is None or need.nbytes < 0:
            self.kill("it asked for room for a dispatch that it does not hold")
            return
        extent = None
        try:
            extent = self.pool.grant(self.number, need.nbytes)
            self._map(extent.segment)
        except RequestError:
            if extent is not None:
                self.pool.commit(extent, 0)
            self._send(frames.Grant(need.run, None))
            return
        dispatch.extents.append(extent)
        self._send(frames.Grant(need.run, extent))

    def _map(self, number: int) -> None:
        if number in self._mapped:
            return
        segment = self.pool.segment(number)
        writable = segment.owner == self.number
        fd = segment.fd if writable else segment.readonly_fd
        try:
            if self.link is not None:
                self.link.send(frames.Segment(number, segment.nbytes, writable), [fd])
        except OSError as error:  # no descriptors at the moment
            detail = f"shared memory cannot be handed over now: {error}"
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=RETRY_AFTER) from error
        self._mapped.add(number)

    def _define(self, step: Step) -> int:
        """Return the number under which the replica knows a step, telling it first if it does not."""
        known = self._steps.get(id(step))  # the entry keeps the step alive, so its id stays its own
        if known is None:
            known = self._steps[id(step)] = (len(self._steps) + 1, step)
            self._send(frames.Define(known[0], step))
        return known[0]

    def _is_sound(self, dispatch: Dispatch, done: frames.Done) -> bool:
        """Whether a result has the dispatch's shape and points into what was granted for it."""
        if len(done.outcomes) != dispatch.size or not are_sound(dispatch, done.timings):
            return False
        granted = {extent.generation for extent in dispatch.extents}
        for outcome in done.outcomes:
            if not (has_shape(dispatch.step, outcome) and self._is_placed(dispatch, outcome, granted)):
                return False
        return True

    def _is_placed(
        self, dispatch: Dispatch, outcome: frames.Result | frames.Fault | frames.Answered, granted: set[int]
    ) -> bool:
        """Whether every leaf of an outcome lies in what was granted for its dispatch, or was given with it."""
        for value in values_of(outcome):
            for leaf in value.leaves:
                if leaf.segment >= 0 and leaf.generation not in granted:
                    if not any(covers(given, leaf) for given in dispatch.given()):
                        return False
                elif not self.pool.owns(self.number, leaf):
                    return False
        return True

    def _send(self, frame: frames.ToReplica) -> None:
        if self.link is not None:
            self.link.send(frame)
