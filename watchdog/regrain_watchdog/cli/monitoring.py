"""`regrain monitoring`: write what watches a deployed app, for Prometheus and Grafana."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from regrain.errors import SpecError
from regrain_watchdog.cli.describe import describe
from regrain_watchdog.platforms.function import label
from regrain_watchdog.platforms.monitoring.dashboard import dashboard
from regrain_watchdog.platforms.monitoring.rules import groups
from regrain_watchdog.platforms.monitoring.scrape import job


@click.command("monitoring")
@click.argument("app", default=".")
@click.option("--name", default="", help="Of the function, if not the app's.")
@click.option(
    "-o",
    "--output",
    "--out",
    "out",
    default="monitoring",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder.",
)
def command(*, app: str, name: str, out: Path) -> None:
    """Write what watches a deployed app, for Prometheus and Grafana.

    Files of these names are overwritten: scrape.yaml, rules.yaml, dashboard.json.

    \b
    Examples:
      regrain monitoring app.py
      regrain monitoring app.py --name ocr --out deploy/monitoring
    """  # noqa: D301
    manifest = describe(app)
    function = label("name", name or manifest.app)
    if manifest.slo is None:
        raise SpecError(
            f"{manifest.app} has no objective to be held against: App(slo=SLO(latency=..., attainment=...))"
        )
    attainment = manifest.slo.attainment
    out.mkdir(parents=True, exist_ok=True)
    for file, content in {
        "scrape.yaml": msgspec.yaml.encode(job()),
        "rules.yaml": msgspec.yaml.encode(groups(function, attainment)),
        "dashboard.json": msgspec.json.format(msgspec.json.encode(dashboard(function, attainment))) + b"\n",
    }.items():
        (out / file).write_bytes(content)
        click.echo(out / file)
