"""The log of a function: lines of JSON in a file and the one before it, written by the front, read by who asks."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import msgspec
from msgspec import Struct

from regrain_watchdog.gateway import private

logger = logging.getLogger(__name__)

FILE_SIZE = 4 << 20
"""Bytes after which a file becomes the one before."""
LONGEST = 64 << 10
"""Characters of a line at most; what is longer is cut."""
CUT = " … (cut)"
READ = 1 << 20
"""Bytes of a line in the file at most: LONGEST characters, escaped, take less."""
BATCH = 64 << 10
"""Bytes that are handed on at once."""
POLL = 0.2
"""Seconds between two looks for new lines."""
EVER = datetime.min.replace(tzinfo=UTC)


class Line(Struct, frozen=True, kw_only=True):
    """A line that a function wrote; `instance` says which of its processes."""

    name: str
    namespace: str
    instance: str
    timestamp: datetime
    text: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


class Journal:
    """Writes the log of a function. A disk that is full costs lines and nothing else.

    Args:
        path: its file; folders are made.
    """

    def __init__(self, path: Path, *, file_size: int = FILE_SIZE) -> None:
        self._path = path
        self._file_size = file_size
        self._file: io.FileIO | None = None
        self._failed = False

    def write(self, *lines: Line) -> None:
        """Append lines, as many of them at once as a file holds."""
        try:
            for data in self._together(lines):
                self._room(len(data)).write(data)
            self._failed = False
        except OSError as error:
            if not self._failed:
                logger.warning("log lines are lost: %s: %s", self._path, error.strerror)
            self._failed = True

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Close and remove the files; the function is no more."""
        self.close()
        self._path.unlink(missing_ok=True)
        before(self._path).unlink(missing_ok=True)

    def _together(self, lines: tuple[Line, ...]) -> Iterator[bytes]:
        """Yield lines as they are in the file, no more than that may have at a time."""
        found = bytearray()
        for line in lines:
            data = _encoded(line)
            if found and len(found) + len(data) > self._file_size:
                yield bytes(found)
                found.clear()
            found += data
        yield bytes(found)

    def _room(self, size: int) -> io.FileIO:
        """Return the file, another one if so many bytes are too many for this one."""
        if self._file is None:
            private.folder(self._path.parent)
            self._file = self._opened()
        if self._file.tell() and self._file.tell() + size > self._file_size:
            self.close()
            self._path.replace(before(self._path))
            self._file = self._opened()
        return self._file

    def _opened(self) -> io.FileIO:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        file = io.FileIO(handle, "r+")
        end = file.seek(0, os.SEEK_END)
        if end and os.pread(handle, 1, end - 1) != b"\n":  # who wrote it was killed at it
            file.write(b"\n")
        return file


def _encoded(line: Line) -> bytes:
    if len(line.text) > LONGEST:
        line = msgspec.structs.replace(line, text=line.text[: LONGEST - len(CUT)] + CUT)
    return _encode(line) + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which lines are wanted: since a time, of an instance ("" for all), and the last so many (0 for all)."""

    since: datetime = EVER
    instance: str = ""
    tail: int = 0

    def takes(self, data: bytes) -> bool:
        """Whether a line is one of those; one that cannot be read is none."""
        try:
            line = _decode(data)
            return line.timestamp >= self.since and self.instance in ("", line.instance)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):  # TypeError: a time without a zone
            return False


def lines(
    path: Path, choice: Choice, *, follow: float = 0.0, ending: threading.Event | None = None
) -> Iterator[bytes]:
    """Yield a log's lines as they are in the file, some at once, and for `follow` seconds those that come.

    ending: once it is set, nothing more is waited for.
    """
    end = time.monotonic() + follow
    ending = ending or threading.Event()
    with Reader(path) as reader:
        found = (line for line in reader.lines() if choice.takes(line))
        yield from _batches(deque(found, choice.tail) if choice.tail else found)
        while (left := end - time.monotonic()) > 0 and not ending.wait(min(POLL, left)):
            yield from _batches(line for line in reader.lines() if choice.takes(line))


class Reader:
    """Reads a log that is being written, over the change from one file to the next.

    Args:
        path: its file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        now, earlier = _open(path), _open(before(path))  # in this order, so that none is missed
        self._files = [file for file in (earlier, now) if file is not None]
        if len(self._files) > 1 and _is_at(self._files[1], before(path)):
            self._files.pop().close()  # it became the one before between the two looks

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that are new since the last call, with their ends."""
        while self._files or self._follows():
            file = self._files[0]
            is_over = len(self._files) > 1 or not _is_at(
                file, self._path
            )  # asked first: then the rest is all of it
            yield from _rest(file)
            if not is_over or (len(self._files) == 1 and not self._follows()):
                return
            self._files.pop(0).close()

    def _follows(self) -> bool:
        """Open the file that is written now; whether there is one."""
        file = _open(self._path)
        if file is not None:
            self._files.append(file)
        return file is not None


def _rest(file: io.BufferedReader) -> Iterator[bytes]:
    """Yield what is left of a file in lines; one that is too long comes in pieces that are none."""
    while data := file.readline(READ):
        if not data.endswith(b"\n") and len(data) < READ:  # still being written
            file.seek(-len(data), os.SEEK_CUR)
            return
        yield data


def _is_at(file: io.BufferedReader, path: Path) -> bool:
    """Whether a file is still what a path names; True while the path names nothing."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return True


def keep(folder: Path, kept: Collection[Path]) -> None:
    """Remove the logs of functions that are no more from a folder of all; those kept are given by their files."""
    files = {file for path in kept for file in (path, before(path))}
    for path in set(folder.glob("*/*")) - files:
        with contextlib.suppress(OSError):  # tried again at the next start
            path.unlink()


def before(path: Path) -> Path:
    """Return where the file before this one is."""
    return path.with_name(f"{path.name}.1")


def _open(path: Path) -> io.BufferedReader | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _batches(found: Iterator[bytes] | deque[bytes]) -> Iterator[bytes]:
    batch = bytearray()
    for line in found:
        batch += line
        if len(batch) >= BATCH:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)
