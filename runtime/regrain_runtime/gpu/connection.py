"""A blocking connection to an arbiter: one frame out, one frame in, each within a time."""

from __future__ import annotations

import socket
import time

from regrain.wire import lease as wire
from regrain.wire.lease import LeaseError, PacketError

FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.05
"""Seconds between two attempts to reach an arbiter: doubling from the first to the longest."""


class LostError(LeaseError):
    """The connection to the arbiter is gone; another one may be had."""


class RefusedError(LeaseError):
    """The arbiter says no; the connection is as good as before."""


class Connection:
    """A socket connected to the arbiter at `path`."""

    def __init__(self, path: str, until: float) -> None:
        """Connect, trying until CLOCK_MONOTONIC says `until`, once at least; LostError if nobody serves there."""
        self._path = path
        self._reader: wire.PacketReader[wire.FromArbiter] = wire.PacketReader(wire.FromArbiter)
        pause = FIRST_PAUSE
        while True:
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                self._sock.connect(path)
            except OSError as error:
                self._sock.close()
                if time.monotonic() + pause > until:
                    raise LostError(f"no arbiter serves at {path}: {error.strerror or error}") from error
            else:
                return
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def send(self, frame: wire.FromClient) -> None:
        """Send a frame; LostError if nobody can take it."""
        try:
            self._sock.setblocking(False)
            self._sock.send(wire.encode(frame))
        except OSError as error:
            raise LostError(f"the arbiter at {self._path} is gone: {error.strerror}") from error

    def receive(self, timeout: float) -> wire.FromArbiter | None:
        """Return the next frame, or None if none comes within `timeout` seconds (0: if none is there).

        Raises:
            LostError: the arbiter is gone.
            LeaseError: it ended the connection and says why, or speaks another version.
        """
        try:
            self._sock.settimeout(timeout)
            packet = self._packet()
        except (TimeoutError, BlockingIOError):
            return None
        except OSError as error:
            raise LostError(f"the arbiter at {self._path} is gone: {error.strerror}") from error
        if not packet:
            raise LostError(f"the arbiter at {self._path} is gone")
        try:
            frame = self._reader.decode(packet)
        except PacketError as error:
            raise LeaseError(f"what serves at {self._path} is no arbiter for this client: {error}") from error
        if isinstance(frame, wire.Ended):
            raise LeaseError(f"the arbiter at {self._path} ended the connection: {frame.reason}")
        return frame

    def _packet(self) -> bytes:
        try:
            return self._sock.recv(wire.ROOM)
        except ConnectionResetError:  # it closed without reading all; its last word is still there
            return self._sock.recv(wire.ROOM)

    def close(self) -> None:
        """Close it."""
        self._sock.close()
