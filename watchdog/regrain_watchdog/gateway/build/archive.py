"""Take apart what a client sent: a tar of the build's context, and which image it is to become.

Nothing in it is trusted: it holds folders and plain files, within bounds, below the folder they go to.
"""

from __future__ import annotations

import os
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec
from msgspec import Struct, field

from regrain_watchdog.gateway.build.errors import BuildError
from regrain_watchdog.words import size

CONFIG = "com.openfaas.docker.config"
"""The file beside the context that says which image it is."""
CONTEXT = "context"
CACHE = "__pycache__"
"""A folder that Python makes anew; what a client has in its own is left out."""
PATH_BYTES = 1024
"""Bytes of a path in the archive at most."""
PIECE = 1 << 20

Require = Callable[[int], None]
"""Asked before so many bytes are written; BuildError where the disk has no room for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Of an archive as it is sent and of what it holds, in bytes; of its entries; of the seconds it may take."""

    sent: int = 256 << 20
    unpacked: int = 512 << 20
    entries: int = 20_000
    seconds: float = 60.0


class Config(Struct, frozen=True, rename="camel"):
    """What a client wants built."""

    image: str
    build_args: dict[str, str] = field(default_factory=dict)


def unpack(archive: Path, into: Path, bounds: Bounds, require: Require) -> Config:
    """Write an archive's files below a folder and return what it is to become.

    BuildError names the entry and what is wrong with it; what was written until then is the caller's to remove.
    """
    began = time.monotonic()
    total = 0
    try:
        with tarfile.open(archive, "r:") as tar:
            for number, entry in enumerate(tar):
                total += abs(entry.size)
                if number >= bounds.entries:
                    raise BuildError(f"the archive holds more than {bounds.entries} files and folders")
                if total > bounds.unpacked:
                    raise BuildError(f"the archive's files have more than {size(bounds.unpacked)}")
                if time.monotonic() - began > bounds.seconds:
                    raise BuildError(f"unpacking the archive took more than {bounds.seconds:g} s")
                _write(tar, entry, into, require)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BuildError(f"what was sent is no tar archive: {error}") from error
    return _config(into / CONFIG)


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, into: Path, require: Require) -> None:
    path = into / _relative(entry.name)
    if CACHE in path.parts:
        return
    if entry.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.issparse():
        raise BuildError(
            f"{entry.name!r} is neither a folder nor a plain file; links and devices are refused"
        )
    content = tar.extractfile(entry)
    if content is None:
        raise BuildError(f"{entry.name!r} has no content")
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o755 if entry.mode & 0o100 else 0o644
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise BuildError(f"{entry.name!r} is in the archive twice") from error
    with os.fdopen(descriptor, "wb") as file:
        while piece := content.read(PIECE):
            require(len(piece))
            file.write(piece)
        os.fchmod(descriptor, mode)


def _relative(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\x00" in name or len(os.fsencode(name)) > PATH_BYTES:
        raise BuildError(f"{name[:200]!r} is no path below the context")
    return path


def _config(path: Path) -> Config:
    try:
        config = msgspec.json.decode(path.read_bytes(), type=Config)
    except FileNotFoundError as error:
        raise BuildError(f"the archive holds no {CONFIG}, which says what image it is") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
        raise BuildError(f"{CONFIG}: {error}") from error
    return config
