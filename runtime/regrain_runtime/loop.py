"""One replica: read frames, run steps, write results, until the front closes the socket.

It is a plain blocking loop in one thread. Results are held back only while more runs have already arrived,
and for FLUSH_AFTER at most, so that short runs share a doorbell and long ones answer at once.
"""

from __future__ import annotations

import logging
import mmap
import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import nullcontext
from http import HTTPStatus

import msgspec

from regrain.app import App
from regrain.context import Context
from regrain.errors import LoadError, RegrainError, RequestError
from regrain.execute import Executor, Work
from regrain.graph import Ref
from regrain.outcomes import Ended, Failed, Outcome, failed
from regrain.plan import Output, Step
from regrain.wire import frames
from regrain.wire.boards import BEGUN, BEGUN_AT, IDLE, PROGRESS
from regrain.wire.codec import pack, pack_list, unpack
from regrain.wire.segments import Mappings, Writer
from regrain_runtime.memory import unique_set_size
from regrain_runtime.outflow import Outflow

logger = logging.getLogger(__name__)

FLUSH_AFTER = 0.0005
"""Seconds that a finished result waits for others at most."""
RECEIVE = 1 << 16
DESCRIPTORS = 16
"""Descriptors taken with one read at most; the front sends one beside each Segment frame."""
ROOM_FOR_DESCRIPTORS = socket.CMSG_SPACE(DESCRIPTORS * frames.DESCRIPTOR.itemsize)
TEND = 1.0
"""Seconds between two looks after a GPU."""

_headers = msgspec.msgpack.Decoder(dict[str, str])


class GoneError(Exception):
    """The front closed the socket."""


