"""What pip keeps of what it has fetched, for the installations to come, within bounds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regrain_watchdog.gateway import private


class Cache:
    """The folder that pip is given.

    Args:
        folder: where it is.
        most: bytes that it may have.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most

    @contextmanager
    def used(self) -> Iterator[Path]:
        """Give the folder, which is not removed until the block ends."""
        with self._locked(fcntl.LOCK_SH):
            private.folder(self._folder)
            yield self._folder

    def trim(self, free: int) -> None:
        """Remove it where it has more than it may, or than the disk has left, unless somebody uses it."""
        with contextlib.suppress(BlockingIOError), self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
            if _used(self._folder) > min(self._most, free):
                shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Hold a file beside the folder, which is nobody's but the gateway's; BlockingIOError as `flock` has it."""
        descriptor = os.open(self._folder.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)


def _used(folder: Path) -> int:
    """Return the bytes of a folder's files, which builds write as deep down as they like; 0 where there is none.

    A process of an earlier build may still remove some.
    """
    total = 0
    with contextlib.suppress(FileNotFoundError):
        for _, _, files, descriptor in os.fwalk(folder):
            for name in files:
                with contextlib.suppress(FileNotFoundError):
                    total += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size
    return total
