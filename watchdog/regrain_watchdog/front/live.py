"""An app that changes while it serves: from one plan to another, from one version of its code to the next.

Each plan is an App of its own (service.py), over the replicas of its version (crew.py). A change makes the next one
beside it: living replicas serve both, what is missing is started and warmed up, and only then do new calls go there.
Calls that are under way end where they began, and when the last of them has, the replicas are stopped that only the old
plan used. Where nothing is missing, the route swaps at once.
What is to be done when is decided by a pure machine (policy/transition.py); this module does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from regrain.errors import RegrainError, RequestError
from regrain.manifest import Manifest
from regrain_watchdog.front.call import Call, Reply
from regrain_watchdog.front.reply import overtaken, shutting_down
from regrain_watchdog.front.service import App
from regrain_watchdog.front.standing import gauges, standings
from regrain_watchdog.policy.transition import (
    Abandon,
    Drained,
    Instruction,
    Loaded,
    Phase,
    Start,
    StartFailed,
    Stop,
    Swap,
    TimedOut,
    Transition,
    WarmedUp,
    WarmUp,
    WarmUpFailed,
)

logger = logging.getLogger(__name__)

KEPT = 20
"""Changes that the status tells of."""
OPERATOR, CONTROLLER, PODS, GATEWAY = "operator", "controller", "controller of the pods", "gateway"
"""Who wants a change: whoever asks the admin API, the app's own controller, the one that assigns groups to pods, or the
gateway that the app is a function of."""
OLD = 0
"""The number under which a transition knows all that only the old plan needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change as the status tells it; `at` is its begin in unix seconds.

    state: "loading", "warming", "draining" (in force, the old plan ends its calls), "done" or "failed".
    seconds: from its begin until it was in force or had failed; 0.0 before. detail: why it failed, or "".
    by: who wanted it, OPERATOR, CONTROLLER, PODS or GATEWAY.
    """

    at: float
    old: str
    new: str
    state: str
    seconds: float = 0.0
    detail: str = ""
    by: str = ""


class Live:
    """The Service that ingresses speak to; `current` is the plan in force.

    patience: seconds that a new plan has to become ready, and an old one to end its last calls.
    sample: gives the parameters of an app's sample.
    swapped: told of each plan that comes into force.

    Attributes:
        held: whether only operators may change the grain.
        trouble: why replicas of the version in force cannot be replaced, or "".
    """

    def __init__(
        self,
        app: App,
        *,
        patience: float,
        sample: Callable[[Manifest], dict[str, object] | None],
        swapped: Callable[[App], None] = lambda _: None,
    ) -> None:
        self.current = app
        self.held = False
        self.trouble = ""
        self.changes: deque[Change] = deque(maxlen=KEPT)
        self._patience = patience
        self._sample = sample
        self._swapped = swapped
        self._apps = [app]
        self._draining = False
        self._turn: asyncio.Task[object] | None = None
        self._by = ""
        self._made = asyncio.Event()
        self._tail: asyncio.Future[None] | None = None
        self._show(app)

    @property
    def manifest(self) -> Manifest:
        """The app as it is served now."""
        return self.current.manifest

    def submit(self, call: Call) -> Coroutine[None, None, Reply]:
        """Run a call under the plan in force at this moment, not at that of the first await; it ends under the same.

        A task made of it at once begins before an old plan is looked at for its last call.
        """
        return self.current.submit(call)

    def unready(self) -> str:
        """Why the app is not ready for requests, in one sentence; "" when it is."""
        return self.current.unready()

    def status(self) -> dict[str, object]:
        """What the admin API's GET /status tells of the app itself."""
        changes = [
            {
                "at": change.at,
                "from": change.old,
                "to": change.new,
                "state": change.state,
                "seconds": change.seconds,
                "detail": change.detail,
                "by": change.by,
            }
            for change in self.changes
        ]
        told = self.current.status()
        others = [function for app in self._apps if app is not self.current for function in app.functions]
        if self.trouble and isinstance(told["warnings"], list):
            told["warnings"].append(self.trouble)
        return {
            **told,
            "beside": standings(others),
            "resident": self.current.crew.keeps,
            "held": self.held,
            "transitions": changes[::-1],
        }

    @property
    def apps(self) -> Sequence[App]:
        """The plan in force, those that still end their calls, and one that is to come; oldest first."""
        return self._apps

    @property
    def is_changing(self) -> bool:
        """Whether a change is under way, the end of the old plan's calls included."""
        return self._turn is not None or (self._tail is not None and not self._tail.done())

    @contextlib.asynccontextmanager
    async def turn(self, by: str = OPERATOR) -> AsyncIterator[None]:
        """Let one caller at a time prepare and make a change, in a task that `drain` may cancel; `by`: who wants it.

        An operator waits for the end of a change that none asked for, which takes twice the patience at most.

        Raises:
            RequestError: (409) another change is under way, or the old plan still ends its calls; (503) the app stops.
        """
        while by == OPERATOR != self._by and self.is_changing and not self._draining:
            await self._made.wait()
            await self.drained()
        if self._draining:
            raise shutting_down()
        if self.is_changing:
            raise RequestError(HTTPStatus.CONFLICT, "another change is under way; wait for it to end")
        self._turn, self._by = asyncio.current_task(), by
        self._made.clear()
        try:
            yield
        finally:
            self._turn = None
            self._made.set()

    async def change(self, new: App) -> Change:
        """Put a plan that was not started yet in force, within a `turn`; return how it went once its route has swapped.

        Raises:
            RequestError: (409) the new plan did not become ready, the old one stays.
            SpecError: the sample of the new version is no request for it.
        """
        try:
            sample = self._sample(new.manifest)
        except BaseException:
            await new.stop()
            raise
        try:
            await self.drained()
        except BaseException:
            await new.stop()
            raise
        return await _Change(self, new, sample, self._by).run()

    async def drained(self) -> None:
        """Wait until the last change has ended, with the old plan's last call."""
        if self._tail is not None:
            await asyncio.wait([self._tail])

    def drain(self) -> None:
        """Say from here on that the app is to stop; a change under way is given up, calls are still served."""
        self._draining = self.current.draining = True
        if self._turn is not None:
            self._turn.cancel()

    async def stop(self) -> None:
        """End everything, old plans included."""
        self.drain()
        if self._tail is not None:
            self._tail.cancel()
        ending = {task for task in (self._turn, self._tail) if task is not None}
        if ending:
            await asyncio.wait(ending)
        await asyncio.gather(*(app.stop() for app in self._apps))

    def kill(self) -> None:
        """End every process at once."""
        for app in self._apps:
            app.crew.kill()

    def exited(self, number: int, status: int) -> None:
        """A zygote has reaped a replica."""
        for crew in {app.crew for app in self._apps}:
            crew.exited(number, status)

    def begin(self, new: App) -> None:
        """Take in the next plan."""
        self._apps.append(new)

    def swap(self, new: App, homes: Mapping[int, str]) -> None:
        """Put a plan in force; `homes` says for which group each replica that was taken over counts."""
        if new.crew is not self.current.crew:
            self.trouble = ""
        new.crew.enforce(new.functions, homes)
        self.current = new
        self._show(new)
        self._swapped(new)

    def _show(self, app: App) -> None:
        app.measure.gauges = lambda: gauges(app.functions, app.crew.pool, app.crew.gpu_books())

    async def forget(self, app: App, why: RequestError | None = None) -> None:
        """Stop a plan's processes, as its `stop`."""
        await app.stop(why)
        self._apps.remove(app)

    def follow(self, tail: Awaitable[None]) -> None:
        """Let the end of a change, which nobody waits for, run on."""
        self._tail = asyncio.ensure_future(tail)
        self._tail.add_done_callback(_tell)

    @property
    def patience(self) -> float:
        """Seconds that a new plan has to become ready, and an old one to end its last calls."""
        return self._patience


