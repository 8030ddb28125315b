"""Ends the calls whose callers have gone.

Watching a connection costs a task, and nearly all calls are over before anybody could have left. So a sweep
looks now and then, and only calls that have been waiting for a while are watched.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

PATIENCE = 0.05
"""Seconds that a call waits before its connection is watched."""


class Connection(Protocol):
    """The caller's end, as granian has it."""

    async def client_disconnect(self) -> None:
        """Return once the caller has gone."""


@dataclass(slots=True)
class _Watch:
    watcher: asyncio.Task[None]
    gone: bool = False


class Sweeper:
    """Cancels the tasks of requests whose connection closed.

    Args:
        patience: seconds that a request waits before its connection is watched.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._young: dict[asyncio.Task[object], tuple[Connection, float]] = {}
        self._watched: dict[asyncio.Task[object], _Watch] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, task: asyncio.Task[object], connection: Connection, now: float) -> None:
        """Look after the request that a task answers, from now (CLOCK_MONOTONIC) on."""
        self._young[task] = (connection, now)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._patience, self._sweep)

    def leave(self, task: asyncio.Task[object]) -> bool:
        """The task's request is over; whether it was cancelled because its caller went away."""
        if self._young.pop(task, None) is not None:
            return False
        watch = self._watched.pop(task, None)
        if watch is None:
            return False
        watch.watcher.cancel()
        return watch.gone

    def stop(self) -> None:
        """Cut off who still waits, and watch nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for watch in self._watched.values():
            watch.watcher.cancel()
        for task in (*self._young, *self._watched):
            task.cancel()

    def _sweep(self) -> None:
        oldest = time.monotonic() - self._patience
        waiting = [(task, seat[0]) for task, seat in self._young.items() if seat[1] <= oldest]
        for task, connection in waiting:
            del self._young[task]
            self._watched[task] = _Watch(asyncio.create_task(self._watch(task, connection)))
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._patience, self._sweep) if self._young else None

    async def _watch(self, task: asyncio.Task[object], connection: Connection) -> None:
        await connection.client_disconnect()
        watch = self._watched.get(task)
        if watch is not None:
            watch.gone = True
            task.cancel()
