"""`regrain simulate`: replay a scenario on a virtual clock, hours in seconds, and report as `regrain load` does."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import numpy as np

from regrain import manifest as manifests
from regrain.errors import SpecError
from regrain.grain import format as grain_of
from regrain.manifest import Manifest
from regrain_watchdog.cli import reports
from regrain_watchdog.cli.describe import describe
from regrain_watchdog.load.report import OUTCOMES, AppReport, Report, Results, Spending, summarise
from regrain_watchdog.simulate import scenario as scenarios
from regrain_watchdog.simulate.engine import IN_TIME, LATE, SHED, UNFINISHED, Result, Run
from regrain_watchdog.simulate.scenario import AppScenario, Scenario
from regrain_watchdog.simulate.static import Static, overcommitted, prepare

SLICES = 100
"""Parts of a run after each of which the progress is shown."""
NAMED = {UNFINISHED: "unfinished", IN_TIME: "hit", LATE: "late", SHED: "shed"}


@click.command("simulate")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), metavar="SCENARIO")
@reports.outputs
@click.option("--fail-under", type=click.FloatRange(0, 1), help="Exit 1 if an app's hit rate is below.")
def command(*, file: Path, files: tuple[Path, ...], against: Path | None, fail_under: float | None) -> int:
    """Replay a scenario on a virtual clock, and report as load does.

    The apps keep their plans from begin to end. SCENARIO is a file that `regrain load --scenario` takes as well
    (docs/load.md).

    \b
    Examples:
      regrain simulate day.toml
      regrain simulate day.toml -o simulated.json -o simulated.html
      regrain simulate day.toml --against live.json -o both.html
    """  # noqa: D301
    reports.check_files(files)
    other = reports.read_other(against)
    began = time.time()
    scenario = scenarios.read(file)
    apps = [prepare(scenario, name, _manifest(app)) for name, app in scenario.apps.items()]
    report = Report(
        source="simulated",
        began=began,
        scenario=str(file),
        seed=scenario.seed,
        duration=scenario.duration,
        interrupted=False,
        notes=(*scenarios.notes(scenario), *overcommitted(scenario, apps)),
        apps=_run(scenario, apps),
        took=time.time() - began,
    )
    return reports.finish(report, other, files, fail_under)


def _manifest(app: AppScenario) -> Manifest:
    if app.module:
        return describe(app.module)
    try:
        return manifests.loads(Path(app.manifest).read_bytes())
    except OSError as error:
        raise SpecError(f"{app.manifest} cannot be read: {error.strerror}") from error


def _run(scenario: Scenario, apps: list[Static]) -> tuple[AppReport, ...]:
    """Replay every app's load, in turn a part of each, and return what came of it."""
    runs = [Run(app.model, app.arrivals, seed=scenario.seed) for app in apps]
    parts = np.linspace(0.0, scenario.duration, SLICES + 1)[1:]
    with click.progressbar(parts.tolist(), label="simulating", file=sys.stderr) as shown:
        for until in shown:
            for run in runs:
                run.advance(until)
    for run in runs:
        run.advance()
    return tuple(_told(scenario, app, run.result()) for app, run in zip(apps, runs, strict=True))


def _told(scenario: Scenario, app: Static, result: Result) -> AppReport:
    places = {code: OUTCOMES.index(name) for code, name in NAMED.items()}
    slo = app.application.slo
    return summarise(
        app.name,
        Results(
            at=app.arrivals.at,
            latency=result.latency,
            outcome=np.array([places[int(code)] for code in result.outcome], dtype=np.int64),
        ),
        scenario.duration,
        slo=slo.latency,
        attainment=slo.attainment,
        spending=Spending(at=[0.0], rate=[app.rate], request=scenario.prices.request),
        grains=[(0.0, grain_of(group.stages for group in app.plan.groups))],
    )
