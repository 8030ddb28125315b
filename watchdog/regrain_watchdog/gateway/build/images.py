"""The folder of images: each a folder of its own that nobody changes any more, known by what is in it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from regrain_watchdog.gateway import private
from regrain_watchdog.gateway.build.errors import BuildError
from regrain_watchdog.gateway.build.folders import flush_files, flush_names, shared
from regrain_watchdog.gateway.spec import Image

HANDLER = "function"
"""The folder of an image that holds the handler."""
RECORD = "image.json"
IN_USE = "in-use"
"""The file of an image that is locked by who runs it: a lock ends with its process, however that ends."""
KEPT = 2
"""Images of a name that stay beside those in use."""


def digest(folder: Path) -> str:
    """Return what a folder's files are known by."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(
                f"{path.relative_to(folder)}\0{path.stat().st_mode & 0o100}\0".encode(
                    errors="surrogateescape"
                )
            )
            with path.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def combined(*parts: str) -> str:
    """Return what several things together are known by."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def use(folder: str) -> int:
    """Have the image of a folder stay until the descriptor that is returned is closed; OSError where it is gone."""
    return _locked(Path(folder).parent, fcntl.LOCK_SH)


class Images:
    """The images in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, draft: Path, image: Image) -> Image:
        """Move a draft in, unless its like is there; return the image with its folder, which is on disk by then."""
        folder = self._folder / image.digest
        placed = msgspec.structs.replace(image, folder=str(folder / HANDLER))
        shared(self._folder)
        _write(draft, placed)
        flush_files(draft)
        try:
            draft.rename(folder)
        except OSError as error:  # a folder is only replaced while it is empty
            if not folder.is_dir():
                raise BuildError(f"the image could not be kept: {error.strerror}") from error
            if _read(folder) is not None:
                _write(folder, placed)
            else:
                folder.rename(draft.with_name("broken"))
                draft.rename(folder)
        flush_names(self._folder)
        return placed

    def prune(self, wanted: Collection[str]) -> None:
        """Remove images that nobody runs, wants (by their digests) or has built last of their name, and broken ones."""
        found = {folder: _read(folder) for folder in self._folder.glob("*/")}
        last = {
            image.digest
            for images in _by_name(filter(None, found.values()))
            for image in sorted(images, key=lambda image: image.built)[-KEPT:]
        }
        for folder in found:
            if folder.name not in last and folder.name not in wanted:
                _remove(folder)

    def all(self) -> Iterable[Image]:
        """Yield the images that are there and whole."""
        return filter(None, map(_read, self._folder.glob("*/")))


def _by_name(images: Iterable[Image]) -> Iterable[list[Image]]:
    found: dict[str, list[Image]] = {}
    for image in images:
        found.setdefault(image.name, []).append(image)
    return found.values()


def _remove(folder: Path) -> None:
    """Remove an image, unless somebody runs it."""
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        lock = _locked(folder, fcntl.LOCK_EX)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked(folder: Path, kind: int) -> int:
    descriptor = os.open(folder / IN_USE, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _read(folder: Path) -> Image | None:
    """Return what is recorded of an image; None where another build has just removed it, or it is broken."""
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=Image)
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _write(folder: Path, image: Image) -> None:
    private.write(folder / RECORD, msgspec.json.encode(image))
