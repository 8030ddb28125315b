"""Files that only their owner may read, written so that a reader sees all of one or none."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path


@contextlib.contextmanager
def drafted(path: Path, content: bytes) -> Iterator[Callable[[], object]]:
    """Write a file (0600), and give what puts it in place of the one of its name; it is gone if that is not called.

    Folders (0700) are made as needed. What takes room on the disk is done before the block.
    """
    folder(path.parent)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield partial(Path(draft).replace, path)
    finally:
        Path(draft).unlink(missing_ok=True)


def write(path: Path, content: bytes) -> None:
    """Write a file (0600) in place of the one of its name; folders (0700) are made as needed."""
    with drafted(path, content) as place:
        place()


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
