"""`regrain doctor`: what this machine offers, and what follows from it for Regrain.

Each line is a fact and its consequence. Libraries are looked up by their metadata, and torch is asked about
CUDA in a process of its own, so that nothing heavy is imported here.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from regrain_watchdog.cli.machine import CHECKS, Finding
from regrain_watchdog.cli.progress import working


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(*, as_json: bool) -> int:
    """Show what this machine offers, and what follows from it.

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
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    return 0 if all(finding.ok or not finding.required for finding in findings) else 1


def line(finding: Finding) -> str:
    """Return a finding as a line: its mark, its subject, what was found and what follows."""
    mark, colour = ("ok", "green") if finding.ok else ("missing", "red" if finding.required else "yellow")
    follows = f"  ({finding.follows})" if finding.follows else ""
    return f"{click.style(f'{mark:<8}', fg=colour)}{finding.subject:<13}{finding.found}{follows}"
