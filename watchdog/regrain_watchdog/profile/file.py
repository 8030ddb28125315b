"""A profile on disk: read with one clear error, written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from regrain_watchdog.policy.profile import Profile, ProfileError, dumps, loads


def read(path: Path) -> Profile:
    """Read a profile; ProfileError names the file and says what is wrong with it."""
    try:
        return loads(path.read_bytes())
    except OSError as error:
        raise ProfileError(f"{path}: no profile that can be read: {error.strerror}") from error
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from error


def write(path: Path, profile: Profile) -> None:
    """Write a profile so that whoever reads the file finds the old one or all of the new one.

    Raises:
        ProfileError: names the file, and says why it cannot be written.
    """
    draft = _draft(path)
    try:
        draft.write_bytes(dumps(profile))
        draft.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        draft.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise ProfileError where a profile could not be written, before anything is measured for it."""
    draft = _draft(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        draft.touch()
    except OSError as error:
        raise _unwritable(path, error) from error
    draft.unlink()


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}-{os.getpid()}")


def _unwritable(path: Path, error: OSError) -> ProfileError:
    return ProfileError(f"{path}: no profile can be written there: {error.strerror}")
