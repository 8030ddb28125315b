"""The headers that a gateway adds: to a request on its way to the function, and to the response on its way back."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from http import HTTPStatus

from regrain_watchdog.front.handler import Exchange, Fields, Scope, Stream
from regrain_watchdog.front.http1.exchange import Exchange as Connected
from regrain_watchdog.front.measure import CANCELLED
from regrain_watchdog.gateway.forward import named

CALL_ID = "x-call-id"
START = "x-start-time"
DURATION = "x-duration-seconds"
CONNECTION = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "upgrade",
    }
)
"""Fields that say how a connection is used, and not what is asked (RFC 9110, 7.6.1), with those that it names."""


def request_headers(scope: Scope, proto: Exchange) -> dict[str, str]:
    """Return a request's headers as its function gets them."""
    dropped = CONNECTION | named(scope.headers)
    headers = {name: text for name, text in scope.headers.items() if name not in dropped}
    if not headers.get(CALL_ID):
        headers[CALL_ID] = str(uuid.uuid4())
    headers[START] = str(time.time_ns())
    if host := headers.get("host"):
        headers.setdefault("x-forwarded-host", host)
    peer = proto.peer if isinstance(proto, Connected) else ""
    if peer:
        before = headers.get("x-forwarded-for", "")
        headers["x-forwarded-for"] = f"{before}, {peer}" if before else peer
    return headers


class Dressed:
    """A request's protocol that adds to its response who was called and when, and remembers its status.

    Attributes:
        status: of the response; 499 as long as there is none, 500 where it failed before.
        is_begun: whether a response has begun.
    """

    __slots__ = ("_began", "_headers", "_proto", "is_begun", "status")

    def __init__(self, proto: Exchange, headers: dict[str, str], began: float) -> None:
        self._proto = proto
        self._headers = headers
        self._began = began
        self.status = CANCELLED
        self.is_begun = False

    def arrived(self) -> bytes | None:
        """Take the request's body if all of it is here."""
        return self._proto.arrived()

    async def __call__(self) -> bytes:
        """Return the request's body."""
        return await self._proto()

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the request's body as it comes."""
        return self._proto.__aiter__()

    def response_empty(self, status: int, headers: Fields, length: int = 0) -> None:
        """Answer without a body."""
        self._proto.response_empty(status, self._dressed(status, headers), length)

    def response_str(self, status: int, headers: Fields, body: str) -> None:
        """Answer with text."""
        self._proto.response_str(status, self._dressed(status, headers), body)

    def response_bytes(self, status: int, headers: Fields, body: bytes) -> None:
        """Answer with bytes."""
        self._proto.response_bytes(status, self._dressed(status, headers), body)

    def response_stream(self, status: int, headers: Fields) -> Stream:
        """Answer bit by bit."""
        return self._proto.response_stream(status, self._dressed(status, headers))

    def fail(self) -> None:
        """The request failed unexpectedly, which the port tells where no response has begun."""
        if not self.is_begun:
            self.status = HTTPStatus.INTERNAL_SERVER_ERROR

    def _dressed(self, status: int, headers: Fields) -> Fields:
        self.status = status
        self.is_begun = True
        names = {name for name, _ in headers}
        dressed = [*headers, (START, self._headers[START])]
        if CALL_ID not in names:
            dressed.append((CALL_ID, self._headers[CALL_ID]))
        if DURATION not in names:
            dressed.append((DURATION, f"{time.monotonic() - self._began:.6f}"))
        return dressed
