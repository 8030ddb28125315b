"""How a load goes while it goes: one live line on a terminal, a line every ten seconds anywhere else."""

from __future__ import annotations

import sys
import time
from collections import Counter
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from regrain_watchdog.front.window import Window
from regrain_watchdog.load.report import JUDGED, OUTCOMES
from regrain_watchdog.words import duration, share

PLAIN_EVERY, LIVE_EVERY = 10.0, 0.2
"""Seconds between two lines, and between two looks of a live one."""
LOOK_BACK = 10
"""Seconds that hit rate and latency are of."""


class LoadLine:
    """Shows how a load goes.

    Args:
        seconds: that it lasts.
        requests: that it has.
    """

    def __init__(self, seconds: float, requests: int) -> None:
        self._seconds = seconds
        self._requests = requests
        self._window = Window(LOOK_BACK)
        self._ends: Counter[str] = Counter()
        self._begin = self._shown = time.monotonic()
        self._progress: Progress | None = None
        if sys.stderr.isatty():
            columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task("", total=seconds)

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def add(self, outcome: str, latency: float) -> None:
        """Count a request that is over."""
        now = time.monotonic()
        self._ends[outcome] += 1
        hit = outcome == "hit" if outcome in OUTCOMES[:JUDGED] else None
        self._window.add(latency, hit=hit, now=now)
        if now - self._shown >= (PLAIN_EVERY if self._progress is None else LIVE_EVERY):
            self._shown = now
            self._show(now)

    def _show(self, now: float) -> None:
        lately = self._window.summary(now)
        misses = ", ".join(f"{count} {name}" for name, count in self._ends.items() if name != "hit")
        text = (
            f"{self._ends.total()} of {self._requests}, {lately.rate:.0f}/s, hit rate {share(lately.hit_rate)}, "
            f"p95 {duration(lately.p95)}" + (f"; {misses}" if misses else "")
        )
        if self._progress is None:
            click.echo(text, err=True)
        else:
            self._progress.update(
                self._task, completed=min(now - self._begin, self._seconds), description=text
            )
