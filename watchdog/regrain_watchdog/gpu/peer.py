"""A connection to an arbiter, and the process at its other end.

That a connection ended does not say that its process did (a forked child may keep it open, a living process may close
it): a pidfd says so, for this very process whatever becomes of its number.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from regrain.wire import lease as wire
from regrain.wire.lease import LeaseError, PacketError

CREDENTIALS = struct.Struct("3i")
SO_PEERPIDFD = 77
"""Linux 6.5; the socket module does not name it yet."""


class Peer:
    """One connection: `client` is its number in the arbiter, 0 before it registers and after it leaves."""

    def __init__(self, sock: socket.socket) -> None:
        """Take an accepted socket; LeaseError for a process that cannot be watched or is another user's."""
        sock.setblocking(False)
        self.sock = sock
        self.pid, uid, _ = CREDENTIALS.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        )
        if uid not in (0, os.getuid()):
            raise LeaseError(f"process {self.pid} is of user {uid}, this arbiter serves user {os.getuid()}")
        self.pidfd = _pidfd(sock, self.pid)
        self.client = 0
        self.connected = True
        self._reader: wire.PacketReader[wire.FromClient] = wire.PacketReader(wire.FromClient)

    def receive(self) -> wire.FromClient | None:
        """Return the next frame, or None at the connection's end.

        Raises:
            PacketError: it sent what is no frame.
            BlockingIOError: nothing is there now.
        """
        try:
            packet = self.sock.recv(wire.ROOM)
        except ConnectionResetError:  # it closed without reading all; what it sent before is still there
            packet = self.sock.recv(wire.ROOM)
        return self._reader.decode(packet) if packet else None

    def send(self, frame: wire.FromArbiter) -> bool:
        """Send a frame; return whether the socket took it. One that does not read is as good as gone."""
        if not self.connected:
            return False
        try:
            self.sock.send(wire.encode(frame))
        except PacketError as error:
            return self.send(wire.Refused(0, str(error)))
        except OSError:
            return False
        return True

    def disconnect(self) -> None:
        """Close the connection; the process is watched further."""
        self.connected = False
        self.sock.close()

    def close(self) -> None:
        """Close all."""
        self.disconnect()
        os.close(self.pidfd)


def _pidfd(sock: socket.socket, pid: int) -> int:
    if not pid:
        raise LeaseError("the process is of another PID namespace: run it and the arbiter in the same one")
    try:
        try:
            return sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
            return os.pidfd_open(
                pid
            )  # an older kernel; the number may be another process's by now, if all but never
    except OSError as error:
        raise LeaseError(f"process {pid} cannot be watched: {error.strerror}") from error
