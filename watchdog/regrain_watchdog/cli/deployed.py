"""What `regrain status --platform` shows: the functions of a platform."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec
from rich.table import Table

from regrain_watchdog.cli import tables
from regrain_watchdog.cli import where as place
from regrain_watchdog.cli.where import Where
from regrain_watchdog.platforms.function import Standing


def show(where: Where, name: str, *, as_json: bool) -> None:
    """Print how a platform's functions do, or the one of a name."""
    with place.opened(where) as platform:
        found = [platform.standing(name)] if name else platform.standings()
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    if not found:
        click.echo("no functions")
        return
    tables.show(_table(found))
    for standing in found:
        if standing.detail:
            click.echo(f"{standing.name}: {standing.detail}")


def _table(standings: Sequence[Standing]) -> Table:
    table = tables.table("function", "state", "replicas", "image", "address", whole=("address",))
    for one in standings:
        table.add_row(one.name, one.state, f"{one.available} of {one.replicas}", one.image, one.url)
    return table
