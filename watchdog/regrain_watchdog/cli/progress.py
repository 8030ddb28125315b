"""Say that something is under way where it may take longer than a user waits without asking.

A terminal gets a spinner at once and nothing of it stays; anything else gets one plain line, and only if it
took longer than two seconds. Both go to stderr, so stdout holds nothing but the answer.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

import click

PATIENCE = 2.0
"""Seconds that something may take unannounced."""


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Announce `what` ("reading app.py") while the block runs."""
    if sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415 - costs 60 ms, and only a terminal needs it

        with Console(stderr=True).status(f"{what} ..."):
            yield
        return
    timer = threading.Timer(PATIENCE, click.echo, (f"{what} ...",), {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