class Replica:
    """A replica at work.

    sock: the stream to the front. cancels: the front's cancel board, one byte per call slot.
    progress: where this replica notes what it runs (PROGRESS).
    """

    def __init__(self, app: App, sock: socket.socket, cancels: mmap.mmap, progress: mmap.mmap) -> None:
        self._sock = sock
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._cancels = cancels
        self._progress = progress
        self._order = {name: place for place, name in enumerate(app.graph.stages)}
        self._app = app
        self._executor = Executor(app, clock=time.monotonic, began=self._began)
        self._mappings = Mappings()
        self._steps: dict[int, tuple[Step, tuple[str, ...]]] = {}
        self._reader: frames.FrameReader[frames.ToReplica] = frames.FrameReader(frames.ToReplica)
        self._inbox: deque[frames.ToReplica] = deque()
        self._chunk = memoryview(bytearray(RECEIVE))
        self._descriptors: deque[int] = deque()
        self._outbox: list[bytes] = []
        self._held_since = 0.0
        self._tended = 0.0

    def serve(self) -> None:
        """Serve until told to stop or until the front is gone."""
        try:
            while True:
                if not self._inbox:
                    self._flush()
                    self._tend()
                    self._receive()
                while self._inbox:
                    frame = self._inbox.popleft()
                    if isinstance(frame, frames.Stop):
                        self._flush()
                        return
                    self._handle(frame)
                    if self._outbox and time.monotonic() - self._held_since > FLUSH_AFTER:
                        self._flush()
        except GoneError:
            return

    def _tend(self) -> None:
        """Look after the GPU, where there is one, until there is something to receive."""
        while (device := self._executor.device) is not None:
            if time.monotonic() >= self._tended + TEND:  # also where calls come all the time, of other stages
                device.tend()
                self._tended = time.monotonic()
            if self._readable.poll(TEND * 1e3):
                return

    def _handle(self, frame: frames.ToReplica) -> None:
        match frame:
            case frames.Run():
                self._run(frame)
            case frames.Drop():
                self._mappings.drop(frame.id)
            case frames.Define():
                self._steps[frame.id] = (frame.step, self._measured_by(frame.step))
            case frames.Entitle() | frames.Load() | frames.Unload():
                self._prepare(frame)
            case frames.Credit():
                pass  # for a run that has ended
            case frames.Grant() | frames.Stop() | frames.Segment():
                raise frames.FrameError(f"unexpected {type(frame).__name__}")

    def _prepare(self, frame: frames.Entitle | frames.Load | frames.Unload) -> None:
        """Change what can be run here."""
        match frame:
            case frames.Entitle():
                self._entitle(frame)
            case frames.Load():
                self._load(frame.stages)
            case frames.Unload():
                self._unload(frame.stages)

    def _entitle(self, entitled: frames.Entitle) -> None:
        """Run stages that need a GPU under leases; where that cannot be, no such stage can be loaded."""
        from regrain_runtime.gpu.station import Refusal, Station  # noqa: PLC0415 - replicas with a GPU only

        device = self._executor.device
        try:
            if not isinstance(device, Station):
                self._executor.device = Station(entitled, began=self._began)
                return
            with self._executor.rebuilding() if device.moves(entitled) else nullcontext():
                device.follow(entitled)
        except LoadError as error:
            logger.critical("a stage could not be built for another share, so this replica ends: %s", error)
            raise SystemExit(1) from error
        except RegrainError as error:
            if isinstance(device, Station):
                logger.warning("the share of a GPU stays as it was: %s", error)
            else:
                self._executor.device = Refusal(error)

    def _load(self, stages: tuple[str, ...]) -> None:
        for name in stages:
            try:
                seconds = self._executor.load([name])
            except LoadError as error:
                self._send(frames.LoadFailed(name, str(error)))
                return
            if seconds:
                self._send(frames.Loaded(self._executor.resident, seconds, unique_set_size()))
        self._send(frames.Loaded(self._executor.resident, {}, unique_set_size()))

    def _unload(self, stages: tuple[str, ...]) -> None:
        from regrain.weights.store import give_back  # noqa: PLC0415 - where stages are dropped only

        before = unique_set_size()
        self._executor.unload(stages)
        give_back()
        memory = unique_set_size()
        self._send(frames.Loaded(self._executor.resident, {}, memory, max(0, before - memory)))

    def _run(self, run: frames.Run) -> None:
        BEGUN.pack_into(self._progress, BEGUN_AT, run.id)
        step, measured = self._steps[run.step]
        works = [self._work(unit, step) for unit in run.units]
        if step.streams:
            self._let_stream(run.id, works)
        ran, timings = self._executor.run(step, [work for work in works if isinstance(work, Work)])
        outcomes = iter(ran)
        writer = Writer(
            self._mappings, run.extents, lambda nbytes: self._need(run.id, nbytes), lambda: _given(run.units)
        )
        results = [
            work if isinstance(work, frames.Fault) else self._result(next(outcomes), step, measured, writer)
            for work in works
        ]
        try:
            self._send(frames.Done(run.id, results, timings))
        except (frames.FrameError, UnicodeError) as error:
            stage = step.stages[-1]
            fault = frames.Fault(500, stage, f"what stage {stage!r} returned cannot travel: {error}")
            self._send(frames.Done(run.id, [fault] * len(works), timings))

    def _let_stream(self, run: int, works: list[Work | frames.Fault]) -> None:
        """Let the one unit of a run give its items."""
        for work in works:
            if isinstance(work, Work):
                outflow = Outflow(run, work.context, self)
                work.give = outflow.give

    def _work(self, unit: frames.Unit, step: Step) -> Work | frames.Fault:
        """Return what a unit brings; a Fault where nobody wants it any more or this process cannot read it."""
        cancels, slot = self._cancels, unit.slot
        if cancels[slot]:
            return frames.Fault(504, step.stages[0], "nobody waits for it any more")
        context = Context(
            call_id=unit.call,
            headers=_headers.decode(unit.headers) if unit.headers else {},
            deadline=unit.deadline,
            is_cancelled=lambda: cancels[slot] != 0,
        )
        values: list[object] = []
        try:
            for parts in unit.values:
                items = [unpack(value, self._mappings) for value in parts.values]
                values.append(items if parts.split else items[0])
        except RegrainError as error:
            stage = step.stages[0]
            return frames.Fault(500, stage, f"what stage {stage!r} takes cannot be read: {error}")
        return Work(context, values)

    def _result(
        self, outcome: Outcome, step: Step, measured: tuple[str, ...], writer: Writer
    ) -> frames.Result | frames.Fault | frames.Answered:
        if isinstance(outcome, Failed):
            return _fault(outcome)
        stage = ""
        try:
            if isinstance(outcome, Ended):
                stage = outcome.stage
                return frames.Answered(outcome.status, outcome.headers, pack(outcome.value, writer))
            parts = []
            for output, measure, value in zip(step.outputs, measured, outcome.values, strict=True):
                stage = output.ref.node
                parts.append(self._parts(output, measure, value, writer))
        except GoneError:
            raise
        except Exception as error:  # of whatever a property or a tensor raises that is read
            return _fault(failed(stage, error, "returned what cannot travel"))
        return frames.Result(parts)

    def _parts(self, output: Output, measure: str, value: object, writer: Writer) -> frames.Parts:
        if not output.split:
            size = self._measure(measure, value)
            return frames.Parts([pack(value, writer, size=size)])
        if not isinstance(value, list | tuple):
            raise RegrainError(f"a {type(value).__name__} cannot be mapped over; allowed are list and tuple")
        parts = pack_list(list(value), writer)
        if not measure:
            return parts
        sizes = [self._measure(measure, item) for item in value]
        return frames.Parts(list(map(_sized, parts.values, sizes)), split=True)

    def _measure(self, stage: str, value: object) -> float:
        """Return a value's size for the stage that takes it; 0.0 where it cannot tell, and fails by itself."""
        if not stage:
            return 0.0
        try:
            return self._app.stages[stage].measure(value)
        except Exception as error:
            logger.debug("value not measured", exc_info=error, extra={"stage": stage})
            return 0.0

    def _measured_by(self, step: Step) -> tuple[str, ...]:
        """For each output, the stage whose cost depends on it and that takes it alone, or ""."""
        return tuple(
            self._consumer(output.ref, items=output.split or step.per_item) for output in step.outputs
        )

    def _consumer(self, ref: Ref, *, items: bool) -> str:
        for node in self._app.graph.nodes:
            takes = node.args == (ref,) and not node.kwargs and node.mapped == items
            if takes and self._app.stages[node.stage].spec.size:
                return node.stage
        return ""

    def _need(self, run: int, nbytes: int) -> frames.Extent:
        """Ask the front for more room and wait for it; runs that arrive meanwhile keep their place."""
        self._send(frames.Need(run, nbytes))
        self._flush()
        while True:
            self._receive()
            grant = next((frame for frame in self._inbox if isinstance(frame, frames.Grant)), None)
            if grant is not None:
                self._inbox.remove(grant)
                if grant.extent is None:
                    detail = f"no shared memory is free for {nbytes} bytes"
                    raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail)
                return grant.extent

    def send_now(self, frame: frames.FromReplica) -> None:
        """Send a frame at once, behind those that were held back."""
        self._send(frame)
        self._flush()

    def credit(self, run: int, seconds: float) -> int | None:
        """Return how many items the front takes now of a run that streams; None if it said nothing in this time.

        Runs that arrive meanwhile keep their place.
        """
        found = self._credit(run)
        if found is not None:
            return found
        self._began("")  # it waits, and does not hang
        if self._readable.poll(seconds * 1e3):
            self._receive()
        return self._credit(run)

    def _credit(self, run: int) -> int | None:
        mine = [frame for frame in self._inbox if isinstance(frame, frames.Credit) and frame.run == run]
        for frame in mine:
            self._inbox.remove(frame)
        if not all(frame.items for frame in mine):
            return 0
        return sum(frame.items for frame in mine) or None

    def _began(self, stage: str, ran: float = 0.0) -> None:
        """Note that a stage runs, and has for so many seconds ("": none does)."""
        PROGRESS.pack_into(self._progress, 0, self._order.get(stage, IDLE), time.monotonic() - ran)

    def _receive(self) -> None:
        try:
            nbytes, ancillary, flags, _ = self._sock.recvmsg_into([self._chunk], ROOM_FOR_DESCRIPTORS)
        except ConnectionResetError as error:
            raise GoneError from error
        if ancillary:
            self._descriptors.extend(frames.descriptors(ancillary))
        if not nbytes:
            raise GoneError
        if flags & socket.MSG_CTRUNC:
            raise frames.FrameError("descriptors were lost on the way")
        for frame in self._reader.feed(self._chunk[:nbytes]):
            if isinstance(frame, frames.Segment):  # at once: descriptors come in the order of these frames
                self._map(frame)
            else:
                self._inbox.append(frame)

    def _map(self, segment: frames.Segment) -> None:
        descriptor = self._descriptors.popleft()
        try:
            self._mappings.add(segment.id, descriptor, segment.nbytes, segment.writable)
        finally:
            os.close(descriptor)

    def _send(self, frame: frames.FromReplica) -> None:
        if not self._outbox:
            self._held_since = time.monotonic()
        self._outbox.append(frames.encode(frame))

    def _flush(self) -> None:
        if self._outbox:
            try:
                self._sock.sendall(b"".join(self._outbox))
            except (BrokenPipeError, ConnectionResetError) as error:
                raise GoneError from error
            self._outbox.clear()


def _sized(value: frames.Value, size: float) -> frames.Value:
    return frames.Value(value.skeleton, value.leaves, size)


def _fault(outcome: Failed) -> frames.Fault:
    return frames.Fault(int(outcome.status), outcome.stage, outcome.detail, outcome.headers)


def _given(units: list[frames.Unit]) -> Iterator[frames.Leaf]:
    """Every leaf that a run's units bring."""
    for unit in units:
        for parts in unit.values:
            for value in parts.values:
                yield from value.leaves


def attach(app: App, sock_fd: int, cancel_fd: int, progress_fd: int) -> Replica:
    """Make a replica of the descriptors that the front handed over; they belong to it from here on."""
    cancels = mmap.mmap(cancel_fd, os.fstat(cancel_fd).st_size, prot=mmap.PROT_READ)
    progress = mmap.mmap(progress_fd, os.fstat(progress_fd).st_size)
    os.close(cancel_fd)
    os.close(progress_fd)
    sock = socket.socket(fileno=sock_fd)
    sock.setblocking(True)
    return Replica(app, sock, cancels, progress)
