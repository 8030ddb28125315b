"""Have a running app change, and say in one line how it went; what the verbs that change something share."""

from __future__ import annotations

from collections.abc import Mapping

import click
from msgspec import Struct

from regrain_watchdog.cli import admin
from regrain_watchdog.cli.admin import AdminError, Status
from regrain_watchdog.cli.progress import working
from regrain_watchdog.words import duration

TIMEOUT = 3600.0
"""Seconds that a change may take: the app bounds it by its start_timeout, so this only catches a stopped process."""


class Changed(Struct, frozen=True, kw_only=True):
    """How a change went; `seconds` until it was in force."""

    old: str
    new: str
    seconds: float


def carry_out(base: str, path: str, wanted: Mapping[str, object], what: str) -> None:
    """Post what is wanted and wait until it is in force; SpecError or AdminError says why it is not."""
    with working(what):
        changed = admin.post(base, path, wanted, Changed, TIMEOUT)
    click.echo(f"in force after {duration(changed.seconds)}: {changed.new}, was {changed.old}")


def remark(base: str) -> None:
    """Say that what was put in force may not last, where a controller chooses the plan."""
    try:
        status = admin.get(base, "/status", Status)
    except AdminError:  # the change itself was made
        return
    if status.epoch:
        chooses = "assigns this pod its groups, and may change them again; its --plan FILE keeps a plan"
    elif status.adapting is not None and not status.held:
        chooses = "chooses the plan and may change it again; `regrain grain set GRAIN --hold` keeps one"
    else:
        return
    click.echo(f"note: a controller {chooses}", err=True)
