"""Answers of an API server, bounded in time and size: its client bounds each read alone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2

from regrain_watchdog.platforms.rest import SIZE


class Bounded(httpx2.BaseTransport):
    """A transport whose answers end within so many seconds, or fail as httpx2's own do.

    Args:
        inner: which carries requests.
        seconds: that an answer may take.
    """

    def __init__(self, inner: httpx2.BaseTransport, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        request.headers["Accept-Encoding"] = "identity"
        end = time.monotonic() + self._seconds
        response = self._inner.handle_request(request)
        assert isinstance(response.stream, httpx2.SyncByteStream)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Stream(response.stream, end),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Give back the connections."""
        self._inner.close()


class _Stream(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, end: float) -> None:
        self._inner = inner
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for piece in self._inner:
            size += len(piece)
            if size > SIZE:
                raise httpx2.ReadError(f"an answer of more than {SIZE} bytes")
            if time.monotonic() > self._end:
                raise httpx2.ReadTimeout("an answer that does not end")
            yield piece

    def close(self) -> None:
        self._inner.close()
