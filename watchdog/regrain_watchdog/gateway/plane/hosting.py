"""One function: its versions come and go, one at a time is asked, and a request that finds none waits for one.

An update is another version beside the one that serves. Once it is ready, requests go there; those under way end where
they began. A version that does not start leaves the one before serving.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from msgspec.structs import replace

from regrain.errors import RegrainError, RequestError
from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.front.reply import RETRY_AFTER
from regrain_watchdog.front.zygote import PAUSES, DiedError
from regrain_watchdog.gateway.plane.instance import Instance, Tally
from regrain_watchdog.gateway.plane.output import Log, Output
from regrain_watchdog.gateway.plane.reconcile import Have
from regrain_watchdog.gateway.plane.route import Key
from regrain_watchdog.gateway.plane.starts import Starts
from regrain_watchdog.gateway.plane.version import Ending, Version
from regrain_watchdog.gateway.spec import Function, Standing, State

logger = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds that a request waits for a function that starts."""
DRAIN = 30.0
"""Seconds that requests have to end in a version that is not asked any more."""
AGAIN = 10.0
"""Seconds after which a request has a function tried again that did not start."""
WAITING = 1024
"""Requests of a function that may wait for its start."""

Make = Callable[[Function, Output], Instance]


class Hosting:
    """One function.

    Args:
        function: as it is wanted.
        make: makes an instance that writes to an output.
        log: the function's.
        again: told when something that was begun has ended.
        awaken: told when a request finds no replica.
        starts: gives starts their turn.
        ending: of a removed function of its name; None where there is none.

    Attributes:
        function: as it was wanted when it was last tried.
        ending: its versions that are not asked any more.
        asked: when the last request ended, CLOCK_MONOTONIC; or when it started.
        cpu, memory: what its processes use, thousandths of a core and bytes.
    """

    def __init__(
        self,
        function: Function,
        make: Make,
        log: Log,
        *,
        again: Callable[[], None],
        awaken: Callable[[Hosting], None],
        starts: Starts,
        ending: Ending | None = None,
    ) -> None:
        self.function = function
        self.key: Key = (function.deployment.namespace, function.deployment.service)
        self.invocations = 0
        self.waiting = 0
        self.asked = time.monotonic()
        self.ending = ending or Ending()
        self.cpu = 0.0
        self.memory = 0
        self._make = make
        self._log = log
        self._again = again
        self._awaken = awaken
        self._starts = starts
        self._state: State = "zero"
        self._detail = ""
        self._version: Version | None = None
        self._begun = 0
        self._tried_last = 0
        self._failed_at = 0.0
        self._settled = asyncio.Event()
        self._settled.set()
        self._task: asyncio.Task[None] | None = None

    @property
    def have(self) -> Have:
        """What is there of it."""
        busy = self._task is not None
        return Have(version=version(self.function), replicas=self.function.replicas, busy=busy)

    @property
    def in_flight(self) -> int:
        """Requests under way, those that wait for a start included."""
        return self.waiting + (self._version.calls if self._version is not None else 0)

    @property
    def is_retiring(self) -> bool:
        """Whether a version of it, or of a removed function of its name, has still to end."""
        return not self.ending.is_over

    @property
    def instance(self) -> Instance | None:
        """What serves; None while nothing does."""
        return self._version.instance if self._version is not None else None

    @property
    def has_failed(self) -> bool:
        """Whether it did not start; it is tried again when it is deployed anew, or asked after a while."""
        return self._state == "failed"

    @property
    def stands_in(self) -> bool:
        """Whether a version serves that is no longer wanted, as the one that is did not start."""
        return self._version is not None and self._version.generation < self._tried_last

    @property
    def _may_be_tried(self) -> bool:
        return self.has_failed and self._task is None and time.monotonic() >= self._failed_at + AGAIN

    @property
    def _is_over(self) -> bool:
        return self._state in ("failed", "draining")

    def standing(self) -> Standing:
        """Return how it does."""
        tally = self.instance.tally() if self.instance is not None else Tally(replicas=0, available=0)
        state = self._state
        if state == "ready" and not tally.available:
            state = "starting"
        namespace, name = self.key
        return Standing(
            name=name,
            namespace=namespace,
            state=state,
            replicas=max(tally.replicas, self.function.replicas if state == "starting" else 0),
            available=tally.available,
            invocations=self.invocations,
            cpu=self.cpu if tally.replicas else 0.0,
            memory=self.memory if tally.replicas else 0,
            detail=self._detail or tally.detail,
            serving=self._version.generation if self._version is not None else 0,
            tried=self._tried_last,
        )

    async def serve(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request; RequestError where there is nobody who could."""
        found = await self.enter()
        try:
            await found.instance.__rsgi__(scope, proto)
        finally:
            self.leave(found)

    async def enter(self) -> Version:
        """Return the version that takes a request, which `leave` must follow; RequestError where there is none."""
        found = self._version or await self._arrival()
        found.calls += 1
        self.invocations += 1
        return found

    def leave(self, found: Version) -> None:
        """A request has ended."""
        found.calls -= 1
        self.asked = time.monotonic()
        if not found.calls:
            found.idle.set()

    async def _arrival(self) -> Version:
        """Wait for a version to be ready."""
        if self._is_over and not self._may_be_tried:
            raise _unavailable(f"the function did not start: {self._detail}")
        if self.waiting >= WAITING:
            raise _unavailable(f"{WAITING} requests wait for the function to start")
        self.waiting += 1
        try:
            async with asyncio.timeout(PATIENCE):
                while self._version is None:
                    if self._task is None:
                        self._awaken(self)
                    await self._settled.wait()
                    if self._is_over:
                        raise _unavailable(f"the function did not start: {self._detail}")
        except TimeoutError as error:
            raise _unavailable(f"the function did not start within {PATIENCE:g} s") from error
        finally:
            self.waiting -= 1
        return self._version

    def update(self, function: Function) -> None:
        """Put a version in the place of the one that serves."""
        self.function = function
        self._begin(self._renew())

    def scale(self, replicas: int, kept: Callable[[], Awaitable[None]] | None = None) -> None:
        """Have another number of replicas; `kept` is awaited before something else is done about the function."""
        before, self.function = self.function, replace(self.function, replicas=replicas)
        if self._version is None:
            self._begin(self._renew(), kept)
        elif replicas:
            self._begin(self._resize(self._version, before))
        else:
            self._begin(self._sleep())

    def remove(self) -> None:
        """Serve it no more; what is under way may end."""
        self._end()
        self._log.remove()

    async def stop(self, timeout: float) -> None:
        """End it with the gateway: requests have so many seconds to end."""
        self._end(timeout)
        await self.ending.over()
        self._log.close()

    def kill(self) -> None:
        """End its processes at once, those of versions that have still to end too."""
        if self.instance is not None:
            self.instance.kill()
        self.ending.kill()

    def _end(self, timeout: float = DRAIN) -> None:
        self._state, self._detail = "draining", "it is being removed"
        if self._task is not None:
            self.ending.add(self._task)
            self._task.cancel()
        self._settled.set()
        self._swap(None, timeout)

    def _begin(self, work: Awaitable[None], kept: Callable[[], Awaitable[None]] | None = None) -> None:
        self._settled.clear()
        if self._version is None and self.function.replicas:
            self._state = "starting"
        self._task = asyncio.ensure_future(self._do(work, kept))

    async def _do(self, work: Awaitable[None], kept: Callable[[], Awaitable[None]] | None) -> None:
        try:
            await work
            if kept is not None:
                await kept()
            self._again()
        except RegrainError as error:  # tried again when the store is looked at next
            self._say(str(error))
        finally:
            self._task = None
            self._settled.set()

    async def _renew(self) -> None:
        """Start a version of the function as it is wanted, and have it serve."""
        if not self.function.replicas:
            await self._sleep()
            return
        try:
            made = await self._made()
        except (RegrainError, OSError) as error:
            self._failed(str(error))
            return
        self.asked = time.monotonic()
        self._state, self._detail = "ready", ""
        self._tried_last = made.generation
        self._swap(made)

    async def _made(self) -> Version:
        """Return a version that has started; a start in which a process died is tried again."""
        for pause in PAUSES:
            try:
                return await self._tried()
            except DiedError as error:
                self._say(f"{error}; trying again")
                await asyncio.sleep(pause)
        return await self._tried()

    async def _tried(self) -> Version:
        """Start a version; whatever goes wrong is raised, once nothing is left of it."""
        self._begun += 1
        output = Output(self._log, f"{self.key[1]}-{self.function.generation}-{self._begun}")
        made = Version(self._make(self.function, output), output, self.function.generation)
        try:
            async with self._starts.turn():
                made.hold(self.function.image)
                await made.instance.start(self.function.replicas, self._clear)
        except BaseException as error:
            if isinstance(error, RegrainError | OSError):
                output.say(f"did not start: {error}")
            self._abandon(made)
            raise
        return made

    async def _clear(self) -> None:
        """End what serves or has still to end, as the next one cannot start beside it; requests wait for that one."""
        if self._version is not None:
            self._state = "starting"
        self._swap(None)
        await self.ending.over()

    def _abandon(self, made: Version) -> None:
        """Let go of a version that does not start."""
        made.instance.kill()
        self._retire(made, 0.0)

    async def _resize(self, found: Version, before: Function) -> None:
        try:
            await found.instance.scale(self.function.replicas)
        except RegrainError:
            self.function = before
            raise

    async def _sleep(self) -> None:
        self._state, self._detail = "zero", ""
        self._swap(None)

    def _failed(self, detail: str) -> None:
        """The version that was tried does not start; one that serves goes on."""
        self._tried_last = self.function.generation
        if self._version is None:
            self._state, self._detail = "failed", detail
            self._failed_at = time.monotonic()
        else:
            self._detail = f"the version before serves, as the new one did not start: {detail}"
        self._say(self._detail)

    def _say(self, sentence: str) -> None:
        logger.warning("%s: %s", ".".join(self.key[::-1]), sentence)

    def _swap(self, new: Version | None, timeout: float = DRAIN) -> None:
        """Ask another version from here on, and end the one before."""
        before, self._version = self._version, new
        if before is not None:
            self._retire(before, timeout)

    def _retire(self, old: Version, timeout: float) -> None:
        self.ending.add(asyncio.ensure_future(self._retired(old, timeout)), old)

    async def _retired(self, old: Version, timeout: float) -> None:
        if not await old.drain(timeout):
            self._say(f"{old.calls} requests were cut off, as they had not ended after {timeout:g} s")
        try:
            await old.end()
        except (RegrainError, OSError) as error:
            self._say(f"a version did not end as it should: {error}")


def version(function: Function) -> tuple[float, int]:
    """Return what tells a version of a function from all others of its name."""
    return function.created, function.generation


def _unavailable(detail: str) -> RequestError:
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=RETRY_AFTER)
