"""`regrain load`: send a load at the times that it says, and report hit rate, latencies and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import click
from click.core import ParameterSource

from regrain.errors import SpecError
from regrain.units import parse_seconds
from regrain_watchdog.cli import admin, reports
from regrain_watchdog.cli.course import Course, Wanted, from_options, from_scenario
from regrain_watchdog.cli.durations import above_zero
from regrain_watchdog.cli.loading import live
from regrain_watchdog.load.drive import Limits
from regrain_watchdog.simulate import scenario as scenarios


@click.command("load")
@click.argument("target", default="", metavar="[URL]")
@click.option(
    "--scenario", type=click.Path(dir_okay=False, path_type=Path), help="A scenario file (docs/load.md)."
)
@click.option(
    "--rate", type=float, default=10.0, show_default=True, help="Requests a second in the mean (Poisson)."
)
@click.option("--duration", default="30s", show_default=True, help="How long requests arrive.")
@click.option("--body", help="What to send: text or JSON, @file, or - for standard input.")
@click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter, as regrain invoke has it."
)
@click.option("--sample", is_flag=True, help="Send the app's own sample.")
@click.option("--type", "content_type", default="", help="Content type of the body; guessed by default.")
@click.option("--slo", default="", help="Latency that counts as a hit; the app's own by default.")
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=scenarios.SEEDS - 1),
    default=1,
    show_default=True,
    help="Equal seeds, equal arrivals.",
)
@click.option(
    "--connections", type=click.IntRange(min=1), default=1000, show_default=True, help="At once at most."
)
@click.option("--timeout", default="30s", show_default=True, help="How long an answer may take.")
@reports.outputs
@click.option("--fail-under", type=click.FloatRange(0, 1), help="Exit 1 if an app's hit rate is below.")
@admin.target
def command(
    *,
    target: str,
    scenario: Path | None,
    connections: int,
    timeout: str,
    files: tuple[Path, ...],
    against: Path | None,
    fail_under: float | None,
    url: str,
    app: str,
    **wanted: Unpack[Wanted],
) -> int:
    """Send a load to a running app at the times that it says, and report what came of it.

    URL is where the app is served; without it, the app that runs here. Requests are sent whether or not earlier ones
    have been answered, and latency counts from the intended arrival.

    \b
    Examples:
      regrain load --sample --rate 50 --duration 1m
      regrain load http://127.0.0.1:8080/ --body @page.png --slo 800ms -o report.html
      regrain load --scenario day.toml -o live.json --against simulated.json -o both.html
      regrain load --sample --rate 20 --fail-under 0.95
    """  # noqa: D301
    reports.check_files(files)
    other = reports.read_other(against)
    limits = Limits(
        connections=connections,
        timeout=above_zero(timeout, "--timeout"),
        headers=admin.credentials("invocation_key_file"),
    )
    courses, seconds, seed, notes = _planned(target, scenario, url, app, wanted)
    report = live(courses, limits, seconds, scenario=str(scenario or ""), seed=seed, notes=notes)
    return reports.finish(report, other, files, fail_under)


def _planned(
    target: str, scenario: Path | None, url: str, app: str, wanted: Wanted
) -> tuple[list[Course], float, int, list[str]]:
    """Return the loads, the seconds that they last, their seed, and what is to be known of them."""
    if scenario is None:
        course = from_options(target, url, app, wanted)
        return [course], parse_seconds(wanted["duration"], "--duration"), wanted["seed"], []
    context = click.get_current_context()
    for option in (option for option in context.command.params if option.name in wanted):
        if context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE:
            raise SpecError(f"a scenario says itself what is sent when: leave out {option.opts[0]}")
    made = scenarios.read(scenario)
    if len(made.apps) > 1 and context.get_parameter_source("url") is ParameterSource.ENVIRONMENT:
        url = ""  # REGRAIN_URL is of the one app that other verbs are to ask
    return from_scenario(made, target, url), made.duration, made.seed, scenarios.notes(made)
