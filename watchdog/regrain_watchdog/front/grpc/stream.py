"""Streams of requests: several run at once, and answers leave in the order in which their requests came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing

from regrain_watchdog.front.grpc.entry import Context

IN_FLIGHT = 64
"""Requests of one stream that run at once; further ones stay in gRPC's window."""
Answer = bytes | AsyncGenerator[bytes, None]
"""One message, or as many as come; those run once it is their turn."""
Run = Callable[[bytes], Coroutine[object, object, Answer]]


class Streams:
    """Keeps the streams of a server, so that they can be asked to end."""

    def __init__(self) -> None:
        self._readers: set[asyncio.Task[None]] = set()
        self._draining = False

    def drain(self) -> None:
        """Read no further request of any stream; they end when what was read is answered."""
        self._draining = True
        for reader in self._readers:
            reader.cancel()

    async def serve(self, requests: AsyncIterator[bytes], context: Context, run: Run) -> None:
        """Answer every request of a stream by `run`."""
        running: asyncio.Queue[asyncio.Task[Answer] | None] = asyncio.Queue()
        slots = asyncio.Semaphore(IN_FLIGHT)
        reader = asyncio.create_task(self._read(requests, run, running, slots))
        self._readers.add(reader)
        if self._draining:
            reader.cancel()
        try:
            await _write(context.write, running, slots)
        finally:
            self._readers.discard(reader)
            reader.cancel()
            while not running.empty():
                task = running.get_nowait()
                if task is not None:
                    task.cancel()

    async def _read(
        self,
        requests: AsyncIterator[bytes],
        run: Run,
        running: asyncio.Queue[asyncio.Task[Answer] | None],
        slots: asyncio.Semaphore,
    ) -> None:
        try:
            await slots.acquire()
            async for data in requests:
                running.put_nowait(asyncio.create_task(run(data)))
                await slots.acquire()
        finally:
            running.put_nowait(None)


async def _write(
    write: Callable[[bytes], Awaitable[None]],
    running: asyncio.Queue[asyncio.Task[Answer] | None],
    slots: asyncio.Semaphore,
) -> None:
    while (task := await running.get()) is not None:
        try:
            answer = await task
            if isinstance(answer, bytes):
                await write(answer)
                continue
            async with aclosing(answer) as messages:
                async for message in messages:
                    await write(message)
        finally:
            task.cancel()
            slots.release()
