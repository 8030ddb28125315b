"""The HTTP/1.1 edge of an upstream: requests come in as the bytes they are, answers go out likewise.

What serves apps decodes a request's path and joins its headers; a proxy must do neither. Limits and times are those
of apps.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import httptools

from regrain.errors import RequestError
from regrain_watchdog.front import problem
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.http1.limits import FRAMING, Limits
from regrain_watchdog.front.listen import Tls, bind
from regrain_watchdog.front.upstream.client import Fields
from regrain_watchdog.front.upstream.exchange import Exchange, Request
from regrain_watchdog.front.upstream.flow import Inflow, Outflow

MAX_HEAD = 1 << 16
"""Bytes that a request's head may have, and a body's framing beside `FRAMING` per byte of it."""
LINGER = 0.5
"""Seconds that a stopping edge gives an idle connection for a request that is on its way."""
Handler = Callable[[Exchange], Awaitable[None]]


class _Connection(asyncio.Protocol):
    """A caller's connection; httptools calls the `on_` methods as it parses."""

    def __init__(self, edge: Edge) -> None:
        self.out = Outflow()
        self.stopping = False
        self._ended = False
        self._edge = edge
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: Fields = []
        self._head = 0
        self._framing = 0
        self._in_head = True
        self._received: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._task: asyncio.Task[None] | None = None
        self._quiet_since = 0.0
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of streams only
        self.transport = transport
        self._quiet_since = self._loop.time()
        self._look_again(self._edge.header_timeout)
        self._edge.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.out.lose()
        if self._timer is not None:
            self._timer.cancel()
        if self._received is not None:
            self._received.request.body.fail(ConnectionResetError("the caller has gone"))
        if self._task is not None:
            self._task.cancel()
        self._edge.lost(self)

    def pause_writing(self) -> None:
        self.out.pause()

    def resume_writing(self) -> None:
        self.out.resume()
        if self._task is None and not self.transport.is_closing():
            self._quiet_since = self._loop.time()
            self._next()

    def stop(self) -> None:
        """Close after the answer on its way; if there is none, after a moment for a request on its way."""
        self.stopping = True
        if not self._is_busy:
            self._loop.call_later(LINGER, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if not self._is_busy:
            self._close()

    @property
    def _is_busy(self) -> bool:
        """Whether it answers, or will once its caller takes what it was sent."""
        return self._task is not None or bool(self._waiting)

    def _close(self) -> None:
        """Close once the caller has taken what it was sent, or takes nothing of it for too long."""
        if not self.transport.is_closing():
            self.transport.close()
            self._quiet_since = self._loop.time()
            self._look_again(self._edge.write_timeout)

    def _look_again(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(min(seconds, self._edge.write_timeout), self._look)

    def _look(self) -> None:
        """Close a connection that has sent no whole head for too long; cut off one that takes nothing for too long."""
        now, unsent = self._loop.time(), self.transport.get_write_buffer_size()
        if self._task is not None or unsent < self._unsent:
            self._quiet_since = now
        self._unsent = unsent
        takes = bool(unsent) or self.transport.is_closing()
        limit = self._edge.write_timeout if takes else self._edge.header_timeout
        if now - self._quiet_since < limit:
            self._look_again(self._quiet_since + limit - now)
        elif takes:
            self.transport.abort()
        else:
            if self._head:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request's head took more than {limit:g} s")
            self._close()

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        received = self._received
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._received is not None:
                self._received.keeps = False  # what follows the request is no HTTP
        except httptools.HttpParserError as error:
            self._broken(f"the request is no HTTP: {error}")
            return
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD:
                detail = f"the request's head has over {MAX_HEAD} bytes"
                self._broken(detail, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif received is not None and received is self._received:
            self._check_framing(received.request, len(data))

    def on_message_begin(self) -> None:
        self._target = b""
        self._fields = []
        self._in_head = True
        self._received = None

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field has come; behind a body it means nothing."""
        if self._in_head:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head = self._framing = 0
        known: dict[bytes, bytes] = {name.lower(): value for name, value in self._fields}
        is_old = self._parser.get_http_version() != "1.1"
        chunked = b"transfer-encoding" in known
        request = Request(
            method=self._parser.get_method().decode("latin-1"),
            target=self._target,
            fields=self._fields,
            body=Inflow(self.transport),
            length=None if chunked else int(known.get(b"content-length", b"0")),
            is_old=is_old,
            expects=b"expect" in known and not is_old,
        )
        exchange = Exchange(request, self, keeps=self._parser.should_keep_alive())
        self._received = exchange
        if not self._is_busy and not self.out.is_full:
            self._begin(exchange)
        else:
            self._waiting.append(exchange)
            self.transport.pause_reading()

    def on_body(self, data: bytes) -> None:
        if self._received is not None:
            self._received.request.body.feed(data)

    def on_message_complete(self) -> None:
        if self._received is not None:
            self._received.request.body.end()

    def _begin(self, exchange: Exchange) -> None:
        self._task = self._loop.create_task(self._serve(exchange))

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._edge.handler(exchange)
        except (ConnectionError, asyncio.CancelledError):
            exchange.abort()  # the caller has gone
        self._served(exchange)

    def _served(self, exchange: Exchange) -> None:
        self._task = None
        self._quiet_since = self._loop.time()
        if self.transport.is_closing():
            return
        if not exchange.request.body.taken:
            self._end(exchange.request.body)
        elif not exchange.stays:
            self._close()
        else:
            self._next()

    def _next(self) -> None:
        """Begin with the next request, if one waits and the caller takes what it was sent."""
        if self._waiting and not self.out.is_full:
            following = self._waiting.popleft()
            if not self._waiting and not following.request.body.is_full:
                self.transport.resume_reading()
            self._begin(following)

    def _end(self, body: Inflow) -> None:
        """Close behind an answer whose caller still sends: at once would reset the answer away with it."""
        self._ended = True
        body.drop()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._loop.call_later(LINGER, self._close)

    def _check_framing(self, request: Request, came: int) -> None:
        """Refuse a chunked body, of which so many more bytes came, that is framed in too many."""
        body = request.body
        if request.length is None and not body.ended:
            self._framing += came
            if self._framing > MAX_HEAD + (FRAMING + 1) * body.total:
                self._broken("the body's chunks are framed in too many bytes")

    def _broken(self, detail: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        """What came is no request, nor is what follows; if it broke off in a body, whoever reads it answers."""
        self._ended = True
        if self._received is not None and not self._received.request.body.ended:
            self._received.request.body.fail(RequestError(status, detail))
            self._received.keeps = False
            return
        self.stopping = True
        if not self._is_busy:
            self._refuse(status, detail)
            self._close()

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer what never became a request."""
        content = problem.problem(RequestError(status, detail), "")
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {problem.MEDIA_TYPE}\r\n"
        head += f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + content)


class Edge:
    """Listens, and hands each request to a handler.

    Args:
        handler: answers an exchange, or raises ConnectionError where its caller has gone; cancelled likewise.
        config: address, TLS, limits and times.
        write_timeout: seconds in which a caller must take something of what it was sent.
    """

    def __init__(
        self, handler: Handler, config: Config, *, write_timeout: float = Limits().write_timeout
    ) -> None:
        self.handler = handler
        self.header_timeout = config.header_timeout
        self.write_timeout = write_timeout
        self._config = config
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._bound: socket.socket | None = None
        self._context: ssl.SSLContext | None = None
        self._empty = asyncio.Event()
        self._port = config.port

    @property
    def port(self) -> int:
        """The port in use once started; before that the one asked for."""
        return self._port

    @property
    def url(self) -> str:
        """Where this process reaches it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._config.host, self._config.host)  # noqa: S104
        scheme = "https" if self._config.tls_cert else "http"
        return f"{scheme}://[{host}]:{self._port}" if ":" in host else f"{scheme}://{host}:{self._port}"

    async def start(self) -> None:
        """Accept connections from here on; SpecError if the address or the certificate cannot be had."""
        config = self._config
        self._context = Tls(config.tls_cert, config.tls_key).context() if config.tls_cert else None
        bound = bind(config.host, config.port, name="port", backlog=config.max_connections)
        self._port = bound.getsockname()[1]
        self._bound = bound.dup()  # by which those are taken in who come while the server closes its own
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), sock=bound, backlog=config.max_connections, ssl=self._context
        )

    async def stop(self, timeout: float) -> bool:
        """Stop accepting and let what is in flight finish; whether it did within `timeout` seconds."""
        if self._server is None:
            return True
        self._server.close()
        waiting = self._waiting()
        for connection in list(self._connections):
            connection.stop()
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(*map(self._greet, waiting), return_exceptions=True)
                while self._connections:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.transport.abort()
            return False
        self._server = None
        return True

    def _waiting(self) -> list[socket.socket]:
        """Return whom the kernel has let in already, and let nobody in any more: it would reset them."""
        found: list[socket.socket] = []
        if self._bound is not None:
            with self._bound, contextlib.suppress(OSError):  # BlockingIOError: that is all
                while True:
                    found.append(self._bound.accept()[0])
            self._bound = None
        return found

    async def _greet(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: _Connection(self), accepted, ssl=self._context
        )

    def opened(self, connection: _Connection) -> None:
        """A connection is there; one too many is closed at once."""
        if len(self._connections) >= self._config.max_connections:
            connection.transport.abort()
            return
        self._connections.add(connection)
        if self._server is not None and not self._server.is_serving():
            connection.stop()

    def lost(self, connection: _Connection) -> None:
        """A connection has gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
