"""`regrain doctor`: what this machine offers, and what follows from it for Regrain.

Each line is a fact and its consequence. Libraries are looked up by their metadata, and torch and the GPU's driver are
asked in processes of their own, so that nothing heavy is imported here and CUDA never begins in this process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import click
import msgspec
from msgspec import Struct

from regrain_watchdog.cli.machine import CHECKS, TIMEOUT, Finding
from regrain_watchdog.cli.progress import working
from regrain_watchdog.cli.tables import show, table

ASK = [sys.executable, "-m", "regrain_runtime", "gpu"]


class Claims(Struct, frozen=True):
    """What a way of sharing GPUs claims, as regrain_runtime tells it (docs/gpu-backends.md)."""

    name: str
    shares: str
    concurrent: bool
    disjoint: bool
    reserves: str
    hard_memory: bool
    fault_isolated: bool
    bandwidth_isolated: bool
    resize: str
    unit: str
    verified: str


class Row(Struct, frozen=True):
    """A way of sharing GPUs, and why it does not work here; "" if it does."""

    capability: Claims
    obstacle: str


class _Report(Struct, frozen=True):
    backends: list[Row]


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(*, as_json: bool) -> int:
    """Show what this machine offers, and what follows from it.

    The table shows what each way of sharing a GPU claims, and whether it was verified on hardware.
    Exit code 1 where something is missing without which Regrain does not run.

    \b
    Examples:
      regrain doctor
      regrain doctor --json | jq '.[] | select(.ok | not)'
    """  # noqa: D301
    findings = []
    for check in CHECKS:
        with working("looking at this machine"):
            found = list(check())
        findings += found
        if not as_json:
            for finding in found:
                click.echo(line(finding))
    with working("looking at this machine"):
        rows = backends()
    findings += [told(row) for row in rows]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(rows)
    return 0 if all(finding.ok or not finding.required for finding in findings) else 1


def line(finding: Finding) -> str:
    """Return a finding as a line: its mark, its subject, what was found and what follows."""
    mark, colour = ("ok", "green") if finding.ok else ("missing", "red" if finding.required else "yellow")
    follows = f"  ({finding.follows})" if finding.follows else ""
    return f"{click.style(f'{mark:<8}', fg=colour)}{finding.subject:<13}{finding.found}{follows}"


def backends() -> list[Row]:
    """Return the ways of sharing GPUs; none if they cannot be asked."""
    try:
        done = subprocess.run(ASK, capture_output=True, timeout=TIMEOUT, check=True)
        return msgspec.json.decode(done.stdout, type=_Report).backends
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return []


def told(row: Row) -> Finding:
    """Return a way of sharing GPUs as a finding."""
    claims = [f"{claim} {value}" for claim, value in _claims(row.capability)]
    found = f"{row.capability.shares}: {', '.join(claims)}"
    return Finding(
        subject=f"gpu {row.capability.name}", ok=not row.obstacle, found=found, follows=row.obstacle
    )


def _claims(claims: Claims) -> list[tuple[str, str]]:
    """Return each claim in words, with its value."""
    return [
        ("concurrent", _word(claims.concurrent)),
        ("disjoint SMs", _word(claims.disjoint)),
        ("reserves", claims.reserves),
        ("hard memory limit", _word(claims.hard_memory)),
        ("faults isolated", _word(claims.fault_isolated)),
        ("bandwidth isolated", _word(claims.bandwidth_isolated)),
        ("resize", claims.resize),
        ("verified on hardware", claims.verified or "no"),
    ]


def _show(rows: list[Row]) -> None:
    """Print the ways of sharing GPUs, one column each, and why some do not work here."""
    if not rows:
        return
    made = table("sharing a GPU", *(row.capability.name for row in rows))
    for lines in zip(*(_claims(row.capability) for row in rows), strict=True):
        made.add_row(lines[0][0], *(value for _, value in lines))
    made.add_row("works here", *(_word(not row.obstacle) for row in rows))
    click.echo()
    show(made)
    for row in rows:
        if row.obstacle:
            click.echo(f"{row.capability.name}: {row.obstacle}")


def _word(claim: bool) -> str:
    return "yes" if claim else "no"
