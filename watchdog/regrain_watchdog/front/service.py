"""A plan that is served: calls come in, take their route through the functions, and leave with a reply."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from regrain.errors import RegrainError, RequestError
from regrain.manifest import Manifest
from regrain.plan import Plan
from regrain.wire import frames
from regrain_watchdog.front.adapting.widths import notice, notice_inside
from regrain_watchdog.front.call import MAX_ITEMS, Call, Reply
from regrain_watchdog.front.course import Course
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.flight import Flight, Job, LengthError
from regrain_watchdog.front.function import Function
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.outcomes import values_of
from regrain_watchdog.front.pooled import leads, pools
from regrain_watchdog.front.replica import Dispatch, Replica, State
from regrain_watchdog.front.reply import failure, shutting_down
from regrain_watchdog.front.route import make_route
from regrain_watchdog.front.standing import lacking, objective, standings, warnings
from regrain_watchdog.front.stay import End, Stay, wake
from regrain_watchdog.front.values import Values

if TYPE_CHECKING:
    from regrain_watchdog.front.remote.peer import Peer
    from regrain_watchdog.front.remote.visit import Visit

MOST_URGENT = -1
"""Priority of the sample: before every caller's. One request; behind them it would starve where there is too much."""


class App:
    """An app under one plan (the Service that ingresses speak to, and the Owner of its functions).

    crew: the replicas of the app's version; other plans of it may use them at the same time.
    failed: told once when it cannot start at all, with the error to show.

    Attributes:
        leaving: whether it ends, and takes nothing from other pods any more.
    """

    def __init__(
        self,
        plan: Plan,
        crew: Crew,
        *,
        max_queue: int,
        max_items: int = MAX_ITEMS,
        measure: Measure,
        failed: Callable[[Exception], None],
    ) -> None:
        self.crew = crew
        self.manifest: Manifest = crew.manifest
        self.route = make_route(self.manifest.graph, plan)
        self.grain = plan.grain
        self.measure = measure
        self.draining = False
        self._max_queue = max_queue
        self._failed = failed
        self._broken: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._idle = asyncio.Event()
        self.functions = [
            Function(queue, crew.learned(step), measure=measure, owner=self, pool=pool)
            for (queue, pool), step in zip(pools(plan, crew.device), self.route.steps, strict=True)
        ]
        crew.employ(self.functions)
        self._course = Course(self.route, self.functions, max_queue)
        self._values = Values(self.manifest, self.route, crew.pool, max_items)
        self._stopped = False
        self.leaving = False
        self._lingers = False
        self._waiters: dict[Flight, End] = {}

    async def start(self, sample: dict[str, object] | None) -> None:
        """Start every function and warm it up with a sample's parameters; RegrainError if the sample fails."""
        await self.load()
        await self.warm(sample)

    async def load(self, missing: Mapping[str, int] | None = None) -> None:
        """Start replicas, by group (all that the plan has by default), and wait until they have their stages loaded."""
        for function in leads(self.functions):
            group = function.seat
            self.crew.start(function, group.replicas if missing is None else missing.get(group.name, 0))
        await self.crew.settled(self.functions, State.LOADED)

    async def warm(self, sample: dict[str, object] | None) -> None:
        """Warm every new replica up with a sample's parameters; RegrainError if the sample fails."""
        if sample is not None:
            await self._rehearse(sample)
        self.crew.warmed(self.functions)
        await self.crew.settled(self.functions, State.READY)

    async def learn_sample(self, sample: dict[str, object] | None) -> None:
        """Have the sample pass once, behind all other calls, if a step has not seen it yet: later replicas need it."""
        if sample is not None and not all(function.learned.sample for function in self.functions):
            await self._rehearse(sample)

    async def _rehearse(self, sample: dict[str, object]) -> None:
        now = time.monotonic()
        call = Call(
            id="sample", values=sample, headers=b"", arrived=now, priority=MOST_URGENT, is_sample=True
        )
        try:
            await self.submit(call)
        except RequestError as error:
            raise RegrainError(
                f"the app's own sample failed ({int(error.status)}): {error.detail}"
            ) from error

    async def stop(self, why: RequestError | None = None) -> None:
        """Refuse what waits, let replicas finish what they hold, and end those that no other plan has; at most once.

        why: what calls under way hear, now; without it they may end as long as their replicas do.
        """
        if self._stopped:
            return
        self.leaving = True
        error, overdue = why or shutting_down(), list(self._waiters) if why is not None else []
        for flight in overdue:
            self._end(flight, error)
        for function in self.functions:
            function.drain(error)
        await self.crew.leave(self.functions)
        self._stopped = True
        for peer in [peer for function in self.functions for peer in function.peers]:
            peer.close()
        late = list(self._waiters)
        for flight in late:  # their next group had no replica any more, or they took too long
            self._end(flight, error)
        self.crew.interrupt([*overdue, *late])
        while self._waiters:
            await asyncio.sleep(0)  # until they have taken their error and let go of their values
        self._course.end()
        self.functions = []  # they know the app, so it would have to wait for the garbage collector
        self.crew.close()

    @property
    def in_flight(self) -> int:
        """Calls that have no reply yet."""
        return len(self._waiters)

    @property
    def is_wanted(self) -> bool:
        """Whether calls are under way, or may still come from other pods."""
        return self._lingers or bool(self._waiters)

    def linger(self, *, on: bool) -> None:
        """Say whether other pods may still send calls after another plan has come into force here."""
        self._lingers = on
        if not on:
            self._idle.set()

    async def idle(self, timeout: float) -> None:
        """Wait until it may be no longer wanted, for `timeout` seconds at most."""
        self._idle.clear()
        if self.is_wanted:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout)

    async def failure(self) -> Exception:
        """Wait until the app cannot start at all; return why."""
        return await asyncio.shield(self._broken)

    def broke(self, error: Exception) -> None:
        """No replica of a function can start."""
        if not self._broken.done():
            self._broken.set_result(error)
        self._failed(error)

    async def submit(self, call: Call) -> Reply:
        """Run a call; RequestError says how it failed. Cancelling the task cancels the call."""
        if self._stopped:
            raise shutting_down()
        tally = self.measure.tally
        number = tally.note(call.size, time.monotonic()) if tally is not None and not call.is_sample else -1
        self._admit(call)
        flight = Flight(self.route, call, self._slot(), number=number)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._enter(flight, partial(wake, done))
        try:
            self._begin(flight)
            await done
            return self._values.reply(flight)
        finally:
            if tally is not None and number >= 0 and self.route.lists:
                notice(tally, flight)
            self._leave(flight, timer)

    def host(
        self, visits: Sequence[Visit], told: Callable[[Sequence[RequestError | None]], None]
    ) -> Callable[[], None]:
        """Run units of one step for another front; what they were given is the app's from here on.

        Args:
            visits: the units.
            told: is called in a later turn of the loop with None or the error of each, while they hold what they gave.

        Returns:
            What gives them up; `told` is not called then.

        Raises:
            RequestError: (503) the plan ends.
        """
        refusal = shutting_down() if self.leaving else self._course.full(len(self._waiters) + len(visits))
        if refusal is not None:
            for visit in visits:
                self._values.release(visit.held())
            if self.leaving:
                raise refusal
            return asyncio.get_running_loop().call_soon(told, [refusal] * len(visits)).cancel
        if self.measure.traces is not None:
            for visit in visits:
                self.measure.traces.join(visit.call)
        entered: list[tuple[Visit, asyncio.TimerHandle | None]] = []
        stay = Stay(len(visits), told, partial(self._leave_all, entered))
        for place, visit in enumerate(visits):
            visit.slot = self._slot()
            entered.append((visit, self._enter(visit, partial(stay.ended, place))))
        try:
            self._hand_out([visit.job() for visit in visits])
        except BaseException:
            stay.give_up()
            raise
        return stay.give_up

    def _slot(self) -> int:
        return self.crew.slots.pop() if self.crew.slots else 0

    def _enter(self, flight: Flight, end: End) -> asyncio.TimerHandle | None:
        """A flight begins; return the timer of its deadline."""
        self._waiters[flight] = end
        if not flight.call.firm:
            return None
        left = flight.call.deadline - time.monotonic()
        return asyncio.get_running_loop().call_later(left, self._expire, flight)

    def _leave(self, flight: Flight, timer: asyncio.TimerHandle | None) -> None:
        """What was to become of a flight has, or its caller has gone."""
        if timer is not None:
            timer.cancel()
        flight.ended = True
        if flight.waiting:
            self._course.forget()
        del self._waiters[flight]
        if not self._waiters:
            self._idle.set()
        if flight.flying and flight.slot:
            self.crew.cancels[flight.slot] = 1
        self._settle(flight)

    def _leave_all(self, entered: Sequence[tuple[Visit, asyncio.TimerHandle | None]]) -> None:
        for visit, timer in entered:
            self._leave(visit, timer)

    def unready(self) -> str:
        """Why the app is not ready for requests, in one sentence; "" when it is."""
        return "the app is shutting down" if self.draining else lacking(self.functions)

    def _admit(self, call: Call) -> None:
        """RequestError if a call is not let in."""
        if call.is_sample:
            return
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
        inputs = self._values.enter(flight)
        try:
            jobs = flight.start(inputs)
        except LengthError as error:  # all lists are the caller's own
            raise RequestError(HTTPStatus.BAD_REQUEST, str(error), stage=error.stage) from error
        if flight.is_answered():  # nothing but empty maps
            self._end(flight)
        else:
            self._hand_out(jobs)

    def _hand_out(self, jobs: Sequence[Job]) -> None:
        """Have jobs wait for their steps, then hand out what is due: what comes together goes together."""
        if len(jobs) == 1:
            self.functions[jobs[0].step].bring(jobs[0])
            return
        for job in jobs:
            self.functions[job.step].push(job)
        for step in dict.fromkeys(job.step for job in jobs):
            self.functions[step].pump()

    def done(self, _runner: Replica | Peer, dispatch: Dispatch, done: frames.Done) -> None:
        """A batch came back: count its values in, and go on with its calls."""
        dispatch.function.finished(dispatch, done, time.monotonic())
        self._values.commit(dispatch, done)
        if self.measure.tally is not None and self.route.lists and not dispatch.step.per_item:
            notice_inside(self.measure.tally, dispatch, done)
        jobs: list[Job] = []
        for job, outcome in zip(dispatch.jobs, done.outcomes, strict=bool(dispatch.jobs)):
            job.flight.flying -= 1
            jobs += self._advance(job, outcome)
        self._hand_out([job for job in jobs if not job.flight.ended])
        self.crew.drop_segments()

    def _advance(self, job: Job, outcome: frames.Result | frames.Fault | frames.Answered) -> Sequence[Job]:
        """Count what came of a job in; return what its call has to do next."""
        flight = job.flight
        jobs: Sequence[Job] = ()
        if flight.ended:
            self._values.release(values_of(outcome))
            self._settle(flight)
            return jobs
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
                    return ()
                if flight.is_answered():
                    self._end(flight)
                    jobs = ()
                if flight.released:
                    self._values.release(flight.released)
                    flight.released.clear()
        return jobs

    def _end(self, flight: Flight, error: RequestError | None = None) -> None:
        """A call is over; the task that waits for it takes its reply, then lets go of its values."""
        flight.ended = True
        self._waiters[flight](error)

    def lost(self, dispatch: Dispatch, error: RequestError) -> None:
        """A dispatch has gone with its replica, and is not tried again."""
        dispatch.lost(error.detail)
        for job in dispatch.jobs:
            job.flight.flying -= 1
            self.refused(job, error)

    def refused(self, job: Job, error: RequestError) -> None:
        """A job leaves without a result."""
        if not job.flight.ended:
            self._end(job.flight, error)
        else:
            self._settle(job.flight)

    def _settle(self, flight: Flight) -> None:
        """Let go of an ended flight's values, once no replica reads them and its reply has been taken."""
        if flight.flying or flight in self._waiters:
            return
        self._values.release(flight.held())
        self._values.release(flight.released)
        flight.clear()
        if flight.slot:
            self.crew.cancels[flight.slot] = 0
            self.crew.slots.append(flight.slot)
            flight.slot = 0

    def status(self) -> dict[str, object]:
        """What the admin API's GET /status tells of the app itself."""
        return {
            "app": self.manifest.app,
            "state": self.state(),
            "grain": self.grain,
            "groups": standings(self.functions),
            "load": msgspec.to_builtins(self.measure.summary(time.monotonic())),
            "slo": objective(self.manifest, self.measure.latency),
            "warnings": warnings(self.functions, self.unready()),
        }

    def state(self) -> str:
        """Return "starting", "ready", "crash-loop" or "draining"."""
        if self.draining:
            return "draining"
        if any(function.is_looping and not function.is_serving for function in self.functions):
            return "crash-loop"
        return "starting" if self.unready() else "ready"
