"""`regrain grain`: the grain of a running app, and another one in force without losing a request."""

from __future__ import annotations

import time

import click
from msgspec import Struct
from rich.table import Table

from regrain_watchdog.cli import admin, change, tables
from regrain_watchdog.cli.admin import Status
from regrain_watchdog.words import age, duration, size


@click.group("grain")
def command() -> None:
    """Show a running app's grain, or put another one in force.

    \b
    Examples:
      regrain grain show
      regrain grain set fine
      regrain grain set "decode+detect | crop" --replicas crop=2
      regrain grain auto
    """  # noqa: D301


@command.command("show")
@admin.target
def show(*, url: str, app: str) -> None:
    """Show the grain in force and the last changes.

    \b
    Examples:
      regrain grain show
      regrain grain show --app ocr
    """  # noqa: D301
    status = admin.get(admin.address(url, app), "/status", Status)
    click.echo(status.grain + (", held" if status.held else ""))
    tables.show(loaded(status))
    if status.transitions:
        tables.show(changes(status, time.time()))


@command.command("set")
@click.argument("grain")
@click.option(
    "--replicas",
    default="",
    metavar="VALUE",
    help='Processes per group, such as "2" or "decode=1,crop=2". [default: as the app was started with]',
)
@click.option("--hold", "holds", is_flag=True, help="Let no controller change it until `regrain grain auto`.")
@admin.target
def put(*, grain: str, replicas: str, holds: bool, url: str, app: str) -> None:
    """Put another grain in force; the old one serves until the new one is warm.

    GRAIN is "fine", "coarse", or groups such as "decode+detect | crop".

    \b
    Examples:
      regrain grain set coarse
      regrain grain set "decode+detect | crop" --replicas decode=1,crop=2
      regrain grain set fine --hold
    """  # noqa: D301
    wanted = {"grain": grain, "replicas": replicas, "hold": holds}
    base = admin.address(url, app)
    change.carry_out(base, "/grain", wanted, f"changing to {grain}")
    change.remark(base)


@command.command("auto")
@admin.target
def auto(*, url: str, app: str) -> None:
    """Leave the grain to the controller again, after `set --hold`.

    \b
    Examples:
      regrain grain auto
    """  # noqa: D301
    held = admin.post(admin.address(url, app), "/auto", {}, Held, change.TIMEOUT)
    if held.controller:
        click.echo("the controller chooses the grain again")
    else:
        click.echo("the grain is not held any more; no controller runs, so it stays until another is set")


class Held(Struct, frozen=True):
    """What the app answers: whether the grain is held, and whether a controller runs."""

    held: bool
    controller: bool


def loaded(status: Status) -> Table:
    """Return what the replicas have loaded as a table."""
    table = tables.table("group", "pid", "state", "loaded", "own memory")
    for group in status.groups:
        for replica in group.replicas:
            state = f"{replica.state}, stands in" if replica.guest else replica.state
            table.add_row(
                group.name, str(replica.pid), state, ", ".join(replica.resident), size(replica.memory)
            )
    return table


def changes(status: Status, now: float) -> Table:
    """Return the last changes as a table, newest first; `now` in unix seconds."""
    table = tables.table("begun", "by", "from", "to", "state", "took", "why")
    for one in status.transitions:
        took = duration(one.seconds or None)
        table.add_row(
            f"{age(now - one.at)} ago", one.by or "-", one.old, one.new, one.state, took, one.detail
        )
    return table
