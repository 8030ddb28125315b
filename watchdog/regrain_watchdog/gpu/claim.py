"""The socket path of a device's arbiter, held by one arbiter at a time.

A lock beside the socket tells a living arbiter from a socket file that a dead one left behind, and remembers the epoch.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from regrain.wire.lease import LeaseError

BACKLOG = 128
NUMBERS = 64
"""Bytes of the lock file that are read: an epoch and a process."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A listening socket at `path`, the epoch it serves under, and whether another arbiter served there before."""

    path: Path
    sock: socket.socket
    lock: int
    epoch: int
    takes_over: bool

    def release(self) -> None:
        """Stop listening and let another arbiter have the path."""
        self.path.unlink(missing_ok=True)
        self.sock.close()
        os.close(self.lock)


def claim(path: Path, *, wall: float) -> Claim:
    """Listen at a path, taking over a socket file that nobody serves any more.

    Args:
        path: of the socket.
        wall: seconds since 1970, so that epochs go up even if the lock file was cleaned away.

    Raises:
        LeaseError: another arbiter serves there, the path is no place for a socket, or it is taken by something else.
    """
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LeaseError(f"no arbiter can serve at {path}: {error.strerror}") from error
    try:
        before, holder = _locked(lock, path)
        epoch = max(before + 1, int(wall))
        sock = _listen(path)
    except BaseException:
        os.close(lock)
        raise
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{epoch} {os.getpid()}\n".encode(), 0)
    return Claim(path=path, sock=sock, lock=lock, epoch=epoch, takes_over=bool(holder))


def _locked(lock: int, path: Path) -> tuple[int, int]:
    """Lock the file; return the epoch and the process that are written there, or zeros."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        _, holder = _written(lock)
        raise LeaseError(
            f"another arbiter (process {holder or '?'}) serves at {path}: a GPU has one"
        ) from error
    return _written(lock)


def _written(lock: int) -> tuple[int, int]:
    words = os.pread(lock, NUMBERS, 0).split()
    numbers = [int(word) for word in words if word.isdigit()]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)


def _listen(path: Path) -> socket.socket:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise LeaseError(f"no arbiter can serve at {path}: there is something else than a socket")
        path.unlink()
    except FileNotFoundError:
        pass
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        os.fchmod(sock.fileno(), 0o600)  # Linux gives the file the mode that the socket has when it is bound
        sock.bind(str(path))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise LeaseError(f"no arbiter can serve at {path}: {error.strerror or error}") from error
    return sock
