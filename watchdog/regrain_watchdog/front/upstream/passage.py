"""A request's way to the upstream and its answer's way back, over one connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from regrain.errors import RequestError
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.upstream import heads
from regrain_watchdog.front.upstream.client import Answer, Connection, Pool
from regrain_watchdog.front.upstream.exchange import Exchange

T = TypeVar("T")
GROUP = "upstream"
"""What the upstream is called where apps have groups and stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """What is sent to the upstream: the head, and the body as far as it was read; `whole` if that is all."""

    head: bytes
    first: bytes
    whole: bool


class Passage:
    """A request's way there and its answer's way back, over one connection.

    Args:
        exchange: the request.
        connection: to the upstream.
        config: limits and timeouts.
    """

    def __init__(self, exchange: Exchange, connection: Connection, config: Config) -> None:
        self._exchange = exchange
        self._connection = connection
        self._config = config
        self._answer: Answer | None = None
        self._pump: asyncio.Task[None] | None = None
        self._complete = False

    async def there(self, outgoing: Outgoing) -> None:
        """Send the request and wait for the head of its answer.

        Raises:
            UpstreamError: there is none.
            RequestError: the caller's body was too large, too slow or broke off.
        """
        request = self._exchange.request
        headless = request.method == "HEAD"
        first = outgoing.first
        if outgoing.whole:
            self._answer = await self._connection.ask(outgoing.head + first, headless=headless)
            return
        chunked = request.length is None
        start = heads.chunk(first) if chunked and first else first
        coming = self._connection.ask(outgoing.head + start, headless=headless)
        self._pump = asyncio.create_task(self._send(len(first), chunked))
        both: tuple[asyncio.Future[Answer] | asyncio.Task[None], ...] = (coming, self._pump)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not coming.done():
            self._pump.result()  # raises where the caller's body broke off
        self._answer = await coming

    async def _send(self, sent: int, chunked: bool) -> None:
        """Send the rest of the body as it comes."""
        limit = self._config.max_body
        try:
            async with asyncio.timeout(self._config.body_timeout):
                while data := await self._exchange.read():
                    sent += len(data)
                    if sent > limit:
                        raise too_large(limit)
                    await self._connection.send(heads.chunk(data) if chunked else data)
        except TimeoutError as error:
            raise too_slow(self._config.body_timeout) from error
        except ConnectionResetError:
            return  # one end has gone: the answer, or who waits for it, says so
        if chunked:
            self._connection.transport.write(heads.END)

    async def back(self, call: Call, stall: float) -> int:
        """Send the answer on; return its status. `stall`: seconds for each further piece, 0.0: no limit."""
        answer, exchange = self._answer, self._exchange
        if answer is None:
            raise RuntimeError("an answer is sent back once it is there")
        if not exchange.request.body.ended:
            exchange.keeps = False  # it answers before it has read all
        whole = answer.body.take() if answer.body.ended else None
        seconds = time.monotonic() - call.arrived
        length = len(whole) if whole is not None else None
        head, chunked = heads.answer_head(answer, exchange, call.id.encode(), seconds, length)
        exchange.sent = length or 0
        if whole is not None:
            exchange.write(head + whole)
        else:
            await self._stream(head, answer, chunked, stall or None)
        self._complete = True
        return answer.status

    async def _stream(self, head: bytes, answer: Answer, chunked: bool, stall: float | None) -> None:
        """Send head and body on. A body of a length goes with its head, as it is there in a moment."""
        exchange = self._exchange
        if not answer.has_length:
            exchange.write(head)
            head = b""
        try:
            while data := await _within(stall, answer.body.read()):
                exchange.write(heads.chunk(data) if chunked else head + data)
                head = b""
                exchange.sent += len(data)
                if exchange.is_full:
                    await _within(self._config.body_timeout, exchange.drain())
        except TimeoutError as error:
            detail = "the upstream or the caller stalled in the middle of the answer"
            raise RequestError(HTTPStatus.GATEWAY_TIMEOUT, detail, stage=GROUP) from error
        if chunked or head:
            exchange.write(heads.END if chunked else head)

    def close(self, pool: Pool[Connection]) -> None:
        """Let go of the connection: back to the pool if it is clean."""
        pump = self._pump
        if pump is not None and not pump.done():
            pump.cancel()
            self._complete = False
        elif pump is not None and not pump.cancelled() and pump.exception() is not None:
            self._complete = False
        if self._complete:
            pool.give(self._connection)
        else:
            self._connection.close()


async def _within(seconds: float | None, work: Awaitable[T]) -> T:
    async with asyncio.timeout(seconds):
        return await work


def too_large(limit: int) -> RequestError:
    """The error for a body over the limit."""
    return RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {limit} bytes (REGRAIN_MAX_BODY)"
    )


def too_slow(timeout: float) -> RequestError:
    """The error for a body that took too long."""
    return RequestError(
        HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive within {timeout:g} s (REGRAIN_BODY_TIMEOUT)"
    )
