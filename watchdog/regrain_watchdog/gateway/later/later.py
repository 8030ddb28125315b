"""Runs calls later: as many at once as may be, functions in turn, again where that helps, results called back."""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TypeVar

from msgspec import structs

from regrain.errors import RegrainError, RequestError
from regrain_watchdog.front.upstream.client import UpstreamError
from regrain_watchdog.gateway.database import StoreError
from regrain_watchdog.gateway.later import callback
from regrain_watchdog.gateway.later.call import Call, Result
from regrain_watchdog.gateway.later.commits import Commits
from regrain_watchdog.gateway.later.course import AGAIN, Course, retry_after
from regrain_watchdog.gateway.later.line import Line
from regrain_watchdog.gateway.later.table import NONE, Place, Table, Taken

logger = logging.getLogger(__name__)

LOOK = 30.0
"""Seconds after which the table is looked at where nobody has said that it has changed, and what is old is removed."""
UNKEPT = 1.0
"""Seconds after which a write is tried again that the disk did not take."""
Invoke = Callable[[Call], Awaitable[Result]]
"""Has a function answer a call. RequestError is an answer; OSError and any other RegrainError stand for none."""
Tell = Callable[[Call, Result], Awaitable[int]]
"""Tells a result and returns the status of the answer; OSError or UpstreamError where there was none."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What calls may take.

    body, result: bytes of a request's and of an answer's body. seconds: of one run. each, total: calls under way of one
    function (or called back to one host), and together.
    """

    body: int = 1 << 20
    result: int = 16 << 20
    seconds: float = 600.0
    each: int = 8
    total: int = 64


