"""One request and its response, as handlers have them (`handler.Exchange`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Protocol

from regrain_watchdog.front.handler import Fields, Keeper, Successor
from regrain_watchdog.front.http1 import response
from regrain_watchdog.front.http1.body import Body
from regrain_watchdog.front.http1.head import Head
from regrain_watchdog.front.http1.limits import DRAINED
from regrain_watchdog.front.http1.response import Heads

COPIED = 1 << 16
"""Bytes of a response's body up to which it is copied behind its head, as one write costs less than two buffers."""


class Line(Protocol):
    """What an exchange needs of its connection."""

    heads: Heads
    stopping: bool
    transport: asyncio.Transport

    async def drain(self) -> None:
        """Wait until the caller takes more; CallerGoneError if it never will."""

    def leave(self, head: bytes, make: Callable[[Keeper], Successor]) -> None:
        """Send a head, and leave the connection to what is made."""


class Exchange:
    """A request, and its one response.

    Attributes:
        head, body: the request's.
        keeps: whether the connection may stay open after it.
        answered: whether there is a response, or the beginning of one.
    """

    __slots__ = ("_line", "_stream", "answered", "body", "head", "keeps")

    def __init__(self, head: Head, body: Body, line: Line, *, keeps: bool) -> None:
        self.head = head
        self.body = body
        self.keeps = keeps
        self.answered = False
        self._line = line
        self._stream: Stream | None = None

    @property
    def is_open(self) -> bool:
        """Whether a response has begun and not ended."""
        return self._stream is not None and not self._stream.ended

    @property
    def peer(self) -> str:
        """Who calls, as ADDRESS:PORT; "" where that has none, as on a Unix socket."""
        found: object = self._line.transport.get_extra_info("peername")
        if not isinstance(found, tuple):
            return ""
        host = f"[{found[0]}]" if ":" in found[0] else found[0]
        return f"{host}:{found[1]}"

    def arrived(self) -> bytes | None:
        """Take the body if all of it is here; None otherwise."""
        return self.body.arrived()

    async def __call__(self) -> bytes:
        """Return the whole body."""
        self._continue()
        return await self.body.read_all()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's pieces as they come."""
        self._continue()
        while data := await self.body.read():
            yield data

    def response_empty(self, status: int, headers: Fields, length: int = 0) -> None:
        """Answer without a body; to HEAD, `length` is of the one that GET would have had."""
        head = self._begin(status, headers, length if self.head.method == "HEAD" else 0)
        if not self._line.transport.is_closing():
            self._line.transport.write(head)

    def response_str(self, status: int, headers: Fields, body: str) -> None:
        """Answer with text."""
        self.response_bytes(status, headers, body.encode())

    def response_bytes(self, status: int, headers: Fields, body: bytes) -> None:
        """Answer with bytes."""
        if status in response.BODILESS:
            body = b""
        head = self._begin(status, headers, len(body))
        transport = self._line.transport
        if transport.is_closing():
            return
        if not body or self.head.method == "HEAD":
            transport.write(head)
        elif len(body) <= COPIED:
            transport.write(head + body)
        else:
            transport.writelines((head, body))

    def response_stream(self, status: int, headers: Fields) -> Stream:
        """Answer bit by bit."""
        old = self.head.is_old
        self.keeps = self.keeps and not old  # only its end tells the end of the body
        head = self._begin(status, headers, None)
        if not self._line.transport.is_closing():
            self._line.transport.write(head)
        self._stream = Stream(self._line, chunked=not old, silent=self.head.method == "HEAD")
        return self._stream

    def switch(self, protocol: str, headers: Fields, make: Callable[[Keeper], Successor]) -> bool:
        """Answer 101 and leave the connection to what is made, as `handler.Switching`."""
        line = self._line
        if self.answered or line.stopping or line.transport.is_closing() or self.head.length != 0:
            return False
        head = line.heads.write(HTTPStatus.SWITCHING_PROTOCOLS.value, headers, response.switching(protocol))
        line.leave(head, make)
        self.answered = True
        return True

    def end(self) -> None:
        """The handler has returned: end a stream."""
        if self._stream is not None:
            self._stream.end()

    def _continue(self) -> None:
        if self.head.expects:
            self.head.expects = False
            if not self.answered and not self.body.size and not self.body.ended:
                self._line.transport.write(response.CONTINUE)

    def _begin(self, status: int, headers: Fields, length: int | None) -> bytes:
        """Return the response's head, and decide whether the connection stays."""
        if self.answered:
            raise RuntimeError("a request has one response")
        keeps = self.keeps and not self._line.stopping and not response.closes(headers) and self._ends_soon()
        if status in response.BODILESS:
            framing = response.bare(keeps=keeps)
        else:
            framing = response.framing(length, keeps=keeps, is_old=self.head.is_old)
        head = self._line.heads.write(status, headers, framing)
        self.answered = True
        self.keeps = keeps
        return head

    def _ends_soon(self) -> bool:
        """Whether what is left of the body is worth reading for the sake of the next request."""
        if self.body.ended:
            return True
        length = self.head.length
        return length is not None and length - self.body.size <= DRAINED and not self.head.expects


class Stream:
    """A response that is sent bit by bit, in chunks or up to the connection's end."""

    __slots__ = ("_chunked", "_line", "_silent", "ended")

    def __init__(self, line: Line, *, chunked: bool, silent: bool) -> None:
        self._line = line
        self._chunked = chunked
        self._silent = silent
        self.ended = False

    async def send_bytes(self, data: bytes) -> None:
        """Send a piece once there is room for it."""
        await self._line.drain()
        if data and not self._silent:
            self._line.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        """There is no more."""
        self.ended = True
        if self._chunked and not self._silent and not self._line.transport.is_closing():
            self._line.transport.write(b"0\r\n\r\n")
