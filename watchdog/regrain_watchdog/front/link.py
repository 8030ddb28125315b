"""A stream of frames to another process of ours, on the event loop.

Frames queued within one turn of the loop leave in one write, so that doorbells coalesce under load. EOF, a
reset and bytes that are no frame all end the link the same way: `closed` is called once with the reason.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from types import UnionType
from typing import Generic, TypeVar

from regrain.wire import frames

F = TypeVar("F")
RECEIVE = 1 << 18
DESCRIPTORS = 16
MAX_QUEUED = 256 << 20
"""Bytes that wait for a peer that does not read; beyond it the link is given up."""


class Link(Generic[F]):
    """Frames to and from a peer.

    received: called with each frame, and the descriptors that came with its chunk (theirs to close).
    closed: called once, with the reason.
    """

    def __init__(
        self,
        sock: socket.socket,
        kind: type[F] | UnionType,
        *,
        received: Callable[[F, list[int]], None],
        closed: Callable[[str], None],
    ) -> None:
        self._sock = sock
        self._reader: frames.FrameReader[F] = frames.FrameReader(kind)
        self._received = received
        self._closed = closed
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
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
        """Queue a frame; it leaves in this turn of the loop. Descriptors stay the caller's."""
        if not self._open:
            return
        data = frames.encode(frame)
        copies = [os.dup(fd) for fd in descriptors] if descriptors else []
        self._outbox.append((data, copies))
        self._queued += len(data)
        if self._queued > MAX_QUEUED:
            self.close("it does not read")
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

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
        self._sock.close()
        self._closed(reason)

    def _readable(self) -> None:
        try:
            chunk, descriptors, _, _ = socket.recv_fds(self._sock, RECEIVE, DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(str(error))
            return
        if not chunk:
            self.close("it closed its socket")
            return
        try:
            for frame in self._reader.feed(chunk):
                self._received(frame, descriptors)
                descriptors = []
                if not self._open:
                    return
        except frames.FrameError as error:
            self.close(str(error))
        finally:
            _close_all(descriptors)

    def _flush(self) -> None:
        self._flushing = False
        if not self._open or self._blocked:
            return
        try:
            while self._outbox:
                if not self._send_some():
                    self._blocked = True
                    self._loop.add_writer(self._sock.fileno(), self._writable)
                    return
        except OSError as error:
            self.close(str(error))

    def _writable(self) -> None:
        self._loop.remove_writer(self._sock.fileno())
        self._blocked = False
        self._flush()

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


def _close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)
