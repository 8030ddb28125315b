"""Send requests over kept connections of HTTP/1.1, no more at once than allowed, and wait no longer than allowed."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import httptools

from regrain.errors import SpecError

IDLE = 10.0
"""Seconds that a connection is kept unused: servers close theirs sooner or later, and a request must not meet that."""
CONNECT = 5.0
"""Seconds that opening a connection may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go, as a URL says it. `path` holds the query as well."""

    host: str
    port: int
    path: str
    tls: bool

    @classmethod
    def of(cls, url: str) -> Self:
        """Read a URL; SpecError if it is no http or https one."""
        try:
            parts = urlsplit(url)
            port = parts.port
            (parts.hostname or "").encode("idna")  # as it is when an address is asked for
        except ValueError as error:
            raise SpecError(f"{url!r} is no URL: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SpecError(f"the URL must be like http://127.0.0.1:8080/, it is {url!r}")
        tls = parts.scheme == "https"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(host=parts.hostname, port=port or (443 if tls else 80), path=path, tls=tls)


class Answer(NamedTuple):
    """What came back: status and body."""

    status: int
    body: bytes


class NoConnectionError(OSError):
    """There was no connection in time."""


class ConnectionLostError(OSError):
    """The server closed a connection before it had answered."""


class Client:
    """Connections to one target.

    Args:
        target: where they go.
        connections: at once at most; who finds none free waits, first come first served.
        headers: that every request has.
    """

    def __init__(self, target: Target, *, connections: int, headers: Mapping[str, str]) -> None:
        self._target = target
        host = f"[{target.host}]" if ":" in target.host else target.host
        lines = {"Host": f"{host}:{target.port}", **headers}
        told = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._head = f"POST {target.path} HTTP/1.1\r\n{told}".encode()
        self._ssl = ssl.create_default_context() if target.tls else None
        self._free: list[_Connection] = []
        self._left = connections
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def send(self, body: bytes, content_type: str) -> Answer:
        """Send a body and return its answer, once all of that has come.

        Raises:
            OSError: there was no connection, or it was lost.
            httptools.HttpParserError: what came is no HTTP.
        """
        await self._place()
        connection: _Connection | None = None
        try:
            connection = self._kept() or await self._opened()
            lines = f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
            answer = await connection.ask(self._head + lines.encode() + body)
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        else:
            self._keep(connection)
            return answer
        finally:
            self._leave()

    def close(self) -> None:
        """Close all that is kept."""
        for connection in self._free:
            connection.close()
        self._free.clear()

    async def _place(self) -> None:
        if self._left:
            self._left -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._left += 1

    def _kept(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._free:
            connection = self._free.pop()
            if connection.is_open and now - connection.used < IDLE:
                return connection
            connection.close()
        return None

    def _keep(self, connection: _Connection) -> None:
        if connection.is_open:
            connection.used = asyncio.get_running_loop().time()
            self._free.append(connection)

    async def _opened(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT):
                _, connection = await loop.create_connection(
                    _Connection, self._target.host, self._target.port, ssl=self._ssl
                )
        except TimeoutError as error:
            raise NoConnectionError(f"no connection within {CONNECT:g} s") from error
        return connection


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, and so on."""

    def __init__(self) -> None:
        self.used = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._body: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> Answer:
        """Send a request and return its answer."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionLostError("the server closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of streams only
        """Take it into use."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits for an answer."""
        self._fail(exc or ConnectionLostError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)
            self.close()

    def on_body(self, data: bytes) -> None:
        """Keep a part of the answer."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        status = self._parser.get_status_code()
        if status < 200:  # 100 Continue and the like: the answer is still to come
            return
        if not self._parser.should_keep_alive():
            self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(status, b"".join(self._body)))
            self._body.clear()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
