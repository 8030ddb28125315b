"""Whose the folders of builds are, and who may read them: functions run as users of their own."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def shared(folder: Path) -> Path:
    """Make a folder that all may read, whatever the umask, where there is none; return it."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    return folder


def own(folder: Path, user: int) -> None:
    """Give a folder and all in it to a user, where it is not its own already.

    Others may write there meanwhile: no link is followed, on the way neither.
    """
    for _ in _owned(folder, user):
        pass


def settle(folder: Path) -> None:
    """Make a folder and all in it our own, for all to read."""
    for descriptor, files in _owned(folder, os.geteuid()):
        os.fchmod(descriptor, 0o755)  # from here on nobody else puts a link in the place of a file
        for name in files:
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISREG(mode):
                os.chmod(name, 0o755 if mode & 0o100 else 0o644, dir_fd=descriptor)


def _owned(folder: Path, user: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each folder, open, and the names of its files, once all of it is a user's."""
    for _, folders, files, descriptor in os.fwalk(folder):
        if os.fstat(descriptor).st_uid != user:
            os.fchown(descriptor, user, user)
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):  # a temporary file of another build
                if os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_uid != user:
                    os.chown(name, user, user, dir_fd=descriptor, follow_symlinks=False)
        yield descriptor, files


def flush(folder: Path) -> None:
    """Have all that was written beside a folder outlast a loss of power; OSError where it does not.

    One call for all of its file system, as an environment has tens of thousands of files.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), str(folder))
    finally:
        os.close(descriptor)


def flush_files(folder: Path) -> None:
    """Have a settled folder of few files outlast a loss of power, without waiting for what others write beside it."""
    for _, _, files, descriptor in os.fwalk(folder):
        for name in files:
            if stat.S_ISREG(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                _sync(name, os.O_NOFOLLOW, descriptor)
        os.fsync(descriptor)


def flush_names(folder: Path) -> None:
    """Have what a folder's entries are called outlast a loss of power."""
    _sync(folder, os.O_DIRECTORY)


def _sync(name: str | Path, flags: int, folder: int | None = None) -> None:
    descriptor = os.open(name, os.O_RDONLY | flags, dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hold(folder: Path) -> int:
    """Lock a folder until the descriptor that is returned is closed; BlockingIOError if somebody holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor
