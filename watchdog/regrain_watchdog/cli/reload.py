"""Serve an app and put its source in force whenever it changes: for writing it, not for production.

The server is a child process. An app that is ready is told to update, which loses no request and leaves what it serves
alone where the change cannot be loaded; one that is not, that has ended, or to which no run file leads, is started
again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click

from regrain.errors import RegrainError
from regrain_watchdog.cli import change, runfile
from regrain_watchdog.cli.describe import describe
from regrain_watchdog.front.settings import PREFIX

POLL = 0.5
"""Seconds between two looks at the files."""
SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
Snapshot = dict[Path, tuple[int, int, int]]
"""Time of change (ns), size and inode: two saves within a tick of the clock differ in one of them."""
KEY_FLAG = "--admin-key-file="
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(module: str, flags: Sequence[str]) -> int:
    """Run `regrain run MODULE FLAGS` anew after each change, until signalled; return its last exit code."""
    folder = watched(module)
    for flag in flags:
        if flag.startswith(KEY_FLAG):  # for `update`, which asks the app as any other command does
            os.environ[f"{PREFIX}ADMIN_KEY_FILE"] = flag.removeprefix(KEY_FLAG)
    child = Child([sys.executable, "-m", "regrain_watchdog.cli", "run", module, *flags])
    seen = snapshot(folder)  # before the app reads it, so that no change falls between the two
    with child:
        click.echo(f"regrain: watching {folder} for changes", err=True)
        while not child.signalled.wait(POLL):
            now = snapshot(folder)
            if now != seen:
                again(child, module, changed(seen, now))
                seen = now
            elif child.just_died():
                click.echo("regrain: the app has ended; waiting for a change", err=True)
        return child.wait()


def again(child: Child, module: str, what: str) -> None:
    """Put in force what the app has become, or say why not."""
    ready = _ready(child)
    try:
        if ready is not None:
            click.echo(f"regrain: {what} changed, loading it", err=True)
            change.carry_out(ready.admin, "/update", {}, "loading the code")
            return
        describe(module)
    except RegrainError as error:
        click.echo(f"regrain: {what} changed, the app stays as it was: {error}", err=True)
        return
    click.echo(f"regrain: {what} changed, starting again", err=True)
    child.restart()


def _ready(child: Child) -> runfile.Running | None:
    """Return the app as it can be asked; None while it is not ready, and where run files cannot be trusted."""
    try:
        every = runfile.apps(runfile.directory(os.environ))
    except (OSError, runfile.RunFileError):
        return None
    return next((app for app in every if app.pid == child.pid), None)


class Child:
    """The server's process. Signals that reach this process are passed on to it, as often as they come.

    It has a process group of its own, so that a Ctrl-C reaches it once, through here, and not twice.

    Attributes:
        signalled: set once this process was told to end.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.signalled = threading.Event()
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._told = False

    def __enter__(self) -> Child:
        for number in SIGNALS:
            signal.signal(number, self._pass_on)
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    @property
    def pid(self) -> int:
        """The process, living or not."""
        return self._process.pid if self._process is not None else 0

    def restart(self) -> None:
        """Let the process finish what it has accepted, then start another, unless told to end meanwhile."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        self.wait()
        if not self.signalled.is_set():
            self._start()

    def wait(self) -> int:
        """Wait for the process to end and return its exit code; it bounds its own drain."""
        return self._process.wait() if self._process is not None else 0

    def just_died(self) -> bool:
        """Whether the process has ended by itself; True once per process."""
        dead = self._process is not None and self._process.poll() is not None
        first = dead and not self._told
        self._told = self._told or dead
        return first

    def _start(self) -> None:
        self._told = False
        self._process = subprocess.Popen(self._command, process_group=0)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self.signalled.set()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


def watched(module: str) -> Path:
    """Return the folder that holds a module: the file's own, or this one for a dotted name."""
    where = Path(module.partition(":")[0])
    if where.is_dir():
        return where.resolve()
    return where.resolve().parent if where.suffix == ".py" else Path.cwd()


def snapshot(folder: Path) -> Snapshot:
    """Return what tells a new version of each Python file, but for hidden and library folders."""
    found: Snapshot = {}
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.startswith(".")]
        for name in files:
            if name.endswith(".py"):
                with contextlib.suppress(FileNotFoundError):  # gone between listing and looking
                    about = Path(path, name).stat()
                    found[Path(path, name)] = about.st_mtime_ns, about.st_size, about.st_ino
    return found


def changed(before: Snapshot, after: Snapshot) -> str:
    """Return the names of the files that were written, added or removed."""
    paths = {path for path, _ in before.items() ^ after.items()}
    return ", ".join(sorted({path.name for path in paths}))
