"""Messages that come over a connection, each whole in one run of memory, into which it is received."""

from __future__ import annotations

import asyncio

START = 1 << 12
"""Bytes that are kept for messages at first."""
KEPT = 1 << 18
"""Bytes that are kept at most from one message to the next; a longer one has memory of its own."""
PROMISED = 1 << 22
"""Bytes that a message has room for before any of it is here; a longer one gets more as it comes."""


class Gathering(asyncio.BufferedProtocol):
    """Receives messages: a head of a fixed size, which tells how many bytes follow, and these.

    head: bytes of a head.
    """

    def __init__(self, head: int) -> None:
        self._head = head
        self._view = memoryview(bytearray(START))
        self._at = 0
        self._size = 0
        self._deaf = False

    def begun(self, head: memoryview) -> int:
        """Return how many bytes follow a head; -1, and nothing is received any more, if they are not wanted."""
        raise NotImplementedError

    def arrived(self, message: memoryview) -> None:
        """Take a message, head and all; its memory is used again once this returns."""
        raise NotImplementedError

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Return where what comes next goes."""
        return self._view[self._at :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take the messages that are whole."""
        self._at += nbytes
        while self._is_whole():
            end, self._size = self._size, 0
            self._at -= end
            self.arrived(self._view[:end])
            if self._at:
                self._view[: self._at] = self._view[end : end + self._at]
            elif len(self._view) > KEPT:
                self._view = memoryview(bytearray(START))
        if self._deaf:
            self._at = 0

    def _is_whole(self) -> bool:
        """Whether a message is all here; once its head is, there is room for what comes next."""
        if not self._size and self._at >= self._head and not self._deaf:
            follow = self.begun(self._view[: self._head])
            if follow < 0:
                self.ignore()
            else:
                self._size = self._head + follow
        room = len(self._view)
        if room < self._size and (room < PROMISED or room == self._at):
            self._make_room()
        return 0 < self._size <= self._at and not self._deaf

    def ignore(self) -> None:
        """Receive nothing any more; what still comes is thrown away."""
        self._deaf = True
        self._at = self._size = 0

    @property
    def has_begun(self) -> bool:
        """Whether some of a message is here that has not been taken."""
        return self._at > 0

    def _make_room(self) -> None:
        """Have room for the whole message; of a very large one for as much again as is here, as it may never come."""
        size = min(self._size, max(PROMISED, 2 * self._at))
        grown = memoryview(bytearray(size if size > KEPT else 1 << (size - 1).bit_length()))
        grown[: self._at] = self._view[: self._at]
        self._view = grown
