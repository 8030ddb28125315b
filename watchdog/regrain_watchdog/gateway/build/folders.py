"""Whose the folders of builds are, and who may read them: functions run as users of their own."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def shared(folder: Path) -> Path:
    """Make a folder that all may read, whatever the umask, where there is none; return it."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    return folder


def own(folder: Path, user: int) -> None:
    """Give a folder and all in it to a user, where it is not its own already."""
    for path in (folder, *folder.rglob("*")):
        if path.lstat().st_uid != user:
            os.chown(path, user, user, follow_symlinks=False)


def settle(folder: Path) -> None:
    """Make a folder and all in it our own, for all to read."""
    own(folder, os.geteuid())
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def hold(folder: Path) -> int:
    """Lock a folder until the descriptor that is returned is closed; BlockingIOError if somebody holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor
