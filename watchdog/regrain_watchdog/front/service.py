"""An app that is served: calls come in, take their route through the functions, and leave with a reply."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from http import HTTPStatus

import msgspec

from regrain.errors import RegrainError, RequestError
from regrain.graph import INPUT, Arg, Const, Ref
from regrain.manifest import Manifest, Parameter
from regrain.plan import Plan
from regrain.wire import frames
from regrain.wire.boards import BOARD
from regrain.wire.codec import pack, pack_list, plain, unpack_inline
from regrain_watchdog.front.call import Call, Reply
from regrain_watchdog.front.course import Course
from regrain_watchdog.front.flight import Flight, Job, LengthError, leaves
from regrain_watchdog.front.function import Function
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.replica import Dispatch, Replica, State, values_of
from regrain_watchdog.front.reply import (
    Copies,
    failure,
    follow,
    listed,
    references,
    shutting_down,
)
from regrain_watchdog.front.route import make_route
from regrain_watchdog.front.segments import Pool
from regrain_watchdog.front.standing import lacking, objective, standing
from regrain_watchdog.front.supervise import DEFAULT_CARE, Care, Supervisor
from regrain_watchdog.front.zygote import Zygote

logger = logging.getLogger(__name__)


class App:
    """A served app (the Service that ingresses speak to).

    failed: told once when it cannot start at all, with the error to show.
    """

    def __init__(
        self,
        manifest: Manifest,
        plan: Plan,
        zygote: Zygote,
        *,
        memory: int,
        max_queue: int,
        measure: Measure,
        failed: Callable[[Exception], None],
        care: Care = DEFAULT_CARE,
    ) -> None:
        self.manifest = manifest
        self.route = make_route(manifest.graph, plan)
        self.measure = measure
        self.draining = False
        self._max_queue = max_queue
        self.pool = Pool(memory)
        self._failed = failed
        self._broken: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._idle = asyncio.Event()
        self._supervisor = Supervisor(
            manifest, zygote, self.pool, done=self._done, lost=self._lost, failed=self._break, care=care
        )
        self.functions = [
            Function(group, step, measure=measure, refused=self._refused)
            for group, step in zip(plan.groups, self.route.steps, strict=True)
        ]
        self._course = Course(self.route, self.functions, max_queue)
        self._stopped = False
        self._waiters: dict[Flight, asyncio.Future[None]] = {}
        self._slots = list(range(BOARD - 1, 0, -1))
        self._split = {
            ref.node
            for ref, consumers in self.route.consumers.items()
            if ref.is_input and any(consumer.each for consumer in consumers)
        }
        self._defaults = {
            Ref(INPUT + parameter.name): self._default(parameter)
            for parameter in manifest.parameters
            if parameter.default
        }

    async def start(self, sample: dict[str, object] | None) -> None:
        """Start every function and warm it up with a sample's parameters; RegrainError if the sample fails."""
        await self.load()
        await self.warm(sample)

    async def load(self) -> None:
        """Start the replicas of every function and wait until all have their stages loaded."""
        self._supervisor.start(self.functions)
        await self._supervisor.settled(State.LOADED)

    async def warm(self, sample: dict[str, object] | None) -> None:
        """Warm every replica up with a sample's parameters; RegrainError if the sample fails."""
        if sample is not None:
            now = time.monotonic()
            call = Call(id="sample", values=sample, headers=b"", arrived=now)
            try:
                await self.submit(call)
            except RequestError as error:
                raise RegrainError(
                    f"the app's own sample failed ({int(error.status)}): {error.detail}"
                ) from error
        self._supervisor.warmed()
        await self._supervisor.settled(State.READY)

    async def stop(self) -> None:
        """Refuse what waits, let replicas finish what they hold, and end them; at most once."""
        if self._stopped:
            return
        for function in self.functions:
            function.drain(shutting_down())
        await self._supervisor.stop()
        self._stopped = True
        for flight in list(self._waiters):  # their next group had no replica any more
            self._end(flight, shutting_down())
        while self._waiters:
            await asyncio.sleep(0)  # until they have taken their error and let go of their values
        self.pool.close()
        self._supervisor.close()

    def kill(self) -> None:
        """End every process at once."""
        self._supervisor.kill()

    def exited(self, number: int, status: int) -> None:
        """The zygote has reaped a replica."""
        self._supervisor.exited(number, status)

    def use_zygote(self, zygote: Zygote) -> None:
        """Start replicas from another zygote from here on."""
        self._supervisor.use_zygote(zygote)

    @property
    def in_flight(self) -> int:
        """Calls that have no reply yet."""
        return len(self._waiters)

    async def idle(self, timeout: float) -> None:
        """Wait until no call is under way, for `timeout` seconds at most."""
        self._idle.clear()
        if self._waiters:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout)

    async def failure(self) -> Exception:
        """Wait until the app cannot start at all; return why."""
        return await asyncio.shield(self._broken)

    def _break(self, error: Exception) -> None:
        if not self._broken.done():
            self._broken.set_result(error)
        self._failed(error)

    async def submit(self, call: Call) -> Reply:
        """Run a call; RequestError says how it failed. Cancelling the task cancels the call."""
        if self._stopped:
            raise shutting_down()
        self._admit(call)
        flight = Flight(self.route, call, self._slots.pop() if self._slots else 0)
        loop = asyncio.get_running_loop()
        done = self._waiters[flight] = loop.create_future()
        timer = loop.call_later(call.deadline - time.monotonic(), self._expire, flight) if call.firm else None
        try:
            self._begin(flight)
            await done
            return self._reply(flight)
        finally:
            if timer is not None:
                timer.cancel()
            flight.ended = True
            if flight.waiting:
                self._course.forget()
            del self._waiters[flight]
            if not self._waiters:
                self._idle.set()
            if flight.flying and flight.slot:
                self._supervisor.cancels[flight.slot] = 1
            self._settle(flight)

    def unready(self) -> str:
        """Why the app is not ready for requests, in one sentence; "" when it is."""
        if self.draining:
            return "the app is shutting down"
        return lacking(self.functions)

    def _admit(self, call: Call) -> None:
        """RequestError if a call is not let in."""
        refusal = self._course.refusal(call, time.monotonic())
        if refusal is None and len(self._waiters) >= self._max_queue:
            waiting = sum(not flight.flying and not flight.ended for flight in self._waiters)
            refusal = self._course.make_room(call, waiting)
        if refusal is not None:
            raise refusal

    def _expire(self, flight: Flight) -> None:
        """The deadline that a call's caller gave has passed: nobody listens any more."""
        stage = self._course.whereabouts(flight.call)
        detail = "late: the caller's deadline has passed"
        self._end(flight, RequestError(HTTPStatus.GATEWAY_TIMEOUT, detail, stage=stage))

    def _begin(self, flight: Flight) -> None:
        """Put a call on its way; RequestError if its parameters are none that the flow can walk."""
        inputs = self._pack_all(flight, flight.call.values)
        try:
            jobs = flight.start(inputs)
        except LengthError as error:  # all lists are the caller's own
            raise RequestError(HTTPStatus.BAD_REQUEST, str(error), stage=error.stage) from error
        if flight.is_answered():  # nothing but empty maps
            self._end(flight)
        else:
            self._push(jobs)

    def _default(self, parameter: Parameter) -> frames.Parts:
        value = msgspec.msgpack.decode(parameter.default, type=frames.Value)
        if INPUT + parameter.name not in self._split:
            return frames.Parts([value])
        return pack_list(listed(parameter.name, plain(value, None)), None)

    def _pack_all(self, flight: Flight, values: dict[str, object]) -> dict[Ref, frames.Parts]:
        """Put the parameters into shared memory; the flight owns them from here on."""
        inputs = {ref: parts for ref, parts in self._defaults.items() if ref.node[1:] not in values}
        for name, value in values.items():
            ref = Ref(INPUT + name)
            split = ref.node in self._split
            inputs[ref] = parts = self._pack(listed(name, value) if split else value, split=split)
            flight.values[ref] = parts
        return inputs

    def _pack(self, value: object, *, split: bool) -> frames.Parts:
        writer = self.pool.writer()
        packed: list[frames.Value] = []
        try:
            if split and isinstance(value, list):
                parts = pack_list(value, writer)
            else:
                parts = frames.Parts([pack(value, writer)])
            packed = parts.values
        finally:
            counts = Counter(leaf.generation for leaf in leaves(packed))
            for extent in writer.extents:
                self.pool.commit(extent, counts[extent.generation])
        return parts

    def _push(self, jobs: list[Job]) -> None:
        for job in jobs:
            self.functions[job.step].push(job)
        if len(jobs) == 1:
            self.functions[jobs[0].step].pump()
            return
        for step in {job.step for job in jobs}:
            self.functions[step].pump()

    def _done(self, function: Function, _replica: Replica, dispatch: Dispatch, done: frames.Done) -> None:
        """A batch came back: count its values in, go on with its calls, and hand out the next batch."""
        function.finished(dispatch, done, time.monotonic())
        self._commit(dispatch, done)
        for job, outcome in zip(dispatch.jobs, done.outcomes, strict=bool(dispatch.jobs)):
            job.flight.flying -= 1
            self._advance(job, outcome)
        self._supervisor.drop_segments()
        function.pump()

    def _commit(self, dispatch: Dispatch, done: frames.Done) -> None:
        """Count the references that a dispatch's results hold; a warm-up's are held by nobody."""
        held = references(done) if dispatch.jobs else {}
        for extent in dispatch.extents:
            self.pool.commit(extent, held.pop(extent.generation, 0))
        for generation, count in held.items():  # handed on as it came
            for _ in range(count):
                self.pool.retain(generation)

    def _advance(self, job: Job, outcome: frames.Result | frames.Fault | frames.Answered) -> None:
        flight = job.flight
        if flight.ended:
            self._release(values_of(outcome))
            self._settle(flight)
            return
        match outcome:
            case frames.Fault():
                self._end(flight, failure(outcome))
            case frames.Answered():
                flight.early = outcome
                self._end(flight)
            case frames.Result():
                try:
                    jobs = flight.finish(job, outcome.outputs)
                except LengthError as error:
                    status = HTTPStatus.INTERNAL_SERVER_ERROR
                    self._end(flight, RequestError(status, str(error), stage=error.stage))
                    return
                if flight.is_answered():
                    self._end(flight)
                else:
                    self._push(jobs)
                if flight.released:
                    self._release(flight.released)
                    flight.released.clear()

    def _end(self, flight: Flight, error: RequestError | None = None) -> None:
        """A call is over; the task that waits for it takes its reply, then lets go of its values."""
        flight.ended = True
        done = self._waiters[flight]
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(None)

    def _lost(self, _function: Function, dispatch: Dispatch, error: RequestError) -> None:
        for job in dispatch.jobs:
            job.flight.flying -= 1
            self._refused(job, error)

    def _refused(self, job: Job, error: RequestError) -> None:
        if not job.flight.ended:
            self._end(job.flight, error)
        else:
            self._settle(job.flight)

    def _settle(self, flight: Flight) -> None:
        """Let go of an ended flight's values, once no replica reads them and its reply has been taken."""
        if flight.flying or flight in self._waiters:
            return
        self._release(flight.held())
        self._release(flight.released)
        flight.clear()
        if flight.slot:
            self._supervisor.cancels[flight.slot] = 0
            self._slots.append(flight.slot)
            flight.slot = 0

    def _release(self, values: Iterable[frames.Value]) -> None:
        for value in values:
            for leaf in value.leaves:
                if leaf.segment >= 0:
                    self.pool.release(leaf.generation)

    def _reply(self, flight: Flight) -> Reply:
        early = flight.early
        if early is not None:
            return Reply(value=self._plain(early.value), status=early.status, headers=early.headers)
        if flight.call.items is not None:
            return Reply(value=flight.call.items.whole())
        return Reply(value=self._resolve(self.manifest.graph.output, flight))

    def _resolve(self, arg: Arg, flight: Flight) -> object:
        """Put the answer together as the flow returns it."""
        if isinstance(arg, Ref):
            parts = flight.values[Ref(arg.node) if arg.is_input else arg]
            values = [self._plain(value) for value in parts.values]
            value = values if parts.split else values[0]
            return follow(arg, value) if arg.is_input else value
        if isinstance(arg, Const):
            return unpack_inline(arg.data)
        values = [self._resolve(item, flight) for item in arg.items]
        return dict(zip(arg.keys, values, strict=True)) if arg.kind == "dict" else values

    def _plain(self, value: frames.Value) -> object:
        try:
            return plain(value, Copies(self.pool) if value.leaves else None)
        except RegrainError as error:
            detail = f"the answer cannot be read: {error}"
            raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, detail) from error

    def status(self) -> dict[str, object]:
        """What the admin API's GET /status tells of the app itself."""
        return {
            "app": self.manifest.app,
            "state": self.state(),
            "grain": self.route.plan.grain,
            "groups": [standing(function) for function in self.functions],
            "load": msgspec.to_builtins(self.measure.summary(time.monotonic())),
            "slo": objective(self.manifest, self.measure.latency),
            "warnings": [self.unready()] if self.unready() else [],
        }

    def state(self) -> str:
        """Return "starting", "ready", "crash-loop" or "draining"."""
        if self.draining:
            return "draining"
        if any(function.is_looping for function in self.functions):
            return "crash-loop"
        return "starting" if self.unready() else "ready"
