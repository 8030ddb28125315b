"""`regrain rollback`: back to the version before, without losing a request."""

from __future__ import annotations

import click

from regrain_watchdog.cli import admin, change


@click.command("rollback")
@admin.target
def command(*, url: str, app: str) -> None:
    """Serve the version before this one again.

    It is kept in memory, so that nothing is read from disk. Once more brings the newer one back.

    \b
    Examples:
      regrain rollback
      regrain rollback --app ocr
    """  # noqa: D301
    change.carry_out(admin.address(url, app), "/rollback", {}, "going back")
