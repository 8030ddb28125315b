"""`regrain scale`: more or fewer replicas of a group, without losing a request."""

from __future__ import annotations

import click

from regrain.errors import SpecError
from regrain_watchdog.cli import admin, change


@click.command("scale")
@click.argument("wanted", metavar="GROUP=N")
@admin.target
def command(*, wanted: str, url: str, app: str) -> None:
    """Give a group of a running app another number of replicas.

    GROUP is a group's name, or that of a stage in it.

    \b
    Examples:
      regrain scale crop=3
      regrain scale decode+detect=2
    """  # noqa: D301
    group, replicas = parse(wanted)
    sent = {"group": group, "replicas": replicas}
    base = admin.address(url, app)
    change.carry_out(base, "/scale", sent, f"scaling {group} to {replicas}")
    change.remark(base)


def parse(wanted: str) -> tuple[str, int]:
    """Return the group and the number that "crop=3" means; SpecError if it means none."""
    group, _, number = (part.strip() for part in wanted.partition("="))
    if not group or not number.isascii() or not number.isdigit():
        raise SpecError(f"GROUP=N is wanted, such as crop=3; was {wanted!r}")
    return group, int(number)
