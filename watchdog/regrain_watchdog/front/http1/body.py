"""A request's body between the connection that receives it and the handler that takes it.

What nobody takes stays in the sender's socket: beyond `BUFFERED` bytes the connection is not read.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from regrain_watchdog.front.handler import CallerGoneError
from regrain_watchdog.front.http1.limits import BUFFERED


class Source(Protocol):
    """Where a body comes from."""

    def hold(self) -> None:
        """Receive nothing more for now."""

    def release(self) -> None:
        """Receive again, as far as nobody else holds it."""


class Body:
    """A body as it comes in.

    Args:
        source: the connection that it comes from.
        ended: whether there is none.

    Attributes:
        ended: all of it has come.
        size: bytes that have come.
    """

    __slots__ = (
        "_broken",
        "_chunks",
        "_held",
        "_held_up",
        "_source",
        "_unwanted",
        "_waiter",
        "_whole",
        "ended",
        "size",
    )

    def __init__(self, source: Source, *, ended: bool) -> None:
        self.ended = ended
        self.size = 0
        self._source = source
        self._chunks: list[bytes] = []
        self._held = 0
        self._held_up = False
        self._broken = False
        self._unwanted = False
        self._waiter: asyncio.Future[None] | None = None
        self._whole = False

    def feed(self, data: bytes) -> None:
        """Add what the connection received."""
        self.size += len(data)
        if self._unwanted:
            return
        self._chunks.append(data)
        if self._whole:
            return
        self._held += len(data)
        if self._held > BUFFERED and not self._held_up:
            self._held_up = True
            self._source.hold()
        self._wake()

    def end(self) -> None:
        """All of it has come."""
        self.ended = True
        self._wake()

    def fail(self) -> None:
        """No more will come."""
        self._broken = True
        self._wake()

    @property
    def is_coming(self) -> bool:
        """Whether there is more of it to come."""
        return not self.ended and not self._broken

    def gather(self) -> None:
        """Keep all of it, however large, until somebody takes it."""
        self._whole = True
        self._resume()

    def discard(self) -> None:
        """Nobody takes it any more."""
        self._unwanted = True
        self._take()

    def arrived(self) -> bytes | None:
        """Take it if all of it is here and none was taken before; None otherwise."""
        return self._take() if self.ended else None

    async def read(self) -> bytes:
        """Return what is here as soon as there is anything, b"" at the end; CallerGoneError if it broke off."""
        while not self._chunks:
            if self.ended:
                return b""
            await self._more()
        return self._take()

    async def read_all(self) -> bytes:
        """Return all of it; CallerGoneError if it breaks off."""
        if not self.ended:
            self.gather()
            while not self.ended:
                await self._more()
        return self._take()

    async def _more(self) -> None:
        if self._broken:
            raise CallerGoneError("the body broke off")
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _take(self) -> bytes:
        chunks = self._chunks
        if not chunks:
            return b""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._held = 0
        self._resume()
        return data

    def _resume(self) -> None:
        if self._held_up:
            self._held_up = False
            self._source.release()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