class _Change:
    """One change under way: carries out what the transition says, and tells it what happened."""

    def __init__(self, live: Live, new: App, sample: dict[str, object] | None, by: str) -> None:
        self._live = live
        self._sample = sample
        self._old = live.current
        self._new = new
        self._began = time.monotonic()
        self._cast = new.crew.cast(new.route.plan.groups)
        self._transition = Transition(
            missing=self._cast.missing,
            free=self._cast.is_free(regroups=new.route.plan.grain != live.current.route.plan.grain)
            and not any(one.step.streams and one.seat.name in self._cast.guests for one in new.functions),
            surplus=frozenset({OLD}),
        )
        self._log = Change(at=time.time(), old=_name(live.current), new=_name(new), state="loading", by=by)
        live.changes.append(self._log)
        live.begin(new)
        new.crew.adopt(new.functions, self._cast)

    async def run(self) -> Change:
        try:
            await self._do(self._transition.begin())
        except asyncio.CancelledError:
            await self._do(self._transition.handle(TimedOut("the app is shutting down")))
            self._note()
            raise
        self._note()
        if self._transition.reason:
            detail = f"the old plan stays: {self._transition.reason}"
            raise RequestError(HTTPStatus.CONFLICT, detail)
        return self._log

    async def _do(self, instructions: list[Instruction]) -> None:
        starts = False
        for instruction in instructions:
            match instruction:
                case WarmUp():
                    await self._do(self._transition.handle(await self._warm()))
                case Swap():
                    self._live.swap(self._new, self._cast.homes)
                    logger.info("in force: %s", _name(self._new))
                    self._live.follow(self._drain())
                case Stop():
                    await self._live.forget(self._old, overtaken(self._live.patience))
                case Abandon():
                    logger.warning("%s did not come into force: %s", _name(self._new), instruction.reason)
                    await self._live.forget(self._new)
                case Start():
                    starts = not self._transition.free  # behind a swap the crew does it by itself
        if starts:
            await self._load()

    async def _load(self) -> None:
        while (
            self._transition.phase is Phase.LOADING
        ):  # one that has loaded may have ended before it was counted
            await self._load_once()

    async def _load_once(self) -> None:
        event = await self._bounded(self._new.load(self._cast.missing), StartFailed)
        if event is not None:
            await self._do(self._transition.handle(event))
            return
        loaded = [
            Loaded(function.seat.name, replica.number)
            for function in self._new.functions
            for replica in function.own
        ]
        for one in loaded:
            await self._do(self._transition.handle(one))

    async def _warm(self) -> WarmedUp | WarmUpFailed | StartFailed | TimedOut:
        self._note()
        return await self._bounded(self._new.warm(self._sample), WarmUpFailed) or WarmedUp()

    async def _bounded(
        self, work: Awaitable[None], failed: type[StartFailed] | type[WarmUpFailed]
    ) -> StartFailed | WarmUpFailed | TimedOut | None:
        """Await some work of the new plan's; return how it failed, or None."""
        patience = self._live.patience
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._new.failure())
        try:
            await asyncio.wait({task, gone}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                return StartFailed(str(gone.result()))
            if not task.done():
                return TimedOut(f"not ready after {patience:g} s: {self._new.unready()}")
            task.result()
        except RegrainError as error:
            return failed(str(error))
        finally:
            task.cancel()
            gone.cancel()
        return None

    async def _drain(self) -> None:
        """Wait for the old plan's last call, then stop it."""
        self._note()
        until = time.monotonic() + self._live.patience
        try:
            async with asyncio.timeout(self._live.patience):
                await self._new.learn_sample(self._sample)
        except (RegrainError, TimeoutError) as error:
            logger.warning("the sample did not pass, so later replicas start cold: %s", error)
        while self._old.is_wanted and time.monotonic() < until:
            await self._old.idle(until - time.monotonic())
        await self._do(self._transition.handle(Drained()))
        self._note()

    def _note(self) -> None:
        """Write down how far the change is; no other begins before it has ended, so it is the last."""
        phase, seconds = self._transition.phase, self._log.seconds
        if phase in (Phase.DRAINING, Phase.FAILED) and not seconds:
            seconds = time.monotonic() - self._began
        self._log = replace(self._log, state=phase.value, seconds=seconds, detail=self._transition.reason)
        self._live.changes[-1] = self._log


def _tell(tail: asyncio.Future[None]) -> None:
    """Log what went wrong at the end of a change, since nobody waits for it."""
    if not tail.cancelled() and (error := tail.exception()) is not None:
        logger.error("the old plan did not end as it should", exc_info=error)


def _name(app: App) -> str:
    """A plan and its version, as a person tells them apart."""
    return f"{app.route.plan.grain} ({app.manifest.digest})"
