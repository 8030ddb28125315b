"""`regrain slow`: the last requests that missed, and where the time of one of them went."""

from __future__ import annotations

import time
from urllib.parse import quote

import click
from rich.table import Table

from regrain_watchdog.cli import admin, tables
from regrain_watchdog.cli.admin import Miss, Span
from regrain_watchdog.front.measure import MISSES_KEPT
from regrain_watchdog.words import age, duration

BAR = 30
"""Characters of the longest bar."""


@click.command("slow")
@click.argument("call_id", default="")
@click.option(
    "--limit",
    type=click.IntRange(1, MISSES_KEPT),
    default=20,
    show_default=True,
    help="How many, newest first.",
)
@admin.target
def command(*, call_id: str, limit: int, url: str, app: str) -> None:
    """Show the last requests that missed, stage by stage.

    CALL_ID is what the response header X-Call-Id says; with it, that request alone is shown.

    \b
    Examples:
      regrain slow
      regrain slow --limit 5
      regrain slow 0f6c2a
    """  # noqa: D301
    base = admin.address(url, app)
    if call_id:
        miss = admin.get(base, f"/slow/{quote(call_id, safe='')}", Miss)
        click.echo(headline(miss))
        tables.show(stages(miss))
        return
    misses = admin.get(base, f"/slow?limit={limit}", list[Miss])
    if misses:
        tables.show(overview(misses, time.time()))
    else:
        click.echo("no request has missed")


def headline(miss: Miss) -> str:
    """Return a miss in one line."""
    objective = f", objective {duration(miss.slo)}" if miss.slo else ""
    return f"{miss.call_id}  {miss.status} {miss.reason}".rstrip() + f"  {duration(miss.seconds)}{objective}"


def overview(misses: list[Miss], now: float) -> Table:
    """Return misses as a table; `now` in unix seconds."""
    table = tables.table("call", "ago", "status", "why", "took", "objective", "mostly", whole=("call",))
    for miss in misses:
        longest = max(miss.spans, key=lambda span: span.seconds, default=None)
        mostly = f"{label(longest)} {duration(longest.seconds)}" if longest else "-"
        ago = age(now - miss.at)
        table.add_row(
            miss.call_id,
            ago,
            str(miss.status),
            miss.reason,
            duration(miss.seconds),
            duration(miss.slo),
            mostly,
        )
    return table


def stages(miss: Miss) -> Table:
    """Return a miss stage by stage, in the order in which it went through them."""
    longest = max((span.seconds for span in miss.spans), default=0.0) or 1.0
    table = tables.table("stage", "took", "batch", "")
    for span in miss.spans:
        batch = str(span.batch) if span.kind == "service" else ""
        bar = "█" * round(BAR * span.seconds / longest)
        table.add_row(label(span), duration(span.seconds), batch, bar)
    return table


def label(span: Span) -> str:
    """Return what a span is: a stage's service, or a group's queue or hop."""
    if span.stage:
        return span.stage
    return f"{'queue' if span.kind == 'wait' else span.kind} of {span.group}"
