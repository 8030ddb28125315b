"""Files that only their owner may read, written so that a reader sees all of one or none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Write a file (0600) in place of the one of its name; folders (0700) are made as needed."""
    folder(path.parent)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def made(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return what a file holds; make it first where there is none."""
    if not path.exists():
        write(path, make())
    return path.read_bytes()


def folder(path: Path, mode: int = 0o700) -> None:
    """Make a folder, and those above it, where there is none."""
    if not path.is_dir():
        folder(path.parent, mode)
        path.mkdir(mode=mode, exist_ok=True)
