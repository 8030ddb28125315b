"""Bytes between a connection and the coroutine that takes them, bounded in both directions.

What nobody takes stays in the sender's socket: a connection that has received `HIGH` bytes is not read until
they are taken, and a writer waits while its connection's own buffer is full.
"""

from __future__ import annotations

import asyncio

HIGH = 1 << 18
"""Bytes received and not yet taken at which a connection is not read any further."""


class Inflow:
    """A body as it comes in.

    Args:
        transport: the connection that it comes from.

    Attributes:
        ended: whether all of it has come.
        total: bytes that have come.
    """

    __slots__ = (
        "_chunks",
        "_dropping",
        "_error",
        "_paused",
        "_size",
        "_transport",
        "_waiter",
        "_whole",
        "ended",
        "total",
    )

    def __init__(self, transport: asyncio.Transport) -> None:
        self.ended = False
        self.total = 0
        self._transport = transport
        self._chunks: list[bytes] = []
        self._size = 0
        self._paused = False
        self._dropping = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._whole = 0

    @property
    def taken(self) -> bool:
        """Whether all of it came and was taken."""
        return self.ended and not self._chunks

    @property
    def is_full(self) -> bool:
        """Whether its connection is not read until some of it is taken."""
        return self._paused

    def feed(self, data: bytes) -> None:
        """Add bytes that the connection received."""
        if self._dropping:
            return
        self._chunks.append(data)
        self._size += len(data)
        self.total += len(data)
        if self.total <= self._whole:
            return
        if self._size > HIGH and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def end(self) -> None:
        """All of it has come."""
        self.ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """No more will come; whoever reads past what did come is told why."""
        if not self.ended and self._error is None:
            self._error = error
            self._wake()

    def take(self) -> bytes:
        """Return what is there; b"" if nothing is."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return data

    def drop(self) -> None:
        """Nobody will take it: what is there and what still comes is thrown away."""
        self._dropping = True
        self.take()

    async def read(self) -> bytes:
        """Return what is there as soon as anything is; b"" at the end. Raises what `fail` was given."""
        while not self._chunks:
            if self.ended:
                return b""
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.take()

    async def read_all(self, limit: int) -> bytes:
        """Return all of it once it is there, or what is as soon as that is over `limit` bytes. Raises as `read`."""
        self._whole = limit
        begun = self.take()
        while not self.ended and self.total <= limit:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return begun + self.take() if begun else self.take()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Outflow:
    """Whether a connection takes more bytes; its protocol tells it of pauses and resumptions."""

    __slots__ = ("_lost", "_room")

    def __init__(self) -> None:
        self._room: asyncio.Future[None] | None = None
        self._lost = False

    @property
    def is_full(self) -> bool:
        """Whether it takes no more for now, or never again."""
        return self._room is not None or self._lost

    def pause(self) -> None:
        """The connection's buffer is full."""
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        """There is room again, or nobody to make room for."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def lose(self) -> None:
        """The connection is gone: nothing waits for it any more."""
        self._lost = True
        self.resume()

    async def drain(self) -> None:
        """Wait until there is room; ConnectionResetError if the connection is gone."""
        if self._room is not None:
            await asyncio.shield(self._room)
        if self._lost:
            raise ConnectionResetError("the connection is closed")
