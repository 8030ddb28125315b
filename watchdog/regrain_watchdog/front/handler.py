"""What a port hands to whoever answers its requests; RSGI's shape, with what we use of it.

Handlers and what wraps them (keys, access log) speak these types alone and know no server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol, runtime_checkable

from regrain_watchdog.front.http1.limits import Limits

Fields = list[tuple[str, str]]
"""A response's headers: names in lower case, and none that belongs to framing but `connection: close`."""


class CallerGoneError(ConnectionError):
    """The caller's connection broke off, or closed."""


class Scope(Protocol):
    """A request's head."""

    @property
    def method(self) -> str:
        """In upper case."""

    @property
    def path(self) -> str:
        """The target's path, percent-decoded."""

    @property
    def query_string(self) -> str:
        """What followed "?", as it came; "" without."""

    @property
    def headers(self) -> dict[str, str]:
        """By name in lower case; one that came several times is joined by commas."""


class Stream(Protocol):
    """A response that is sent bit by bit."""

    async def send_bytes(self, data: bytes) -> None:
        """Send a piece once there is room for it; CallerGoneError where nobody takes it any more."""


class Exchange(Protocol):
    """A request's body, and the one response to it."""

    def arrived(self) -> bytes | None:
        """Take the body if all of it is here; None otherwise."""

    async def __call__(self) -> bytes:
        """Return the whole body, however large; CallerGoneError if it breaks off."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's pieces as they come; CallerGoneError if it breaks off."""

    def response_empty(self, status: int, headers: Fields, length: int = 0) -> None:
        """Answer without a body; to HEAD, `length` is of the one that GET would have had."""

    def response_str(self, status: int, headers: Fields, body: str) -> None:
        """Answer with text."""

    def response_bytes(self, status: int, headers: Fields, body: bytes) -> None:
        """Answer with bytes. ValueError for headers that could not be sent as what they are."""

    def response_stream(self, status: int, headers: Fields) -> Stream:
        """Answer bit by bit, until the handler returns. ValueError as for `response_bytes`."""


class Tended(Protocol):
    """A connection as its port looks after it, whatever it speaks.

    Attributes:
        deadline: loop time at which the port calls `expire`.
    """

    transport: asyncio.Transport
    deadline: float

    @property
    def is_idle(self) -> bool:
        """Whether it was kept open after an answer that was taken, and nothing of another request has come."""

    def expire(self, now: float) -> None:
        """The deadline has passed."""

    def stop(self) -> None:
        """Close after the answer on its way; if there is none, after a moment for a request on its way."""

    def make_room(self) -> None:
        """Close, since others wait to be accepted and this one idles."""


class Keeper(Protocol):
    """A port, as its connections know it."""

    limits: Limits
    loop: asyncio.AbstractEventLoop

    def lost(self, connection: Tended) -> None:
        """A connection has gone."""


class Successor(Tended, Protocol):
    """What speaks another protocol over a connection that was HTTP's: one of asyncio's, for its port to look after."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take the transport, whose `connection_lost` this is told of."""


@runtime_checkable
class Switching(Exchange, Protocol):
    """An exchange whose connection may go on in another protocol."""

    def switch(self, protocol: str, headers: Fields, make: Callable[[Keeper], Successor]) -> bool:
        """Answer 101 and leave the connection to what is made; False, and nothing is done, where it is to close.

        Nothing that came behind the request is handed on: its sender waits for the answer.
        """


class Handler(Protocol):
    """Answers requests. Its task is cancelled when the caller goes."""

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""


@runtime_checkable
class Prompt(Handler, Protocol):
    """A handler that answers some requests without a task of their own."""

    def at_once(self, scope: Scope, proto: Exchange, ended: Callable[[], None]) -> Callable[[], None] | None:
        """Begin with a request whose body is all here; None, and nothing of it taken, where it needs a task.

        Args:
            scope: its head.
            proto: its body, and its response.
            ended: is called once it has been answered, in a later turn of the loop.

        Returns:
            What gives it up when its caller has gone; `ended` is not called then.
        """

    def patience(self, scope: Scope) -> float:
        """Return the seconds that the body of a request may take until it is here; 0.0 where it needs a task.

        It is waited for without one, in memory, and the request is begun with then.
        """
