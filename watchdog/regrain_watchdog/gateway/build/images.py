"""The folder of images: each a folder of its own that nobody changes any more, known by what is in it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from regrain_watchdog.gateway.build.errors import BuildError
from regrain_watchdog.gateway.build.folders import shared
from regrain_watchdog.gateway.spec import Image

HANDLER = "function"
"""The folder of an image that holds the handler."""
RECORD = "image.json"
KEPT = 2
"""Images of a name that stay: the one in use, and the one before, which may still be draining."""


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


class Images:
    """The images in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, draft: Path, image: Image) -> Image:
        """Move a draft in, unless its like is there; return the image with its folder."""
        folder = self._folder / image.digest
        placed = msgspec.structs.replace(image, folder=str(folder / HANDLER))
        shared(self._folder)
        _write(draft / RECORD, placed)
        try:
            draft.rename(folder)
        except OSError as error:  # a folder is only replaced while it is empty
            if not (folder / RECORD).is_file():
                raise BuildError(f"the image could not be kept: {error.strerror}") from error
            _write(folder / RECORD, placed)
        return placed

    def prune(self, used: Collection[str]) -> None:
        """Remove images that are neither used (by their folders) nor the last ones of their name."""
        for images in _by_name(self.all()):
            last = sorted(images, key=lambda image: image.built)[-KEPT:]
            for image in images:
                if image not in last and image.folder not in used:
                    shutil.rmtree(Path(image.folder).parent, ignore_errors=True)

    def all(self) -> Iterable[Image]:
        """Yield the images that are there."""
        for path in self._folder.glob(f"*/{RECORD}"):
            yield msgspec.json.decode(path.read_bytes(), type=Image)


def _by_name(images: Iterable[Image]) -> Iterable[list[Image]]:
    found: dict[str, list[Image]] = {}
    for image in images:
        found.setdefault(image.name, []).append(image)
    return found.values()


def _write(path: Path, image: Image) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(image))
    draft.replace(path)
