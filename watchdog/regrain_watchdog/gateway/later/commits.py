"""Steps of many tasks in one transaction: while one is written to the disk, the next gathers."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from regrain.errors import RequestError
from regrain_watchdog.gateway.database import Database, StoreError

Step = Callable[[sqlite3.Connection], Any]
T = TypeVar("T")


class Commits:
    """Writes to a database from an event loop, in a thread of its own.

    Args:
        database: what is written to.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, "commits")
        self._gathered: list[tuple[Step, asyncio.Future[Any]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    async def write(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Carry out a step and return what it returns, once that is on the disk.

        Raises:
            StoreError: it could not be written; nothing of it has changed.
            RequestError: the step's own. It raises before it writes, so that the others of its transaction stay whole.
        """
        if self._closed:
            raise StoreError("the gateway ends")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._gathered.append((step, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await done

    async def close(self) -> None:
        """Wait for what is being written, and take no more."""
        self._closed = True
        if self._writing is not None:
            await self._writing
        self._thread.shutdown()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._gathered:
            gathered, self._gathered = self._gathered, []
            steps = [step for step, _ in gathered]
            results = await loop.run_in_executor(self._thread, self._written, steps)
            for (_, done), result in zip(gathered, results, strict=True):
                if done.done():  # who waited for it has gone
                    continue
                if isinstance(result, Exception):
                    done.set_exception(result)
                else:
                    done.set_result(result)
        self._writing = None

    def _written(self, steps: Sequence[Step]) -> list[Any]:
        """Carry out steps in one transaction; where one raises what is not its caller's fault, nothing is written."""
        try:
            with self._database.writing() as db:
                return [_result(step, db) for step in steps]
        except StoreError as error:
            return [error] * len(steps)
        except Exception as error:  # a fault of ours, which whoever waits must not wait for
            return [StoreError(f"{type(error).__name__}: {error}")] * len(steps)


def _result(step: Step, db: sqlite3.Connection) -> object:
    try:
        return step(db)
    except RequestError as error:
        return error
