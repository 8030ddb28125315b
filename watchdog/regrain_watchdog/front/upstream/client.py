"""Connections to the upstream: HTTP/1.1, kept alive, one request at a time on each.

The client is our own because it is on the path of every request: the maintained ones cost four to forty times
its CPU (docs/decisions/0007-upstreams-pass-as-bytes.md), and none hands on head and body as the bytes that came.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

import httptools

from regrain_watchdog.front.http1.limits import FRAMING
from regrain_watchdog.front.upstream.flow import Inflow, Outflow

Fields = list[tuple[bytes, bytes]]

IDLE = 1.0
"""Seconds after which an idle connection is not used again: less than the two that gunicorn keeps one, so that
a request rarely meets a connection which is just being closed."""
CONNECT_TIMEOUT = 5.0
MAX_HEAD = 1 << 18
"""Bytes that an answer's head may have, with its body's framing beside `FRAMING` per byte of it."""
INFORMATIONAL = 200
SWITCHING = 101


class UpstreamError(Exception):
    """The upstream did not answer as HTTP wants it.

    Attributes:
        unsent: the upstream cannot have seen the request.
        stale: a connection that was kept alive closed before the first byte of an answer.
    """

    def __init__(self, detail: str, *, unsent: bool = False, stale: bool = False) -> None:
        super().__init__(detail)
        self.unsent = unsent
        self.stale = stale


@dataclass(slots=True)
class Answer:
    """The head of an answer, and its body as it comes.

    has_length: its head says how long it is. until_closed: it ends with its connection alone.
    """

    status: int
    reason: bytes
    fields: Fields
    body: Inflow
    has_length: bool
    until_closed: bool


class Connection(asyncio.Protocol):
    """One connection to the upstream.

    Attributes:
        broken: a request was sent in part, and what follows on it would be taken for the rest.
    """

    def __init__(self) -> None:
        self.reused = False
        self.closed = False
        self.broken = False
        self.out = Outflow()
        self._reusable = False
        self._headless = False
        self._seen = 0
        self._reason = b""
        self._fields: Fields = []
        self._answer: Answer | None = None
        self._coming: asyncio.Future[Answer] | None = None
        self._parser = httptools.HttpResponseParser(self)

    def ask(self, *data: bytes, headless: bool) -> asyncio.Future[Answer]:
        """Send a request's head and as much of its body as there is; the future is its answer's head.

        headless: the answer has no body whatever its head says, as to HEAD.
        """
        self._headless = headless
        self._reusable = False
        self._answer = None
        self._seen = 0
        self._coming = asyncio.get_running_loop().create_future()
        if self.closed:
            self._fail("the upstream closed the connection", stale=True)
        else:
            self.transport.writelines(data)
        return self._coming

    async def send(self, data: bytes) -> None:
        """Send a further piece of a request's body once there is room for it."""
        self.transport.write(data)
        await self.out.drain()

    @property
    def reusable(self) -> bool:
        """Whether another request may go over it."""
        return self._reusable and not (self.broken or self.closed) and not self.transport.is_closing()

    def rest(self) -> None:
        """Its answer was taken: until the next request whatever comes is out of order."""
        self._coming = None

    def close(self) -> None:
        """End it, whatever is on its way."""
        self.closed = True
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of streams only
        """Take the transport."""
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is on its way, unless the end of the connection is the end of the answer."""
        self.closed = True
        self.out.lose()
        if self._answer is not None and self._answer.until_closed and exc is None:
            self._answer.body.end()
        else:
            self._fail("the upstream closed the connection before its answer was complete")

    def pause_writing(self) -> None:
        """The upstream takes the body slower than it comes."""
        self.out.pause()

    def resume_writing(self) -> None:
        """The upstream has caught up."""
        self.out.resume()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._seen += len(data)
        if self._coming is None:
            self._fail("the upstream sent what nobody asked for")
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"the upstream's answer is no HTTP: {type(error).__name__}")
            self.close()
        if self._answer is None and self._seen > MAX_HEAD:
            self._fail(f"the head of the upstream's answer has more than {MAX_HEAD} bytes")
            self.close()
        if self._answer is not None and self._seen > MAX_HEAD + (FRAMING + 1) * self._answer.body.total:
            self._fail("the chunks of the upstream's answer are framed in too many bytes")
            self.close()
        if self._headless and self._answer is not None:
            self._parser = httptools.HttpResponseParser(
                self
            )  # the old one waits for the body its head promised

    def on_message_begin(self) -> None:
        """An answer starts."""
        self._reason = b""
        self._fields = []

    def on_status(self, status: bytes) -> None:
        """Take the reason phrase."""
        self._reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; behind a body it means nothing."""
        if self._answer is None:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Hand over the head, unless it is a provisional one."""
        status = self._parser.get_status_code()
        if status == SWITCHING:
            self._fail("the upstream's answer is no HTTP any more: it switches protocols")
        if status < INFORMATIONAL:
            return
        names = {name.lower() for name, _ in self._fields}
        has_length = b"content-length" in names
        until_closed = not has_length and b"transfer-encoding" not in names
        answer = Answer(status, self._reason, self._fields, Inflow(self.transport), has_length, until_closed)
        self._answer = answer
        if self._headless:
            self._reusable = self._parser.should_keep_alive()
            answer.body.end()
        if self._coming is not None and not self._coming.done():
            self._coming.set_result(answer)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._answer is None or self._answer.body.ended:
            self._reusable = False
        else:
            self._answer.body.feed(data)

    def on_message_complete(self) -> None:
        """The answer is complete."""
        if self._answer is None or self._headless:
            return
        self._reusable = self._parser.should_keep_alive()
        self._answer.body.end()

    def _fail(self, detail: str, *, stale: bool = False) -> None:
        stale = stale or (self.reused and self._seen == 0)
        error = UpstreamError(detail, stale=stale)
        if self._answer is not None:
            self._answer.body.fail(error)
        elif self._coming is not None and not self._coming.done():
            self._coming.set_exception(error)
            self._coming.exception()  # whoever asked may have gone


class Keepable(Protocol):
    """A connection that may be used for further requests."""

    reused: bool

    @property
    def reusable(self) -> bool:
        """Whether another request may go over it."""

    def rest(self) -> None:
        """Its answer was taken: until the next request whatever comes is out of order."""

    def close(self) -> None:
        """End it, whatever is on its way."""


C = TypeVar("C", bound=Keepable)


class Kept(Generic[C]):
    """Connections that are kept for as long as they are used."""

    def __init__(self) -> None:
        self._idle: list[tuple[float, C]] = []
        self._sweeping: asyncio.TimerHandle | None = None

    def kept(self) -> C | None:
        """Return the connection that was used last of those that idle; None if none does."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, connection = self._idle.pop()
            if now - since < IDLE and connection.reusable:
                connection.reused = True
                return connection
            connection.close()
        return None

    def give(self, connection: C) -> None:
        """Take a connection back whose answer is complete and was taken."""
        if not connection.reusable:
            connection.close()
            return
        connection.rest()
        loop = asyncio.get_running_loop()
        self._idle.append((loop.time(), connection))
        if self._sweeping is None:
            self._sweeping = loop.call_later(IDLE, self._sweep)

    def close(self) -> None:
        """Close what is idle."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for _, connection in self._idle:
            connection.close()
        self._idle.clear()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - IDLE
        for since, connection in self._idle:
            if since <= oldest:
                connection.close()
        self._idle = [(since, connection) for since, connection in self._idle if since > oldest]
        self._sweeping = loop.call_later(IDLE, self._sweep) if self._idle else None


class Pool(Kept[C]):
    """Connections to one address.

    Args:
        kind: makes a connection's protocol.
        host: where the upstream listens.
        port: likewise.
    """

    def __init__(self, kind: Callable[[], C], host: str, port: int) -> None:
        super().__init__()
        self._kind = kind
        self._host = host
        self._port = port

    async def take(self, *, fresh: bool = False) -> C:
        """Return a connection, the one last used if any is idle; UpstreamError if none can be made."""
        kept = None if fresh else self.kept()
        return kept if kept is not None else await self.connect()

    async def connect(self) -> C:
        """Return a new connection; UpstreamError if the upstream does not accept one."""
        loop = asyncio.get_running_loop()
        make = cast("Callable[[], asyncio.Protocol]", self._kind)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, made = await loop.create_connection(make, self._host, self._port)
        except (OSError, TimeoutError, UnicodeError) as error:  # the last for what is no host's name
            raise UpstreamError("the upstream does not accept connections", unsent=True) from error
        return cast("C", made)


async def accepts(pool: Pool[Connection]) -> bool:
    """Whether the upstream accepts a connection now."""
    with contextlib.suppress(UpstreamError):
        (await pool.connect()).close()
        return True
    return False
