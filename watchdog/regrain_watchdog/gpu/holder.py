"""Which process holds a device's weights for its replicas: to the arbiter it is no stranger (decision 15)."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from regrain.weights.device import HOLDER, LOCK

FLOCK = struct.Struct("hhqqi4x")
"""The kernel's struct flock: type, whence, start, length, process."""


def holder(arbiter: Path) -> int:
    """Return the process that holds weights beside the socket of an arbiter; 0 where there is none.

    It is asked for by its lock, which it has for as long as it lives: to connect would keep it from ending.
    """
    try:
        lock = os.open(f"{arbiter.with_suffix(HOLDER)}{LOCK}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return 0
    try:
        asked = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = FLOCK.unpack(fcntl.fcntl(lock, fcntl.F_GETLK, asked))
    except OSError:
        return 0
    finally:
        os.close(lock)
    return pid if kind == fcntl.F_WRLCK else 0
