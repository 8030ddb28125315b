"""The process in which an app's stages are timed, as whoever asks it sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from typing import TypeVar

from regrain.errors import RegrainError
from regrain.leavings import LOOK, Leavings
from regrain.wire import measuring
from regrain_watchdog.front.zygote import FORKABLE, SINGLE_THREADED
from regrain_watchdog.spawned import PIPE, Spawned, spawn

A = TypeVar("A", bound=measuring.Answer)
START = 120.0
"""Seconds that importing a module may take."""
LOAD = 600.0
"""Seconds that anything else may take beyond what it was given."""
END = 5.0
LINE = 1 << 24
"""Bytes of an answer at most."""
LAST_WORDS = 5


class RefusedError(RegrainError):
    """The process says why it cannot do what it was asked."""


class BenchError(RegrainError):
    """The process does not answer any more."""


class Bench:
    """A process that measures a module. Use as `async with Bench(module) as bench`.

    Attributes:
        ready: its first word.
    """

    ready: measuring.Ready

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: Spawned | None = None
        self._said: deque[str] = deque(maxlen=LAST_WORDS)
        self._doing = ""
        self._listening: asyncio.Task[None] | None = None
        self._burying: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Bench:
        """Start it; BenchError if it ends at once."""
        self._process = await spawn(
            *(sys.executable, "-m", "regrain_runtime", "measure", self._module),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={**dict.fromkeys(SINGLE_THREADED, "1"), **FORKABLE, **os.environ},
            limit=LINE,
            start_new_session=True,
        )
        self._listening = asyncio.create_task(self._listen(self._process))
        self._burying = asyncio.create_task(self._bury(self._process))
        try:
            self.ready = await self._answer(measuring.Ready, START)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def ask(self, ask: measuring.Ask, kind: type[A], *, within: float = 0.0) -> A:
        """Ask, and return the answer of this kind.

        Raises:
            RefusedError: it says why it cannot be done.
            BenchError: it has ended, or says nothing LOAD seconds after `within`.
        """
        process = self._process
        if process is None or process.stdin is None:
            raise BenchError("the process that measures was not started")
        with contextlib.suppress(ConnectionError):  # the answer that does not come says more
            process.stdin.write(measuring.encode(ask))
            await process.stdin.drain()
        return await self._answer(kind, within + LOAD)

    async def _answer(self, kind: type[A], within: float) -> A:
        process = self._process
        if process is None or process.stdout is None:
            raise BenchError("the process that measures was not started")
        self._doing = ""
        try:
            async with asyncio.timeout(within):
                answer = await self._line(process.stdout)
        except TimeoutError as error:
            raise BenchError(f"{self._who} said nothing for {within:g} s") from error
        if answer is None:
            if self._listening is not None:
                await asyncio.wait({self._listening}, timeout=END)
            last = next((line for line in reversed(self._said) if line), "it said nothing")
            raise BenchError(f"{self._who} ended: {last.removeprefix('regrain: ')}")
        if isinstance(answer, measuring.Refused):
            raise RefusedError(answer.detail)
        if not isinstance(answer, kind):
            raise BenchError(
                f"the process that measures answered {type(answer).__name__}, not {kind.__name__}"
            )
        return answer

    async def _line(self, answers: asyncio.StreamReader) -> measuring.Answer | None:
        """Return the next answer, None at the end; which stages are run for it is taken down."""
        while line := await answers.readline():
            answer = measuring.answer(line)
            if not isinstance(answer, measuring.Doing):
                return answer
            self._doing = answer.stage
        return None

    @property
    def _who(self) -> str:
        who = f"the process that measures {self._module}"
        return f"stage {self._doing}: {who}" if self._doing else who

    async def _listen(self, process: Spawned) -> None:
        """Keep the last lines that it and its stages print."""
        while process.stderr is not None and (line := await process.stderr.readline()):
            self._said.append(line.decode(errors="replace").rstrip())

    async def _bury(self, process: Spawned) -> None:
        """Wait until it has ended, and end what it has left behind, by which its answers would have no end."""
        await process.wait()
        leavings = Leavings()
        leavings.end(process.pid, time.monotonic())
        while leavings.look(time.monotonic()):
            await asyncio.sleep(LOOK)

    async def _end(self) -> None:
        """Let it end, or end it with whatever it has started."""
        process, burying = self._process, self._burying
        if process is None or burying is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(asyncio.shield(burying), END)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await burying
        await process.end()
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening
