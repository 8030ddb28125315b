"""SIGTERM and SIGINT as a server hears them: the first one drains, the second one ends everything at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Coroutine, Iterator
from typing import TypeVar

T = TypeVar("T")
ENDING = (signal.SIGTERM, signal.SIGINT)
KILLED = 1
"""Exit code after a second signal."""
SIGNALS_TO_KILL = 2
TOGETHER = 1.0
"""Seconds within which the death of our parent may be told: once for each of its threads, as prctl(2) has it."""
DYING = 0.25
"""Seconds that it may take a parent to be dead once that was told."""


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Start a process in here that is to leave these signals to us: it begins with them blocked.

    So one that reaches the whole process group does not end it before it can say that it takes none; then it lets them
    through.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Signals:
    """Counts the signals that told this process to end.

    Attributes:
        count: how many came.
    """

    def __init__(self) -> None:
        self.count = 0
        self._came = asyncio.Event()
        self._parent = os.getppid()
        self._first = 0.0

    def listen(self) -> None:
        """Take SIGTERM and SIGINT in the running loop from here on."""
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self._signal)

    async def until_first(self, work: Coroutine[object, object, T]) -> T | None:
        """Await some work; return None if a signal comes first, which cancels it."""
        task = asyncio.ensure_future(work)
        signalled = asyncio.ensure_future(self._came.wait())
        try:
            await asyncio.wait({task, signalled}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            signalled.cancel()

    async def until_second(self, work: Coroutine[object, object, None]) -> bool:
        """Await what is to be done after the first signal; False if a second one came before its end."""
        killed = asyncio.ensure_future(self._second())
        draining = asyncio.ensure_future(work)
        await asyncio.wait({killed, draining}, return_when=asyncio.FIRST_COMPLETED)
        killed.cancel()
        if not draining.done():
            draining.cancel()
            return False
        draining.result()
        return True

    async def _second(self) -> None:
        while self.count < SIGNALS_TO_KILL:
            self._came.clear()
            await self._came.wait()

    def _signal(self) -> None:
        now = time.monotonic()
        if not self.count:
            self._first = now
        elif now - self._first < TOGETHER:
            asyncio.get_running_loop().call_later(DYING, self._again)
            return
        self._count()

    def _again(self) -> None:
        """Count a signal that came soon after the first, unless the death of our parent was told once more by it."""
        if os.getppid() == self._parent:
            self._count()

    def _count(self) -> None:
        self.count += 1
        self._came.set()
