"""What `regrain run` shows while it serves: one live line on a terminal, plain lines anywhere else.

Where nobody reads any more, nothing is shown: an app serves on, and finishes what it has accepted, whoever looks at it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol

import click

from regrain_watchdog.cli import logs
from regrain_watchdog.cli.admin import Status
from regrain_watchdog.cli.progress import PATIENCE
from regrain_watchdog.words import age, duration, share


class View(Protocol):
    """Shows what happens to an app."""

    def say(self, text: str) -> None:
        """Show a line that stays."""

    def show(self, status: Status) -> None:
        """Show how the app does now."""


class Plain:
    """Lines on stdout, for logs and pipes: what is said, and what a start that takes its time waits for.

    Args:
        write: takes a line.
    """

    def __init__(self, write: Callable[[str], None] = click.echo) -> None:
        self._write = write
        self._waits = ""

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was held."""

    def say(self, text: str) -> None:
        """Write a line."""
        with _unheard():
            self._write(text)

    def show(self, status: Status) -> None:
        """Say what a slow start waits for, and a crash loop, once; the numbers are left to the metrics."""
        waits = status.warnings[0] if status.state in ("starting", "crash-loop") and status.warnings else ""
        if waits not in ("", self._waits) and status.uptime > PATIENCE:
            self._waits = waits
            self.say(f"regrain: {waits}")


class Live:
    """A line at the foot of the terminal that is drawn anew with each `show`; logs scroll above it."""

    def __init__(self) -> None:
        from rich.live import Live as Region  # noqa: PLC0415 - a front without a terminal needs none of rich
        from rich.text import Text  # noqa: PLC0415

        self._text = Text
        self._line = Text()
        self._region = Region(auto_refresh=False, transient=True)

    def __enter__(self) -> Live:
        with _unheard():
            self._region.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _unheard():
            self._region.stop()

    def say(self, text: str) -> None:
        """Print a line above."""
        with _unheard():
            self._region.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, status: Status) -> None:
        """Draw the line anew."""
        style = {"ready": "green", "starting": "yellow"}.get(status.state, "red")
        line = self._text(no_wrap=True, overflow="ellipsis")
        line.append(f" {status.state} ", style=f"reverse {style}")
        line.append("  " + "  ".join(parts(status)))
        if line != self._line:
            self._line = line
            with _unheard():
                self._region.update(line, refresh=True)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Let go what cannot be shown, and once nobody can read any more all that would be from here on."""
    try:
        yield
    except logs.UNHEARD as error:
        if logs.is_gone(sys.stdout, error):
            logs.hush(sys.stdout)


def parts(status: Status) -> list[str]:
    """Return what the live line says after the state."""
    load = status.load
    replicas = [replica for group in status.groups for replica in group.replicas if not replica.guest]
    if status.state == "starting":
        return [status.app, f"{age(status.uptime)}", *status.warnings[:1]]
    ready = sum(replica.state == "ready" for replica in replicas)
    return [
        status.app,
        f"{load.rate:.1f}/s",
        f"p50 {duration(load.p50)}  p95 {duration(load.p95)}  p99 {duration(load.p99)}",
        f"hit rate {share(load.hit_rate)}",
        f"replicas {ready}/{len(replicas)}",
        *([f"waiting {waiting}"] if (waiting := sum(group.queue for group in status.groups)) else []),
        f"grain {status.grain}",  # last: a narrow terminal cuts it off first
    ]
