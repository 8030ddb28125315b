"""Streams of requests: several run at once, and answers leave in the order in which their requests came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from http import HTTPStatus

from regrain.errors import RequestError
from regrain_watchdog.front.grpc.entry import Context
from regrain_watchdog.front.grpc.silence import Silence
from regrain_watchdog.front.grpc.status import code, trailers
from regrain_watchdog.front.http1.limits import Limits

IN_FLIGHT = 64
"""Requests of one stream that run at once; further ones stay in gRPC's window."""
Answer = bytes | AsyncGenerator[bytes, None]
"""One message, or as many as come; those run once it is their turn."""
Run = Callable[[bytes], Coroutine[object, object, Answer]]


class Streams:
    """Keeps the streams of a server, so that they can be asked to end.

    Args:
        stall: seconds in which a caller must take an answer; a stream is ended whose caller does not.
        silence: bounds the time in which a caller must ask something while nothing of its stream runs; likewise.
    """

    def __init__(self, *, stall: float = Limits().write_timeout, silence: Silence) -> None:
        self._stall = stall
        self._silence = silence
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
        # not by the reader itself, which may be cancelled before its first step
        reader.add_done_callback(lambda _: running.put_nowait(None))
        self._readers.add(reader)
        if self._draining:
            reader.cancel()
        silent: RequestError | None = None
        try:
            with self._silence.stream():
                await self._write(context, running, slots)
        except RequestError as error:
            silent = error
        finally:
            self._readers.discard(reader)
            reader.cancel()
            while not running.empty():
                task = running.get_nowait()
                if task is not None:
                    task.cancel()
        if silent is not None:
            await context.abort(code(silent.status), silent.detail, trailers(silent))

    async def _read(
        self,
        requests: AsyncIterator[bytes],
        run: Run,
        running: asyncio.Queue[asyncio.Task[Answer] | None],
        slots: asyncio.Semaphore,
    ) -> None:
        await slots.acquire()
        async for data in requests:
            running.put_nowait(asyncio.create_task(run(data)))
            await slots.acquire()

    async def _write(
        self,
        context: Context,
        running: asyncio.Queue[asyncio.Task[Answer] | None],
        slots: asyncio.Semaphore,
    ) -> None:
        while (task := await self._next(running)) is not None:
            try:
                answer = await task
                if isinstance(answer, bytes):
                    await send(context, answer, self._stall)
                    continue
                async with aclosing(answer) as messages:
                    async for message in messages:
                        await send(context, message, self._stall)
            finally:
                task.cancel()
                slots.release()

    async def _next(self, running: asyncio.Queue[asyncio.Task[Answer] | None]) -> asyncio.Task[Answer] | None:
        """Return what is answered next, None behind the last; RequestError (408) if nothing is asked for too long."""
        while running.empty():
            try:
                async with asyncio.timeout(self._silence.seconds):
                    return await running.get()
            except TimeoutError:
                self._silence.check()
        return running.get_nowait()


async def send(context: Context, message: bytes, seconds: float) -> None:
    """Send a message; RequestError (408) if its caller does not take it in time: it would hold a replica for ever."""
    try:
        async with asyncio.timeout(seconds):
            await context.write(message)
    except TimeoutError:
        detail = f"the caller took no answer for {seconds:g} s"
        raise RequestError(HTTPStatus.REQUEST_TIMEOUT, detail) from None
