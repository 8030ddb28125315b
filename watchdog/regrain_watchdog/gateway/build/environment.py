"""The Python environment of a handler: its requirements, installed once for all handlers that have the same ones.

A virtual environment beside the gateway's own Python: Regrain and what it needs come from the gateway, so a handler
without further requirements needs no environment of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from regrain_watchdog.gateway import sandbox
from regrain_watchdog.gateway.build.command import Command
from regrain_watchdog.gateway.build.errors import BuildError
from regrain_watchdog.gateway.build.folders import flush, settle, shared
from regrain_watchdog.words import size

REQUIREMENTS = "requirements.txt"
COMPLETE = ".complete"
"""The file in an environment that says that nothing of it is missing."""
MET = "Requirement already satisfied"
WAIT = 0.2
"""Seconds between two looks at whether another build is through with an environment."""
URL = r"(?!\S*\bfile:)[a-z+]+://\S+"
NAME = r"(?![\w.-]*\.(whl|zip|tar|tgz|tbz|txz|tlz|gz|bz2|xz|lz|lzma)(?![\w.-]))\w[\w.-]*"
"""That of a distribution; what ends as an archive does is a file, if there is one."""
FORMS = (
    rf"{NAME}\s*(\[[^]]*\])?\s*(@\s*{URL}(\s.*)?|[<>=!~;(\\].*)?",
    URL,
    rf"(--[a-z-]+|-i)[ =]*{URL}",
    r"--[a-z-]+",
    r"--(only-binary|no-binary|trusted-host|hash)[ =]\S+(\s*\\)?",
)
ELSEWHERE = re.compile("|".join(FORMS), re.IGNORECASE)
"""A line that certainly stands for no file of the handler, which may be another one the next time."""
OURS = re.compile(r"regrain", re.IGNORECASE)

Step = Callable[[Sequence[str], Sequence[str], str], Command]
"""Makes a command of a build: its arguments, the folders it may write, and what it works on."""


def needed(text: str) -> list[str]:
    """Return the lines of requirements.txt that the gateway's own installation does not meet for certain."""
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line and not OURS.fullmatch(line)]


def key(lines: Sequence[str], files: str) -> str:
    """Return what an environment is known by: requirements, Python, and what the gateway's installation holds.

    files: the digest of the handler's files, which counts where a requirement may refer to them.
    """
    digest = hashlib.sha256(f"{sys.version}\n{sys.prefix}\n".encode())
    for place in _places():
        installed = sorted(name for name in os.listdir(place) if name.endswith((".dist-info", ".pth")))
        digest.update("\n".join([place, *installed, ""]).encode())
    digest.update("\n".join(lines).encode())
    if not all(ELSEWHERE.fullmatch(line) for line in lines):
        digest.update(files.encode())
    return digest.hexdigest()[:16]


class Environments:
    """The environments in a folder.

    Args:
        folder: where they are.
        seconds: how long an installation may take, and a build waits for another one's.
        spare: bytes of the disk that an installation leaves free.
    """

    def __init__(self, folder: Path, seconds: float, spare: int = 0) -> None:
        self._folder = folder
        self._seconds = seconds
        self._spare = spare

    @contextmanager
    def locked(self, name: str) -> Iterator[Callable[[], bool]]:
        """Give a function that tries to get an environment for oneself, until the block ends."""
        shared(self._folder)
        descriptor = os.open(self._folder / f"{name}.lock", os.O_CREAT | os.O_RDWR, 0o600)

        def take() -> bool:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        try:
            yield take
        finally:
            os.close(descriptor)

    def prepare(self, app: Path, files: str, step: Step, until: ExitStack) -> Generator[list[str], None, str]:
        """Yield lines until the environment of a handler is there; return its folder, "" for the gateway's own.

        It stays until the stack is closed; an image that is placed by then keeps it.
        """
        path = app / REQUIREMENTS
        lines = needed(path.read_text(errors="replace")) if path.is_file() else []
        if not lines:
            yield ["requirements: none beyond Regrain's own"]
            return ""
        name = key(lines, files)
        yield from self._wait(until.enter_context(self.locked(name)))
        folder = self._folder / name
        if (folder / COMPLETE).exists():
            yield [f"requirements: as installed before ({name})"]
        else:
            yield [f"requirements: installing {', '.join(lines)}"]
            yield from self._install(folder, app, step)
        return str(folder)

    def prune(self, kept: Callable[[], set[str]]) -> None:
        """Remove the environments that are not among those kept and that no build is at work on.

        kept: asked again of one that is free, as a build that has just ended may have placed its image.
        """
        before = kept()
        for folder in self._folder.glob("*/"):
            if str(folder) not in before:
                with self.locked(folder.name) as take:
                    if take() and str(folder) not in kept():
                        shutil.rmtree(folder, ignore_errors=True)

    def _wait(self, take: Callable[[], bool]) -> Iterator[list[str]]:
        deadline = time.monotonic() + self._seconds
        told = False
        while not take():
            if time.monotonic() > deadline:
                raise BuildError(f"another build has been at the same requirements for {self._seconds:g} s")
            yield [] if told else ["requirements: another build is at the same ones; waiting for it"]
            told = True
            time.sleep(WAIT)

    def _install(self, folder: Path, app: Path, step: Step) -> Iterator[list[str]]:
        shutil.rmtree(folder, ignore_errors=True)  # what a build that was cut off has left
        shared(folder)
        try:
            yield from self._finished(
                step([sys.executable, "-m", "venv", "--without-pip", "."], [str(folder)], str(folder))
            )
            _link(folder)
            pip = [sys.executable, "-m", "pip", "--python", sandbox.python(str(folder)), "install"]
            options = ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "-r", REQUIREMENTS]
            yield from self._finished(step([*pip, *options], [str(folder), str(app)], str(app)))
            settle(folder)  # builds have one user, and functions run what is in here
            flush(folder)  # a loss of power leaves no environment that looks complete and is not
            (folder / COMPLETE).touch(exist_ok=False)  # a link that a package has left there is not followed
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _finished(self, command: Command) -> Iterator[list[str]]:
        """Yield a command's lines; BuildError with what it said is wrong if it fails, or fills the disk."""
        with closing(command.run("installing the requirements")) as running:
            for lines in running:
                yield [line for line in lines if not line.startswith(MET)]
                if shutil.disk_usage(self._folder).free < self._spare:
                    raise BuildError(
                        f"installing the requirements leaves less than {size(self._spare)} of the disk"
                    )
        if command.code:
            errors = [line for line in command.lines if line.startswith("ERROR: ")] or command.lines
            last = errors[-1].removeprefix("ERROR: ") if errors else f"exit code {command.code}"
            raise BuildError(f"the requirements could not be installed: {last}")


def _link(folder: Path) -> None:
    """Have an environment find behind its own packages those of the gateway's Python."""
    [packages] = folder.glob("lib/python*/site-packages")
    lines = [f"import site; site.addsitedir({place!r})" for place in _places()]
    (packages / "gateway.pth").write_text("\n".join([*lines, ""]))


def _places() -> list[str]:
    return [place for place in sandbox.installation() if place.endswith(("site-packages", "dist-packages"))]
