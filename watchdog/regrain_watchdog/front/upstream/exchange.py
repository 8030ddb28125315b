"""A request to an upstream as its caller sent it, and the way its answer goes back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from regrain_watchdog.front.upstream.client import Fields
from regrain_watchdog.front.upstream.flow import Inflow, Outflow

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Protocol):
    """What an exchange needs of its caller's connection. stopping: whether it closes after the answer on its way."""

    transport: asyncio.Transport
    out: Outflow
    stopping: bool


@dataclass(slots=True)
class Request:
    """A request's head, and its body as it comes. `length` is None for a chunked body."""

    method: str
    target: bytes
    fields: Fields
    body: Inflow
    length: int | None
    is_old: bool
    """Whether it is HTTP/1.0: its sender knows no chunks."""
    expects: bool
    """Whether its sender waits to be told to send the body."""

    def field(self, name: bytes) -> str:
        """A field's value by its lower-case name, "" without one."""
        return next((value.decode("latin-1") for key, value in self.fields if key.lower() == name), "")


class Exchange:
    """One request and its answer.

    Attributes:
        begun: whether some of the answer was sent.
        keeps: whether the connection may stay open after it.
        sent: bytes of the answer's body.
    """

    def __init__(self, request: Request, connection: Connection, *, keeps: bool) -> None:
        self.request = request
        self.begun = False
        self.sent = 0
        self.keeps = keeps
        self._connection = connection

    async def read(self) -> bytes:
        """Return the next piece of the body; b"" at its end."""
        if self.request.expects:
            self.request.expects = False
            if not self.begun:
                self._connection.transport.write(CONTINUE)
        return await self.request.body.read()

    def write(self, data: bytes) -> None:
        """Send bytes of the answer, head and framing included."""
        self.begun = True
        self._connection.transport.write(data)

    async def drain(self) -> None:
        """Wait until the caller takes more."""
        await self._connection.out.drain()

    @property
    def is_full(self) -> bool:
        """Whether the caller takes less than it is sent."""
        return self._connection.out.is_full

    def abort(self) -> None:
        """Break the answer off, so that nobody takes it for complete."""
        self.keeps = False
        self._connection.transport.abort()

    @property
    def stays(self) -> bool:
        """Whether the connection stays open after this answer, as its head must say."""
        return self.keeps and not self._connection.stopping

    def respond(self, status: int, fields: list[tuple[str, str]], content: bytes) -> None:
        """Send a whole answer of our own."""
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            *(f"{name}: {text}" for name, text in fields),
        ]
        if not self.request.body.taken:
            self.keeps = False  # the rest of the body would be read as the next request
        if not self.stays:
            lines.append("connection: close")
        elif self.request.is_old:
            lines.append("connection: keep-alive")
        lines.append(f"content-length: {len(content)}")
        self.sent = len(content)
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.write(head if self.request.method == "HEAD" else head + content)
