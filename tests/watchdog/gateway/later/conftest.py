"""Calls, a table of them, and what runs them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from regrain_watchdog.gateway.later.call import Call, Record, Result
from regrain_watchdog.gateway.later.later import Later, Limits
from regrain_watchdog.gateway.later.table import Table

Make = Callable[..., Call]
Function = Callable[[Call], Awaitable[Result]]
Tell = Callable[[Call, Result], Awaitable[int]]
PATIENCE = 60.0


class Gateway:
    """Runs calls of a table with a function of the test's, on a clock that the test moves."""

    def __init__(self, table: Table, function: Function, tell: Tell | None = None, **limits: float) -> None:
        self.table = table
        self.now = 1000.0
        self.told: list[tuple[str, Result]] = []
        self.later = Later(
            table,
            function,
            random.Random(0),
            tell=tell or self.tell,
            limits=Limits(**limits),
            clock=lambda: self.now,
        )

    async def tell(self, call: Call, result: Result) -> int:
        self.told.append((call.id, result))
        return 200

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Gateway]:
        task = asyncio.create_task(self.later.keep())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.later.changed()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.002)

    async def reach(self, *states: str) -> list[Record]:
        """Wait until the calls have these states, the newest first; return them."""
        await self.until(lambda: [record.state for record in self.table.records(self.now)] == list(states))
        return self.table.records(self.now)


def answering(*statuses: int, asked: list[Call] | None = None) -> Function:
    """Return a function that answers so, the last answer for ever."""
    left = list(statuses)

    async def function(call: Call) -> Result:
        if asked is not None:
            asked.append(call)
        return Result(status=left.pop(0) if len(left) > 1 else left[0], headers=[("a", "b")], body=b"hello")

    return function


@pytest.fixture
def make() -> Make:
    def call(call_id: str = "one", **values: object) -> Call:
        return Call(
            **{
                "id": call_id,
                "namespace": "openfaas-fn",
                "function": "hello",
                "method": "POST",
                "path": "/a b",
                "query": "q=1",
                "headers": {"x-call-id": call_id, "content-type": "text/plain"},
                "body": b"hi",
                **values,
            }
        )

    return call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@pytest.fixture
def table(path: Path) -> Iterator[Table]:
    opened = Table(path)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def gateway_of() -> type[Gateway]:
    """Have a table's calls run."""
    return Gateway


@pytest.fixture(scope="session")
def answers() -> Callable[..., Function]:
    """A function that answers with these statuses, the last one for ever."""
    return answering
