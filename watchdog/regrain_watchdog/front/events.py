"""Server-sent events: a snapshot of the app once a second, to whoever looks at the live page.

Nobody looking costs nothing. All who look get the same snapshot, so its cost does not grow with them; their
number is bounded all the same, as each holds a connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus

from regrain.errors import RequestError
from regrain_watchdog.front.handler import CallerGoneError, Exchange

PERIOD = 1.0
"""Seconds between two snapshots."""
LOOKERS = 16
"""Connections that get events at once."""
PATIENCE = 5.0
"""Seconds that a connection may take for one event; a page that was put to sleep comes back by itself."""
HEADERS = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),  # nginx would hold events back
]
RETRY = b"retry: 1000\n\n"
"""How long a browser waits before it comes back, in milliseconds."""


class Events:
    """Sends snapshots.

    Args:
        snapshot: makes one, as JSON in one line.
        period: seconds between two.
    """

    def __init__(self, snapshot: Callable[[], bytes], *, period: float = PERIOD) -> None:
        self._snapshot = snapshot
        self._period = period
        self._lookers = 0
        self._latest = b""
        self._made = float("-inf")
        self._stopping = asyncio.Event()

    async def serve(self, proto: Exchange) -> None:
        """Send events until the caller goes or `stop`; RequestError 503 where there are too many callers."""
        if self._lookers >= LOOKERS:
            detail = f"{LOOKERS} connections look at the live page already"
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"retry-after": "10"})
        self._lookers += 1
        try:
            async with asyncio.timeout(None) as timer:
                await self._send_all(proto, timer)
        except (CallerGoneError, TimeoutError):
            pass  # gone, or asleep
        finally:
            self._lookers -= 1

    def stop(self) -> None:
        """Send everybody one more snapshot, and end."""
        self._made = float("-inf")
        self._stopping.set()

    async def _send_all(self, proto: Exchange, timer: asyncio.Timeout) -> None:
        stream = proto.response_stream(HTTPStatus.OK.value, HEADERS)
        loop = asyncio.get_running_loop()
        event = RETRY
        while True:
            stopping = self._stopping.is_set()
            event += b"data: " + self._fresh() + b"\n\n"
            timer.reschedule(loop.time() + PATIENCE)
            await stream.send_bytes(event)
            timer.reschedule(None)
            if stopping:
                return
            event = b""
            await self._next()

    async def _next(self) -> None:
        """Wait for the next snapshot's time, or for the end."""
        try:
            async with asyncio.timeout(self._period):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _fresh(self) -> bytes:
        """The latest snapshot, made anew once a period."""
        now = time.monotonic()
        if now - self._made >= self._period / 2:
            self._latest = self._snapshot()
            self._made = now
        return self._latest
