"""Where log records go: to stderr, above a live line if there is one."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from pathlib import Path
from typing import TextIO

import click

from regrain.lines import formatter

UNHEARD = (OSError, ValueError)
"""What writing raises that fails."""
GONE = (errno.EPIPE, errno.EIO, errno.EBADF)
"""Errors of a stream that nobody reads any more, or that is closed; others may pass."""


class Echo(logging.Handler):
    """Writes to what sys.stderr is at the time, which a live line redirects to the lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            click.echo(self.format(record), err=True)
        except UNHEARD as error:  # there is nowhere left to say so
            if is_gone(sys.stderr, error):
                self.setLevel(logging.CRITICAL + 1)
                hush(sys.stderr)


def is_gone(stream: TextIO, error: OSError | ValueError) -> bool:
    """Say whether a stream that could not be written to never can be again; if not, one line alone is lost."""
    return stream.closed or (isinstance(error, OSError) and error.errno in GONE)


def hush(stream: TextIO) -> None:
    """Have what is written to a stream go nowhere from here on.

    What its buffer holds would be written once more as the process ends, whose exit code would tell of that.
    """
    with contextlib.suppress(*UNHEARD), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


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
