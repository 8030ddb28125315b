"""A stream of frames to another process of ours, on the event loop.

Frames queued within one turn of the loop leave in one write, so that doorbells coalesce under load. EOF, a
reset and bytes that are no frame all end the link the same way: `closed` is called once with the reason.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Generic, TypeVar

from regrain.errors import RegrainError
from regrain.wire import frames

F = TypeVar("F")
RECEIVE = 1 << 16
DESCRIPTORS = 16
ROOM_FOR_DESCRIPTORS = socket.CMSG_SPACE(DESCRIPTORS * frames.DESCRIPTOR.itemsize)
DRAINED = 64
"""Reads after a peer's end at most. Its socket holds less than one read; with descriptors a few more."""
MAX_QUEUED = 256 << 20
"""Bytes that wait for a peer that does not read; beyond it the link is given up."""


class Link(Generic[F]):
    """Frames to and from a peer.

    received: called with each frame, and the descriptors that have come and wait for their frame; what it takes
        out of the list is its own to close. A RegrainError of it ends the link.
    closed: called once, with the reason.
    takes_descriptors: whether the peer sends any; those of one that should not are closed unseen.
    """

    def __init__(
        self,
        sock: socket.socket,
        kind: type[F] | UnionType,
        *,
        received: Callable[[F, list[int]], None],
        closed: Callable[[str], None],
        takes_descriptors: bool = True,
    ) -> None:
        self._sock = sock
        self._reader: frames.FrameReader[F] = frames.FrameReader(kind)
        self._received = received
        self._closed = closed
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
        self._takes_descriptors = takes_descriptors
        self._chunk = memoryview(bytearray(RECEIVE))
        self._descriptors: list[int] = []
        self._queued = 0
        self._flushing = False
        self._blocked = False
        self._open = False
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begin to read."""
        self._sock.setblocking(False)
        self._open = True
        self._loop.add_reader(self._sock.fileno(), self._readable)

    def send(self, frame: frames.Frame, descriptors: list[int] | None = None) -> None:
        """Queue a frame; it leaves with `flush`, or in this turn of the loop. Descriptors stay the caller's.

        OSError where the system gives no copies of them now; then nothing is queued.
        """
        self.queue(frame, descriptors)
        if self._open and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def queue(self, frame: frames.Frame, descriptors: list[int] | None = None) -> None:
        """Queue a frame, as `send`; it leaves with what is sent next, or with `flush`."""
        if not self._open:
            return
        data = frames.encode(frame)
        copies = _copied(descriptors) if descriptors else []
        self._outbox.append((data, copies))
        self._queued += len(data)
        if self._queued > MAX_QUEUED:
            self.close("it does not read")

    def flush(self) -> None:
        """Write what is queued now, as far as the socket takes it."""
        if not self._open or self._blocked:
            return
        try:
            while self._outbox:
                if not self._send_some():
                    self._blocked = True
                    self._loop.add_writer(self._sock.fileno(), self._writable)
                    return
        except OSError as error:
            self._blocked = True
            self._loop.call_soon(self.drain, str(error))  # not at once: a frame of its may be being handled

    def close(self, reason: str = "closed") -> None:
        """Close the link; `closed` is told the reason."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._sock.fileno())
        if self._blocked:
            self._loop.remove_writer(self._sock.fileno())
        for _, copies in self._outbox:
            _close_all(copies)
        self._outbox.clear()
        _close_all(self._descriptors)
        self._descriptors.clear()
        self._sock.close()
        self._closed(reason)

    def drain(self, reason: str) -> None:
        """Take what a peer that has ended sent before, and close."""
        for _ in range(DRAINED):
            if not self._open or not self._receive():
                break
        self.close(reason)

    def _readable(self) -> None:
        self._receive()

    def _receive(self) -> bool:
        """Read once and hand out the frames that are complete; return whether there was something."""
        try:
            nbytes = self._read()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self.close(str(error))
            return False
        if not nbytes:
            self.close("it closed its socket")
            return False
        self._hand_out(self._chunk[:nbytes])
        return self._open

    def _read(self) -> int:
        if not self._takes_descriptors:
            return self._sock.recv_into(self._chunk)  # the kernel closes any that come: half the cost
        nbytes, ancillary, _, _ = self._sock.recvmsg_into([self._chunk], ROOM_FOR_DESCRIPTORS)
        if ancillary:
            self._descriptors.extend(frames.descriptors(ancillary))
        return nbytes

    def _hand_out(self, chunk: memoryview) -> None:
        try:
            for frame in self._reader.feed(chunk):
                self._received(frame, self._descriptors)
                if not self._open:
                    return
        except RegrainError as error:  # what it sent is no frame, or could not be taken
            self.close(str(error))
        if len(self._descriptors) > DESCRIPTORS:
            self.close("it sends descriptors that nobody asked for")

    def _flush(self) -> None:
        self._flushing = False
        self.flush()

    def _writable(self) -> None:
        self._loop.remove_writer(self._sock.fileno())
        self._blocked = False
        self.flush()

    def _send_some(self) -> bool:
        """Write what can be written at once; return whether the socket took anything."""
        data, copies = self._outbox[0]
        if not copies and len(self._outbox) > 1:
            data = self._merge()
        try:
            sent = socket.send_fds(self._sock, [data], copies) if copies else self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return False
        _close_all(copies)
        self._queued -= sent
        self._outbox.popleft()
        if sent < len(data):
            self._outbox.appendleft((data[sent:], []))
        return True

    def _merge(self) -> bytes:
        """Put the leading frames that carry no descriptors into one."""
        run = []
        while self._outbox and not self._outbox[0][1]:
            run.append(self._outbox.popleft()[0])
        data = b"".join(run)
        self._outbox.appendleft((data, []))
        return data


def _copied(descriptors: Sequence[int]) -> list[int]:
    """Return a copy of each; OSError if the system gives none, and nothing is left of the others."""
    copies: list[int] = []
    try:
        copies.extend(os.dup(fd) for fd in descriptors)
    except OSError:
        _close_all(copies)
        raise
    return copies


def _close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)
