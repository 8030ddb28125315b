"""A function: a group as deployed. Its queue, its replicas, and the batches that go between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from regrain.errors import RequestError
from regrain.plan import Group, Step
from regrain.wire import frames
from regrain.wire.segments import ALIGNMENT
from regrain_watchdog.front.call import Span
from regrain_watchdog.front.flight import Flight, Job, leaves
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.replica import Dispatch, Replica, State, values_of
from regrain_watchdog.policy import batch
from regrain_watchdog.policy.queue import NO_DEADLINE, Queue

ROOM_MARGIN = 1.25
"""How much more room a batch gets than the largest results so far took."""
ROOM_LIMIT = 16 << 20
"""Bytes of room that a batch gets beforehand at most. To ask for more costs little beside writing that much, and
one large result must not have every later batch hold as much."""


class Function:
    """The replicas of one group, and what waits for them.

    refused: told of jobs that leave without a result.
    sample: values of units that warm a replica up, taken from the first batch (their leaves are kept).
    is_warming: whether replicas that are merely loaded get batches, which is how they get warm at first.
    """

    def __init__(
        self,
        group: Group,
        step: Step,
        *,
        measure: Measure,
        refused: Callable[[Job, RequestError], None],
    ) -> None:
        self.group = group
        self.step = step
        self.name = group.name
        self.replicas: list[Replica] = []
        self.sample: list[list[frames.Parts]] = []
        self.is_warming = True
        self._measure = measure
        self._refused = refused
        self._queue: Queue[Job] = Queue()
        self._service = 0.0
        self._unit_service = 0.0
        self._room = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, job: Job) -> None:
        """Let a job wait for a replica."""
        self._queue.push(job, now=time.monotonic(), deadline=job.flight.call.deadline or NO_DEADLINE)

    def pump(self) -> None:
        """Hand out every batch that is due, as long as a replica has room for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            replica = self._idlest()
            if replica is None:
                return
            now = time.monotonic()
            max_size, max_wait = self.group.max_size, self.group.max_wait
            waits = max_wait > 0.0 and len(self._queue) < max_size
            due = batch.due(
                len(self._queue),
                self._queue.oldest() if waits else now,
                max_size=max_size,
                max_wait=max_wait,
                now=now,
            )
            if due > now:
                self._timer = asyncio.get_running_loop().call_later(due - now, self.pump)
                return
            self._dispatch(replica, now)

    def warm(self, replica: Replica) -> None:
        """Run the sample on a replica; its results are thrown away."""
        size = len(self.sample)
        units = [frames.Unit("warm-up", 0, 0.0, b"", values) for values in self.sample]
        replica.run(self.step, units, Dispatch(self.step, [], size, time.monotonic()), self.room(size))

    def finished(self, dispatch: Dispatch, done: frames.Done, now: float) -> None:
        """Learn from a run that came back: service time, room for results; add its spans to the calls."""
        service = sum(timing.seconds for timing in done.timings)
        self._service = batch.smoothed(self._service, service)
        self._unit_service = batch.smoothed(self._unit_service, service / dispatch.size)
        nbytes = _placed(done) if dispatch.extents else 0
        self._room = max(self._room * 0.99, nbytes / dispatch.size)
        hop = max(0.0, now - dispatch.sent - service)
        self._measure.ran(self.name, hop, done.timings)
        size = dispatch.size
        spans = [_service_span(self.name, timing, size) for timing in done.timings]
        spans.append(Span(group=self.name, stage="", seconds=hop, batch=size, kind="hop"))
        for flight in {job.flight for job in dispatch.jobs}:
            flight.call.spans.extend(spans)

    def died(self) -> None:
        """Count a replica that ended without being told to."""
        self._measure.died(self.name)

    def room(self, units: int) -> int:
        """Return the bytes that the results of a batch are expected to need."""
        return min(int(self._room * units * ROOM_MARGIN), ROOM_LIMIT)

    def drain(self, error: RequestError) -> None:
        """Refuse everything that waits."""
        while self._queue:
            self._refused(self._queue.pop()[0], error)

    def _idlest(self) -> Replica | None:
        """The replica that holds least, if it may hold one more."""
        usable = (State.READY, State.LOADED) if self.is_warming else (State.READY,)
        held = batch.may_hold(self._service)
        best = None
        for replica in self.replicas:
            if replica.state in usable and len(replica.holding) < held:
                held, best = len(replica.holding), replica
        return best

    def _dispatch(self, replica: Replica, now: float) -> None:
        jobs, waits = self._take(now)
        if not jobs:
            return
        units = [_unit(job) for job in jobs]
        for job in jobs:
            job.flight.flying += 1
        try:
            replica.run(self.step, units, Dispatch(self.step, jobs, len(jobs), now), self.room(len(jobs)))
        except RequestError as error:
            for job in jobs:
                job.flight.flying -= 1
                self._refused(job, error)
            return
        for flight, waited in waits.items():
            flight.call.spans.append(Span(group=self.name, stage="", seconds=waited, kind="wait"))
        if self.is_warming and not self.sample:
            self._keep(replica, jobs)
        self._measure.dispatched(self.name, len(jobs), max(waits.values()))

    def _take(self, now: float) -> tuple[list[Job], dict[Flight, float]]:
        """Take the next batch from the queue; return it, and how long each of its calls waited."""
        jobs: list[Job] = []
        waits: dict[Flight, float] = {}
        size = batch.units_together(self._unit_service, max_size=self.group.max_size)
        while self._queue and len(jobs) < size:
            job, since = self._queue.pop()
            flight = job.flight
            if not flight.ended:
                waits[flight] = max(waits.get(flight, 0.0), now - since)
                jobs.append(job)
        return jobs, waits

    def _keep(self, replica: Replica, jobs: list[Job]) -> None:
        """Keep a batch's values as the sample; they stay in shared memory for as long as the function lives."""
        self.sample = [job.values for job in jobs]
        for values in self.sample:
            for parts in values:
                for leaf in leaves(parts.values):
                    replica.pool.retain(leaf.generation)


def _placed(done: frames.Done) -> int:
    """The bytes that a run's results took in segments, with what alignment may add."""
    return sum(leaf.nbytes + ALIGNMENT for outcome in done.outcomes for leaf in leaves(values_of(outcome)))


def _service_span(group: str, timing: frames.Timing, units: int) -> Span:
    """What a stage cost each of a dispatch's units: all of a batched call, its own part of separate ones."""
    if timing.calls >= units > 1:
        return Span(group=group, stage=timing.stage, seconds=timing.seconds / units)
    return Span(group=group, stage=timing.stage, seconds=timing.seconds, batch=max(1, timing.count))


def _unit(job: Job) -> frames.Unit:
    call = job.flight.call
    return frames.Unit(call.id, job.flight.slot, call.deadline, call.headers, job.values)
