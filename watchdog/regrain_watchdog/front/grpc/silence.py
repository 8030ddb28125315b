"""How long calls may be open while their callers ask nothing.

Streams as long as they like, where there are few. What brings one message alone has as long for it as for a body over
HTTP: by itself grpc waits for it for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

import grpc

from regrain.errors import RequestError
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.grpc.status import code, sentence, trailers
from regrain_watchdog.front.http1.limits import Limits

Requests = AsyncIterator[bytes]
M = TypeVar("M")
LASTING = 4
"""One in so many of the calls at once may last while nothing is asked: so there is room for others."""


class Silence:
    """Bounds the time in which the streams of a server must ask something.

    Args:
        seconds: in which a caller must, while there are more than `spare` streams.
        spare: streams that have all the time they want.
    """

    def __init__(self, seconds: float = Limits().header_timeout, spare: int = 0) -> None:
        self.seconds = seconds
        self._spare = spare
        self._streams = 0
        self._coming: set[asyncio.Future[bytes | None]] = set()
        self._draining = False

    @classmethod
    def of(cls, config: Config) -> Silence:
        """Return what a server's settings allow."""
        return cls(config.header_timeout, config.max_connections // LASTING)

    def drain(self) -> None:
        """Have streams end that ask nothing."""
        self._draining = True
        for coming in self._coming:
            coming.cancel()

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream, which is open during the block."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def check(self) -> None:
        """RequestError (408) where streams are too many for one to ask nothing for so long."""
        if self._streams > self._spare:
            detail = f"the caller asked nothing for {self.seconds:g} s"
            raise RequestError(HTTPStatus.REQUEST_TIMEOUT, detail)

    async def until_asked(self, requests: Requests) -> bytes | None:
        """Return a stream's next request, None behind the last and once all drain.

        Raises:
            RequestError: 408: none comes, and there is no room to wait for it.
        """
        coming = asyncio.ensure_future(anext(aiter(requests), None))  # one cancelled would end the requests
        self._coming.add(coming)
        try:
            while not self._draining and not (await asyncio.wait([coming], timeout=self.seconds))[0]:
                self.check()
            return None if self._draining else coming.result()
        finally:
            self._coming.discard(coming)
            coming.cancel()


@dataclass(frozen=True, slots=True)
class Given:
    """The message of a call that brings one, read already by who hands the call on."""

    message: bytes


async def only(
    requests: Requests | Given, context: grpc.aio.ServicerContext[bytes, M], seconds: float
) -> bytes:
    """Return the message of a call that brings one; the call ends where not all of it is here within `seconds`."""
    if isinstance(requests, Given):
        return requests.message
    try:
        return await _first(context, seconds)
    except RequestError as error:
        await context.abort(code(error.status), sentence(error), trailers(error))


async def _first(context: grpc.aio.ServicerContext[bytes, M], seconds: float) -> bytes:
    """Read from the context itself: an iterator of requests that is left behind costs a task to close it."""
    try:
        async with asyncio.timeout(seconds):
            message: object = await context.read()
    except TimeoutError:
        detail = f"the message did not come within {seconds:g} s"
        raise RequestError(HTTPStatus.REQUEST_TIMEOUT, detail) from None
    if not isinstance(message, bytes):
        raise RequestError(HTTPStatus.BAD_REQUEST, "the call brought no message")
    return message
