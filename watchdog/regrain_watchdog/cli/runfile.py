"""How the other commands find a running app: one small file per app in a directory of this user's own.

A file is written when the app is ready and removed when it ends. One whose process is gone (killed, or its
pid belongs to another process by now) is skipped and removed by whoever meets it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec
from msgspec import Struct

from regrain.errors import RegrainError


class RunFileError(RegrainError):
    """No running app can be told from the run files, or their directory cannot be trusted."""


class Running(Struct, frozen=True, kw_only=True):
    """A running app.

    started: when its process started, as the kernel counts it (field 22 of /proc/PID/stat, in ticks since
    boot): with the pid it names a process for good. url, metrics, admin: where it listens.
    """

    app: str
    pid: int
    started: int
    url: str
    metrics: str
    admin: str


def directory(environ: Mapping[str, str]) -> Path:
    """Return the directory of this user's run files, which need not exist yet."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.access(runtime, os.W_OK | os.X_OK):
        return Path(runtime) / "regrain"
    return Path("/tmp") / f"regrain-{os.getuid()}"  # noqa: S108 - owner and mode are checked before use


def started(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None if it does not live."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before may hold blanks and brackets
    state, ticks = fields[0], fields[19]
    return None if state in "ZX" else int(ticks)


@contextlib.contextmanager
def registered(folder: Path, running: Running) -> Iterator[Path]:
    """Keep a run file while the block runs; RunFileError if the directory cannot be trusted."""
    path = write(folder, running)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):  # whoever meets it once the process is gone removes it
            path.unlink()


def write(folder: Path, running: Running) -> Path:
    """Write a run file at once (a reader sees all of it or none) and return its path."""
    _ensure(folder)
    path = folder / f"{quote(running.app, safe='')}-{running.pid}.json"
    handle, draft = tempfile.mkstemp(dir=folder, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(running))
        Path(draft).replace(path)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
    return path


def apps(folder: Path) -> list[Running]:
    """Return the running apps by name; removes the files of those that are gone."""
    try:
        _check(folder)
    except FileNotFoundError:
        return []
    found = []
    for path in folder.glob("*.json"):
        running = _read(path)
        if running is None:
            continue
        if started(running.pid) == running.started:
            found.append(running)
        else:
            path.unlink(missing_ok=True)
    return sorted(found, key=lambda running: (running.app, running.pid))


def find(folder: Path, app: str = "") -> Running:
    """Return the one running app, or the one of this name; RunFileError says what else there is."""
    every = apps(folder)
    named = [running for running in every if app in ("", running.app)]
    if len(named) == 1:
        return named[0]
    names = ", ".join(f"{running.app} (pid {running.pid}, {running.admin})" for running in every)
    if not every:
        wanted = f"app {app!r}" if app else "app"
        raise RunFileError(f"no running {wanted} found; start one with 'regrain run MODULE', or give --url")
    if not named:
        raise RunFileError(f"no running app is called {app!r}; running are {names}")
    hint = "choose one with --url" if app else "choose one with --app"
    raise RunFileError(f"several apps are running: {names}; {hint}")


def _read(path: Path) -> Running | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Running)
    except (FileNotFoundError, msgspec.MsgspecError):  # removed meanwhile, or not ours
        return None


def _ensure(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _check(folder)


def _check(folder: Path) -> None:
    """Refuse a directory that another user could have put there, or could write to."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise RunFileError(f"{folder} must be a directory")
    if found.st_uid != os.getuid():
        raise RunFileError(f"{folder} must belong to user {os.getuid()}, it belongs to {found.st_uid}")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise RunFileError(f"{folder} must be closed to other users (mode 700), its mode is {mode:o}")
