"""`regrain status`: what a running app or the functions of a platform are doing, for people or as JSON."""

from __future__ import annotations

import click
from rich.table import Table

from regrain_watchdog.cli import admin, deployed, tables
from regrain_watchdog.cli import where as place
from regrain_watchdog.cli import why as reasons
from regrain_watchdog.cli.admin import Status
from regrain_watchdog.cli.where import Where
from regrain_watchdog.words import age, duration, share


@click.command("status")
@admin.target
@click.option("--json", "as_json", is_flag=True, help="Print what the admin API answers.")
@click.option("--why", is_flag=True, help="Tell why this plan rules, and what it would take to change it.")
@place.options("")
def command(*, url: str, app: str, as_json: bool, why: bool, **given: str) -> None:
    """Show what a running app is doing, or with --platform the functions there.

    \b
    Examples:
      regrain status
      regrain status --app ocr
      regrain status --why
      regrain status --json | jq .load.p95
      REGRAIN_URL=http://127.0.0.1:8082 regrain status
      regrain status --platform openfaas --app ocr
    """  # noqa: D301
    where = Where(**given)
    if where.platform:
        deployed.show(where, app, as_json=as_json)
        return
    base = admin.address(url, app)
    if as_json:
        click.echo(admin.fetch(base, "/why" if why else "/status").decode().rstrip())
        return
    if why:
        told = admin.get(base, "/why", reasons.Why)
        status = admin.get(base, "/status", Status)
        for line in (*reasons.lines(told), *trouble(status)):
            click.echo(line)
        table = reasons.candidates(told)
        if table is not None:
            tables.show(table)
        return
    status = admin.get(base, "/status", Status)
    for line in summary(status):
        click.echo(line)
    tables.show(groups(status))


def summary(status: Status) -> list[str]:
    """Return what is to be said of an app as a whole, line by line."""
    load = status.load
    ports = ", ".join(f"{name} {port}" for name, port in status.ports.items() if port)
    lines = [
        f"{status.app} {status.version}".rstrip()
        + f"  {status.state}, up {age(status.uptime)}, pid {status.pid}",
        f"grain    {status.grain}",
        f"load     {load.requests} requests in the last {age(load.window)}, {load.rate:.1f}/s",
        f"latency  p50 {duration(load.p50)}, p95 {duration(load.p95)}, p99 {duration(load.p99)}",
    ]
    if status.slo:
        objective = f"{share(status.slo.attainment)} within {duration(status.slo.latency)}"
        lines.append(f"hit rate {share(load.hit_rate)}, objective {objective}")
    if ports:
        lines.append(f"ports    {ports}")
    if status.adapting is not None:
        held = ", held by an operator" if status.held else ""
        by = f"by {status.adapting.predictor}, " if status.adapting.predictor else ""
        lines.append(f"adapts   {by}{status.adapting.number} decisions so far{held}")
    return [*lines, *(f"warning  {warning}" for warning in status.warnings), *trouble(status)]


def trouble(status: Status) -> list[str]:
    """Return that nobody decides on the plan at the moment, and why, where that is so."""
    told = status.adapting.trouble if status.adapting is not None else ""
    return [f"warning  {told}"] if told else []


def groups(status: Status) -> Table:
    """Return the groups as a table."""
    table = tables.table("group", "replicas", "queue", "batch")
    for group in status.groups:
        states: dict[str, int] = {}
        for replica in group.replicas:
            state = "guest" if replica.guest else replica.state
            states[state] = states.get(state, 0) + 1
        replicas = ", ".join(f"{count} {state}" for state, count in states.items()) or "none"
        replicas += f", {group.state}" if group.state else ""
        wait = f", {duration(group.max_wait)}" if group.max_wait else ""
        table.add_row(group.name, replicas, str(group.queue), f"≤ {group.max_size}{wait}")
        for lane in group.lanes:
            table.add_row(f"  {lane.stage}", "", str(lane.queue), f"≤ {lane.max_size}")
    return table