class Later:
    """The calls of a gateway. One process runs them.

    Args:
        table: where they are kept.
        invoke: has a function answer.
        rng: of the pauses between tries.
        tell: tells results.
        limits: of what they may take.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        table: Table,
        invoke: Invoke,
        rng: random.Random,
        *,
        tell: Tell = callback.post,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._commits = Commits(table.database)
        self._invoke = invoke
        self._tell = tell
        self._limits = limits or Limits()
        self._rng = rng
        self._clock = clock
        self._line = Line(self._limits.each, self._limits.total)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._looked = -LOOK

    async def accept(self, call: Call) -> None:
        """Keep a call; once this returns, it is run whatever ends meanwhile.

        Raises:
            RequestError: 413 for a body that is too large, 503 where too much waits, 507 where it cannot be kept.
        """
        if len(call.body) > self._limits.body:
            most = self._limits.body
            detail = f"the body of a call that is run later has up to {most} bytes, this one {len(call.body)}"
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        place = await self._asked(lambda db: self._table.add(db, call, self._clock()))
        self._add(place)

    async def cancel(self, call_id: str, of: tuple[str, str] = ("", "")) -> int:
        """Cancel the calls of an id that are open, of a namespace and a function or of any; return how many were.

        RequestError 507 if that cannot be kept.
        """
        found = await self._asked(lambda db: self._table.cancel(db, call_id, self._clock(), of))
        self.changed()
        return found

    async def drain(self, timeout: float) -> None:
        """Begin no more, and give what is under way so many seconds to end."""
        self._line.close()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=timeout)

    def changed(self) -> None:
        """Have the table looked at now."""
        self._looked = -LOOK
        self._wake.set()

    async def keep(self) -> None:
        """Run calls as they are due, those that a front before this one has left first; until cancelled.

        What is under way then is cut off, and is run again by the next front.
        """
        try:
            await self._kept(self._table.recover)
            while True:
                self._wake.clear()
                if time.monotonic() - self._looked >= LOOK:
                    await self._look()
                while (number := self._line.take(self._clock())) is not None:
                    self._tasks[number] = asyncio.create_task(self._carried(number))
                await self._rest()
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._commits.close()

    async def _rest(self) -> None:
        """Wait for something to do."""
        due = self._line.next()
        wait = self._looked + LOOK - time.monotonic()
        if due is not None:
            wait = min(wait, due - self._clock())
        try:
            async with asyncio.timeout(max(0.0, wait)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _look(self) -> None:
        """Follow what others have changed, and remove what is old."""
        self._looked = time.monotonic()
        numbers = list(self._tasks)

        def step(db: sqlite3.Connection) -> tuple[list[Place], list[int]]:
            self._table.purge(db, self._clock())
            return self._table.places(db), self._table.unwanted(db, numbers)

        try:
            places, unwanted = await self._commits.write(step)
        except StoreError as error:
            logger.error("the calls that wait cannot be read: %s", error)
            return
        for place in places:
            self._line.add(place.number, place.key, place.at)
        for number in unwanted:
            if number in self._tasks:
                self._tasks[number].cancel()

    async def _carried(self, number: int) -> None:
        """Do what is next of a call, and have it wait for what comes after that."""
        place = None
        try:
            place = await self._carry(number)
        finally:
            del self._tasks[number]
            self._line.end(number)
            if place is not None:
                self._add(place)
            self._wake.set()

    async def _carry(self, number: int) -> Place | None:
        taken = await self._kept(lambda db: self._table.take(db, number, self._clock()))
        if taken is None:
            return None
        if taken.course.state not in ("running", "telling"):  # it was lost too often
            return taken.place
        result = None
        try:
            if taken.course.state == "running":
                after, result = await self._run(taken.call, taken.course)
            else:
                after = await self._told(taken)
        except Exception as error:  # a fault of ours, which a call must not stay under way for
            logger.exception("call %s of %s", taken.call.id, taken.call.function)
            after = self._failed(taken, f"the gateway failed at this: {type(error).__name__}")
        if after.state == "dead":
            logger.warning("call %s of %s is dead: %s", taken.call.id, taken.call.function, after.detail)
        return await self._kept(lambda db: self._table.advance(db, number, taken.course, after, result))

    def _failed(self, taken: Taken, detail: str) -> Course:
        """Return how far a call is that gave no answer, or whose result could not be told."""
        now = self._clock()
        if taken.course.state == "telling":
            return taken.course.told(0, now, self._rng, detail=detail)
        return taken.course.answered(0, now, self._rng, owes=bool(taken.call.callback), detail=detail)

    async def _run(self, call: Call, course: Course) -> tuple[Course, Result | None]:
        """Have the function answer; return how far the call is then, and what its caller is to be told."""
        began = time.monotonic()
        result, detail = await self._answer(call)
        now = self._clock()
        after = course.answered(
            result.status,
            now,
            self._rng,
            owes=bool(call.callback),
            asked=retry_after(result.header("retry-after"), now),
            detail=detail,
        )
        if after.state != "owed":
            return after, None
        if len(result.body) > self._limits.result:
            detail = f"the answer has {len(result.body)} bytes, of {self._limits.result} that are called back"
            return replace(after, detail=detail), Result(status=HTTPStatus.BAD_GATEWAY)
        return after, structs.replace(result, seconds=time.monotonic() - began)

    async def _answer(self, call: Call) -> tuple[Result, str]:
        """Return what the function answers, and what was wrong with that."""
        try:
            async with asyncio.timeout(self._limits.seconds):
                result = await self._invoke(call)
        except RequestError as error:
            headers = [(name.lower(), text) for name, text in error.headers.items()]
            return Result(status=error.status, headers=headers), error.detail
        except TimeoutError:
            return NONE, f"there was no answer within {self._limits.seconds:g} s"
        except (OSError, RegrainError) as error:
            return NONE, str(error) or type(error).__name__
        return result, f"it answered {result.status}" if result.status in AGAIN else ""

    async def _told(self, taken: Taken) -> Course:
        """Tell a result, and return how far the call is then."""
        status, detail = 0, ""
        try:
            status = await self._tell(taken.call, taken.result)
        except (OSError, UpstreamError, ValueError) as error:
            detail = str(error) or type(error).__name__
        after = taken.course.told(status, self._clock(), self._rng, detail=detail)
        if after.state != "owed" and after.detail:
            logger.warning("call %s of %s: %s", taken.call.id, taken.call.function, after.detail)
        return after

    async def _asked(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Write what somebody asks for, who is told where that cannot be."""
        try:
            return await self._commits.write(step)
        except StoreError as error:
            raise RequestError(HTTPStatus.INSUFFICIENT_STORAGE, f"this could not be kept: {error}") from error

    async def _kept(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Write until the disk takes it."""
        while True:
            try:
                return await self._commits.write(step)
            except StoreError as error:
                logger.error("a call's state cannot be kept yet: %s", error)
                await asyncio.sleep(UNKEPT)

    def _add(self, place: Place) -> None:
        self._line.add(place.number, place.key, place.at)
        self._wake.set()
