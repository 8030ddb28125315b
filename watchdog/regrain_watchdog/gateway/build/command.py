"""Run a step of a build: its lines as they come, a bound on its time, and no process of it left behind."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import IO

from regrain_watchdog.gateway.build.errors import BuildError

BEAT = 2.0
"""Seconds without a line after which an empty one says that the build goes on; so a client that is gone is noticed."""
END = 10.0
"""Seconds that a process has to end once it has closed its output."""
LINE = 2000
"""Characters of a line at most."""
LINES = 5000
"""Lines of a step at most; the rest is left out."""
READ = 1 << 16

Lines = Generator[list[str], None, None]


class Command:
    """One process of a build and its children.

    Attributes:
        lines: what it wrote last, for a failure to quote.
        code: its exit code once it has ended.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        seconds: float,
        output: IO[bytes] | None = None,
    ) -> None:
        self.lines: list[str] = []
        self.code = 0
        self._arguments = arguments
        self._environment = environment
        self._folder = folder
        self._seconds = seconds
        self._output = output
        self._rest = b""

    def run(self, what: str) -> Lines:
        """Yield its lines until it ends. BuildError if that takes too long; closing the iterator ends it at once.

        Standard output is among them unless it goes to a file.
        """
        process = subprocess.Popen(
            self._arguments,
            stdin=subprocess.DEVNULL,
            stdout=self._output or subprocess.PIPE,
            stderr=subprocess.PIPE if self._output else subprocess.STDOUT,
            env=dict(self._environment),
            cwd=self._folder,
            start_new_session=True,
        )
        pipe = process.stderr if self._output else process.stdout
        assert pipe is not None
        try:
            yield from self._read(pipe, what)
            self.code = process.wait(END)
        except subprocess.TimeoutExpired as error:
            raise BuildError(f"{what} closed its output and went on") from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started goes with it
            process.wait()
            pipe.close()

    def _read(self, pipe: IO[bytes], what: str) -> Lines:
        deadline = time.monotonic() + self._seconds
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise BuildError(f"{what} took more than {self._seconds:g} s")
                if not selector.select(min(BEAT, left)):
                    yield []
                    continue
                data = os.read(pipe.fileno(), READ)
                yield self._take(data, last=not data)
                if not data:
                    return

    def _take(self, data: bytes, *, last: bool) -> list[str]:
        """Return the lines that are whole now, within what is kept of a step's output."""
        pieces = (self._rest + data).split(b"\n")
        self._rest = b"" if last else pieces.pop()[-READ:]
        found = [piece.decode(errors="replace").rstrip()[:LINE] for piece in pieces]
        found = [line for line in found if line]
        kept = found[: LINES - len(self.lines)]
        if kept and len(self.lines) + len(kept) == LINES:
            kept[-1] = "(more is left out)"
        self.lines += kept
        return kept
