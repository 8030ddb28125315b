"""`regrain update`: the next version of a running app's code, without losing a request."""

from __future__ import annotations

import click

from regrain_watchdog.cli import admin, change


@click.command("update")
@admin.target
def command(*, url: str, app: str) -> None:
    """Serve an app's code as it is on disk now.

    Code that does not load, or whose sample fails, leaves the version in force as it is.

    \b
    Examples:
      regrain update
      regrain update --app ocr
    """  # noqa: D301
    change.carry_out(admin.address(url, app), "/update", {}, "loading the code")
