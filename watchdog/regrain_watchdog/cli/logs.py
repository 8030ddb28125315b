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


def configure(level: str, form: str, access: str = "off") -> None:
    """Send this process' records to stderr; `form` is "text" or "json", and so is the access log's if not "off"."""
    logging.basicConfig(level=level.upper(), handlers=[_echo(form)], force=True)
    if access != "off":  # whatever the level: who asks for it wants every line
        requests = logging.getLogger("regrain.access")
        requests.handlers = [_echo(access)]
        requests.setLevel(logging.INFO)
        requests.propagate = False


def _echo(form: str) -> Echo:
    handler = Echo()
    handler.setFormatter(formatter(form))
    return handler
