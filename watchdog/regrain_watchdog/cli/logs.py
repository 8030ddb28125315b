"""Where log records go: to stderr, above a live line if there is one."""

from __future__ import annotations

import logging

import click

from regrain.lines import formatter


class Echo(logging.Handler):
    """Writes to what sys.stderr is at the time, which a live line redirects to the lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            click.echo(self.format(record), err=True)
        except (OSError, ValueError):  # stderr is closed: there is nowhere left to say so
            self.setLevel(logging.CRITICAL + 1)


def configure(level: str, form: str) -> None:
    """Send this process' records to stderr; `form` is "text" or "json"."""
    handler = Echo()
    handler.setFormatter(formatter(form))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
