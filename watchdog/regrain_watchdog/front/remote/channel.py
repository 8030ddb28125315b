"""A connection to another pod that speaks frames: one goes out, and its whole answer comes back to a callback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from blake3 import blake3

from regrain_watchdog.front.http1.exchange import COPIED
from regrain_watchdog.front.remote import switch
from regrain_watchdog.front.remote.connection import Answer, Outcome, TooLargeError
from regrain_watchdog.front.remote.gathering import Gathering
from regrain_watchdog.front.upstream.client import UpstreamError


class Channel(Gathering):
    """A switched connection to a pod, one frame at a time.

    Args:
        transport: of the connection, which is this one's from here on.
        key: of the connection.

    Attributes:
        reused: whether it was kept after another frame.
    """

    def __init__(self, transport: asyncio.Transport, key: bytes) -> None:
        super().__init__(switch.ANSWER.size)
        transport.set_protocol(self)
        self.reused = False
        self._transport = transport
        self._key = key
        self._number = 0
        self._closed = False
        self._keeps = True
        self._told: Callable[[Outcome], None] | None = None
        self._limit = 0
        self._send(0, (), 0)

    def ask(
        self, epoch: int, frame: Sequence[bytes | memoryview], limit: int, told: Callable[[Outcome], None]
    ) -> None:
        """Send a frame; `told` is called once, in a later turn of the loop, unless the connection is closed before.

        limit: bytes that the answer may have; its memory is used again once `told` returns.
        """
        self._told, self._limit, self._keeps = told, limit, False
        if self._closed:
            gone = UpstreamError("the pod closed the connection", unsent=True, stale=True)
            asyncio.get_running_loop().call_soon(self._tell, gone)
        else:
            self._send(epoch, frame, sum(map(len, frame)))

    def _send(self, epoch: int, frame: Sequence[bytes | memoryview], nbytes: int) -> None:
        head = switch.HEAD.pack(self._number, epoch, nbytes)
        self._number += 1
        if nbytes <= COPIED:
            rest = b"".join((head, *frame))
            self._transport.write(blake3(rest, key=self._key).digest() + rest)
        else:
            made = blake3(head, key=self._key)
            for piece in frame:
                made.update(piece)
            self._transport.writelines((made.digest() + head, *frame))

    @property
    def reusable(self) -> bool:
        """Whether another frame may go over it: its last answer says so, and did not come before all was sent."""
        return self._keeps and not (self._closed or self.has_begun or self._transport.is_closing())

    def rest(self) -> None:
        """Until the next frame whatever comes is out of order."""

    def close(self) -> None:
        """End it, whatever is on its way; nobody is told."""
        self._told, self._closed = None, True
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Fail what is on its way."""
        self._closed = True
        stale = self.reused and not self.has_begun
        self._tell(UpstreamError("the pod closed the connection before its answer was complete", stale=stale))

    def begun(self, head: memoryview) -> int:
        """An answer begins."""
        nbytes: int = switch.ANSWER.unpack(head)[0]
        if self._told is None:
            self.close()
            return -1
        if nbytes > self._limit:
            self._tell(TooLargeError())
            self.close()
            return -1
        return nbytes

    def arrived(self, message: memoryview) -> None:
        """An answer is here; what comes behind it is one which nobody asked for."""
        _, status, keeps = switch.ANSWER.unpack_from(message)
        self._keeps = keeps > 0 and not self._transport.get_write_buffer_size()
        self._tell(Answer(status, message[switch.ANSWER.size :]))

    def _tell(self, outcome: Outcome) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(outcome)
