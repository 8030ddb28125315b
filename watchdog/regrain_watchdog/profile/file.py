"""A profile on disk: read with one clear error, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
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
    """Write a profile so that whoever reads the file finds the old one or all of the new one."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(dumps(profile))
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
