"""`regrain resident`: which stages the replicas of a running app keep loaded."""

from __future__ import annotations

import click
from msgspec import Struct

from regrain_watchdog.cli import admin, change
from regrain_watchdog.cli.progress import working
from regrain_watchdog.words import size


class Kept(Struct, frozen=True):
    """What the app answers: the setting in force, and the bytes that replicas gave back for it."""

    resident: str
    freed: int


@click.command("resident")
@click.argument("stages")
@admin.target
def command(*, stages: str, url: str, app: str) -> None:
    """Choose which stages the replicas of a running app keep loaded.

    STAGES is "plan" (those of the replica's group), "all", or stages such as "detect,recognise" that are kept beside
    the group's. A change of grain among loaded stages is in force at once and starts no process. Replicas load one
    after the other, and a replica serves nobody meanwhile.

    \b
    Examples:
      regrain resident all
      regrain resident detect,recognise
      regrain resident plan
    """  # noqa: D301
    with working(f"loading {stages}"):
        kept = admin.post(admin.address(url, app), "/resident", {"stages": stages}, Kept, change.TIMEOUT)
    given_back = f", {size(kept.freed)} given back" if kept.freed else ""
    click.echo(f"replicas keep {kept.resident}{given_back}")
