"""Requests that the gateway itself makes of a function, and their responses as values."""

from __future__ import annotations

from collections.abc import AsyncIterator

from regrain_watchdog.front.handler import Fields

GONE = 0


class Inside:
    """A request's protocol whose caller is the gateway.

    Args:
        body: of the request.
        most: bytes of the response's body that are kept; what is beyond is counted alone.

    Attributes:
        status, headers: of the response; 0 without one.
    """

    def __init__(self, body: bytes, most: int) -> None:
        self.status = GONE
        self.headers: Fields = []
        self._sent = body
        self._most = most
        self._received = bytearray()

    @property
    def body(self) -> bytes:
        """The response's body."""
        return bytes(self._received)

    def arrived(self) -> bytes | None:
        """Take the request's body."""
        return self._sent

    async def __call__(self) -> bytes:
        """Return the request's body."""
        return self._sent

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the request's body."""
        if self._sent:
            yield self._sent

    def response_empty(self, status: int, headers: Fields, length: int = 0) -> None:  # noqa: ARG002 - HEAD's
        """Answer without a body."""
        self.status, self.headers = status, headers

    def response_str(self, status: int, headers: Fields, body: str) -> None:
        """Answer with text."""
        self.response_bytes(status, headers, body.encode())

    def response_bytes(self, status: int, headers: Fields, body: bytes) -> None:
        """Answer with bytes."""
        self.response_empty(status, headers)
        self._take(body)

    def response_stream(self, status: int, headers: Fields) -> Inside:
        """Answer bit by bit."""
        self.response_empty(status, headers)
        return self

    async def send_bytes(self, data: bytes) -> None:
        """Take a piece of the response's body."""
        self._take(data)

    def _take(self, data: bytes) -> None:
        """Keep one byte more than may be, so that it is seen that there was more."""
        self._received += data[: max(0, self._most + 1 - len(self._received))]
