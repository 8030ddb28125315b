"""This machine: its own gateway builds a function from its files, and runs it as processes."""

from __future__ import annotations

import hashlib
import hmac
import io
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import msgspec
from msgspec import Struct

from regrain.errors import SpecError
from regrain_watchdog.platforms.function import Function
from regrain_watchdog.platforms.openfaas import OpenFaas
from regrain_watchdog.platforms.platform import Patience, PlatformError
from regrain_watchdog.platforms.rest import Credentials, Rest, brief

BUILD = "/build"
SIGNATURE = "X-Build-Signature"
CONFIG = "com.openfaas.docker.config"
TEMPLATE = b"language: regrain\nfprocess: regrain run function\n"
SENT = 256 << 20
"""Bytes of a handler's files at most, as the gateway has it."""
ENTRIES = 20_000
IN_MEMORY = 8 << 20
"""Bytes of an archive from which it goes to a file."""
SECONDS = 1200.0
"""That a build may take: requirements are installed in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An app's files, the key with which builds of it are signed, and who is told of a build's lines."""

    folder: Path
    key: bytes = field(repr=False)
    told: Callable[[str], object]


class _Progress(Struct, frozen=True):
    """A line of a build's answer."""

    log: list[str] | None = None
    status: Literal["in_progress", "success", "failed"] = "in_progress"
    error: str = ""


class Local(OpenFaas):
    """Functions of this machine, behind `regrain gateway`.

    Args:
        url: of the gateway.
        credentials: of its administrator, None for none.
        source: what is built before it is deployed; None where nothing is deployed.
        namespace: of the functions, "" for the default one.
        patience: how long it may take, but for builds.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None,
        source: Source | None = None,
        *,
        namespace: str = "",
        patience: Patience | None = None,
    ) -> None:
        super().__init__(url, credentials, namespace=namespace, patience=patience)
        self._builder = Rest(url, None, patience or Patience())
        self._source = source

    def deploy(self, function: Function) -> None:
        """Build a function's image, and put it there."""
        if self._source is not None:
            self._build(self._source, function.image)
        super().deploy(function)

    def close(self) -> None:
        """Give back the connections."""
        super().close()
        self._builder.close()

    def _build(self, source: Source, image: str) -> None:
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as archive:
            pack(source.folder, image, archive)
            archive.seek(0)
            digest = hmac.new(source.key.strip(), digestmod=hashlib.sha256)
            while piece := archive.read(1 << 20):
                digest.update(piece)
            headers = {SIGNATURE: f"sha256={digest.hexdigest()}", "Accept": "application/x-ndjson"}
            progress = _Progress()
            for line in self._builder.lines(BUILD, archive, headers, SECONDS):
                progress = _read(line)
                for said in progress.log or ():
                    source.told(brief(said))
        if progress.status != "success":
            raise PlatformError(
                f"{image} was not built: {brief(progress.error) or 'the gateway ended the build'}"
            )


def pack(folder: Path, image: str, into: IO[bytes]) -> None:
    """Write an app's files as the archive that a build takes; hidden files and bytecode stay out.

    SpecError for files that are too many or too large, for links out of the folder, and for links to no file.
    """
    size = 0
    with tarfile.open(fileobj=into, mode="w") as archive:
        _add(archive, CONFIG, msgspec.json.encode({"image": image}))
        _add(archive, "context/template.yml", TEMPLATE)
        for number, path in enumerate(_files(folder)):
            size += path.stat().st_size
            if size > SENT or number >= ENTRIES:
                raise SpecError(f"{folder} holds more than {SENT} bytes or {ENTRIES} files")
            with path.open("rb") as content:
                entry = tarfile.TarInfo(f"context/function/{path.relative_to(folder)}")
                entry.size = path.stat().st_size
                entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
                archive.addfile(entry, content)


def _files(folder: Path) -> list[Path]:
    root = folder.resolve()
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") or part == "__pycache__" for part in parts):
            continue
        if not path.is_file():
            if path.is_symlink():
                raise SpecError(
                    f"{path} is a link to no file, which is not followed: put there what it names"
                )
            continue
        if not path.resolve().is_relative_to(root):
            raise SpecError(f"{path} is a link out of {folder}, which is all that is sent")
        found.append(path)
    return found


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _read(line: bytes) -> _Progress:
    try:
        return msgspec.json.decode(line, type=_Progress)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PlatformError(f"the gateway's answer to a build is none: {error}") from error
