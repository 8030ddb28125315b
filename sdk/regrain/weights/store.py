"""Keep what a model weighs once per node: a file that every replica maps, made by the first that needs it.

Replicas are processes of their own, and what one of them reads into its heap is there once per process. Pages
of a mapped file are there once per node, however many map them, and the kernel may drop those that nobody
uses. What is kept is derived from models and can be made again, so it lies in the user's cache folder.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from regrain.errors import SpecError

logger = logging.getLogger(__name__)

SETTING = "REGRAIN_WEIGHTS"
"""Environment variable: "off", or the absolute path of the folder to keep weights in."""
FOLDER = "regrain-weights"
LEAST = 1 << 20
"""Bytes of a model below which keeping it apart saves nothing worth a file."""
LIMIT = 16 << 30
"""Bytes kept per folder; beyond it those that were not asked for the longest go, and never the newest."""
LOCKS = 16
"""Lock files: replicas that make different models wait for each other in one case of sixteen."""
_MAKING = ".making-"
_OTHERS_MAY_WRITE = 0o022


def folder(environ: Mapping[str, str]) -> Path | None:
    """Return where weights are kept; None where they are not to be.

    Raises:
        SpecError: the setting is neither "off" nor an absolute path.
    """
    text = environ.get(SETTING, "")
    if text == "off":
        return None
    if text and not text.startswith("/"):
        raise SpecError(f'{SETTING} must be "off" or the absolute path of a folder, was {text!r}')
    cache = environ.get("XDG_CACHE_HOME", "") or os.path.join(environ.get("HOME", "") or "/nowhere", ".cache")
    return Path(text or cache) / FOLDER


def open_store() -> Store | None:
    """Return where this process keeps weights; None where they are not to be kept (SpecError as in `folder`)."""
    found = folder(os.environ)
    return Store(found) if found else None


class Store:
    """A folder of weights, shared by all replicas of a user on this node.

    limit: bytes kept, see LIMIT.
    """

    def __init__(self, root: Path, *, limit: int = LIMIT) -> None:
        self.root = root
        self._limit = limit

    def get(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the folder of this key; `make` fills an empty one if there is none yet.

        One process at a time makes it, the others wait. It appears whole or not at all, and its files never
        change: they may be mapped for as long as anybody likes, even after the folder is gone.

        Raises:
            OSError: the folder cannot be used, or there is no room. Whatever `make` raises.
        """
        self._prepare()
        entry = self.root / key
        if not entry.is_dir():
            with self._locked(key):
                if not entry.is_dir():
                    self._make(entry, make)
            self._prune(entry)
        with suppress(OSError):  # a folder that came with an image may be read-only
            os.utime(entry)
        return entry

    def drop(self, key: str) -> None:
        """Forget what was kept under this key, so that it is made anew."""
        shutil.rmtree(self.root / key, ignore_errors=True)

    def _prepare(self) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.root.stat()
        if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_MAY_WRITE:
            raise PermissionError(f"{self.root} is not this user's alone to write to")

    @contextmanager
    def _locked(self, key: str, *, wait: bool = True) -> Iterator[None]:
        """Hold a key's lock. BlockingIOError if another process holds it and this one is not to wait."""
        lock = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % LOCKS
        descriptor = os.open(self.root / f".lock-{lock}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        try:
            fcntl.flock(descriptor, how)  # the kernel unlocks it if this process dies
            yield
        finally:
            os.close(descriptor)

    def _make(self, entry: Path, make: Callable[[Path], None]) -> None:
        making = self.root / f"{_MAKING}{entry.name}"
        shutil.rmtree(making, ignore_errors=True)  # of one that died; whoever holds the lock is alone with it
        making.mkdir(mode=0o700)
        try:
            make(making)
            for file in making.iterdir():
                _sync(file)
            making.rename(entry)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _prune(self, newest: Path) -> None:
        """Remove what dead makers left, and entries until the limit is kept.

        Who maps one keeps it; its room is free once all are gone.
        """
        for making in self.root.glob(f"{_MAKING}*"):
            with suppress(BlockingIOError), self._locked(making.name.removeprefix(_MAKING), wait=False):
                shutil.rmtree(making, ignore_errors=True)
        kept = _bytes(newest)
        for entry in sorted(self._entries(), key=_asked_for, reverse=True):
            kept += _bytes(entry) if entry != newest else 0
            if kept > self._limit and entry != newest:
                logger.info("weights removed to make room: %s", entry.name)
                shutil.rmtree(entry, ignore_errors=True)

    def _entries(self) -> list[Path]:
        return [path for path in self.root.iterdir() if not path.name.startswith(".") and path.is_dir()]


def give_back() -> None:
    """Return to the system what was freed, such as the models of stages that were dropped a moment ago.

    Models hold cycles, so the collector goes first. The allocator keeps what is freed in case it is wanted again.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl gives back by itself
    if trim is not None:
        trim(0)


def identity(path: Path) -> str:
    """Return what changes whenever a file does, without reading it: a replica's load should not cost a read.

    The change time is the kernel's, and nobody can set it back as they can the time of modification.
    """
    found = path.stat()
    numbers = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return f"{path.resolve()} {' '.join(map(str, numbers))}"


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _bytes(entry: Path) -> int:
    try:
        return sum(file.stat().st_size for file in entry.iterdir())
    except FileNotFoundError:  # another process has removed it meanwhile
        return 0


def _asked_for(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0
