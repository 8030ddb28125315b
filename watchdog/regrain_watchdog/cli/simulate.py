"""`regrain simulate`: replay a scenario on a virtual clock, hours in seconds, and report as `regrain load` does."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import click
import msgspec
import numpy as np

from regrain import manifest as manifests
from regrain.errors import SpecError
from regrain.grain import format as grain_of
from regrain.manifest import Manifest
from regrain_watchdog.cli import reports
from regrain_watchdog.cli.describe import describe
from regrain_watchdog.cli.progress import working
from regrain_watchdog.control.closed import Course
from regrain_watchdog.control.process import too_fast
from regrain_watchdog.control.simulated import Done, Simulation
from regrain_watchdog.front.adapting.adaptation import check_log
from regrain_watchdog.load.report import (
    OUTCOMES,
    AppReport,
    Decisions,
    Report,
    Results,
    Spending,
    summarise,
)
from regrain_watchdog.policy.switch import Reason
from regrain_watchdog.simulate import scenario as scenarios
from regrain_watchdog.simulate.engine import IN_TIME, LATE, SHED, UNFINISHED, Run
from regrain_watchdog.simulate.scenario import AppScenario, Scenario
from regrain_watchdog.simulate.static import Static, overcommitted, prepare

SLICES = 100
"""Parts of a run after each of which the progress is shown."""
NAMED = {UNFINISHED: "unfinished", IN_TIME: "hit", LATE: "late", SHED: "shed"}


@click.command("simulate")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), metavar="SCENARIO")
@reports.outputs
@click.option(
    "--log", type=click.Path(dir_okay=False, path_type=Path), help="Write decisions there, one JSON a line."
)
@click.option("--fail-under", type=click.FloatRange(0, 1), help="Exit 1 if an app's hit rate is below.")
def command(
    *, file: Path, files: tuple[Path, ...], against: Path | None, log: Path | None, fail_under: float | None
) -> int:
    """Replay a scenario on a virtual clock, and report as load does.

    Apps that adapt have a controller each, or one for all of a node; the others keep their plans. SCENARIO is a file
    that `regrain load --scenario` takes as well (docs/load.md).

    \b
    Examples:
      regrain simulate day.toml
      regrain simulate day.toml -o simulated.json -o simulated.html
      regrain simulate day.toml --against live.json -o both.html
      regrain simulate day.toml --log decisions.jsonl
    """  # noqa: D301
    reports.check_files(files)
    if log is not None:
        check_log(str(log), "--log")
    other = reports.read_other(against)
    began = time.time()
    scenario = scenarios.read(file)
    apps = [prepare(scenario, name, _manifest(app)) for name, app in scenario.apps.items()]
    impossible = [f"{app.name}: {said}" for app in apps if (said := too_fast(app.problem))]
    for text in impossible:
        reports.note(text)
    runs = _run(scenario, apps)
    if log is not None:
        _write_log(log, runs)
    report = Report(
        source="simulated",
        began=began,
        scenario=str(file),
        seed=scenario.seed,
        duration=scenario.duration,
        interrupted=False,
        notes=(
            *impossible,
            *scenarios.notes(scenario),
            *overcommitted(scenario, apps),
            *(text for done in runs for text in _unplanned(done)),
        ),
        apps=tuple(_told(scenario, done) for done in runs),
        took=time.time() - began,
    )
    return reports.finish(report, other, files, fail_under, said=impossible)


def _manifest(app: AppScenario) -> Manifest:
    if app.module:
        return describe(app.module)
    try:
        return manifests.loads(Path(app.manifest).read_bytes())
    except OSError as error:
        raise SpecError(f"{app.manifest} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise SpecError(f"{app.manifest} is no manifest: {error}") from error


def _run(scenario: Scenario, apps: list[Static]) -> list[Done]:
    """Replay every app's load, in turn a part of each."""
    with working("compiling the simulator, once"):
        Run(apps[0].model, apps[0].arrivals.between(0.0, 0.0)).advance()
    simulation = Simulation(scenario, apps)
    parts = np.linspace(0.0, scenario.duration, SLICES + 1)[1:]
    with click.progressbar(parts.tolist(), label="simulating", file=sys.stderr) as shown:
        for until in shown:
            simulation.advance(until)
    return simulation.ended()


def _told(scenario: Scenario, done: Done) -> AppReport:
    places = {code: OUTCOMES.index(name) for code, name in NAMED.items()}
    app, course = done.app, done.course
    slo = app.application.slo
    return summarise(
        app.name,
        Results(
            at=app.arrivals.at,
            latency=done.result.latency,
            outcome=np.array([places[int(code)] for code in done.result.outcome], dtype=np.int64),
        ),
        scenario.duration,
        slo=slo.latency,
        attainment=slo.attainment,
        spending=_spending(course, scenario),
        grains=_grains(app, course, scenario.duration),
        decisions=_decisions(course) if scenario.apps[app.name].adapt else None,
    )


def _spending(course: Course, scenario: Scenario) -> Spending:
    """Return what was reserved over time, the price of requests taken out."""
    request = scenario.prices.request
    ends = [*(period.begin for period in course.periods[1:]), scenario.duration]
    return Spending(
        at=[period.begin for period in course.periods],
        rate=[
            (period.dollars - period.offered * request) / (end - period.begin)
            for period, end in zip(course.periods, ends, strict=True)
        ],
        request=request,
    )


def _grains(app: Static, course: Course, duration: float) -> list[tuple[float, str]]:
    """Return each grain that came into force, and when."""
    found = [(0.0, grain_of(group.stages for group in app.plan.groups))]
    for switch in course.switches:
        grain = grain_of(group.stages for group in switch.new.groups)
        if switch.at < duration and grain != found[-1][1]:
            found.append((switch.at, grain))
    return found


def _decisions(course: Course) -> Decisions:
    return Decisions(
        made=len(course.decisions),
        changes=sum(decision.plan is not None for decision in course.decisions),
        reasons=dict(Counter(decision.reason for decision in course.decisions)),
    )


def _unplanned(done: Done) -> list[str]:
    """Say for what reasons no plan was found for an app, each once, as its controller says it where it serves."""
    told = {
        decision.reason: f"{done.app.name}: {decision.sentence}, the plan stays as it is: {decision.detail}"
        for decision in reversed(done.course.decisions)
        if decision.reason in (Reason.NONE.name, Reason.FAILED.name)
    }
    return list(told.values())


def _write_log(file: Path, runs: list[Done]) -> None:
    """Write all decisions down, the earliest first, one JSON object a line."""
    entries = sorted(
        ((decision.at, done.app.name, decision) for done in runs for decision in done.course.decisions),
        key=lambda entry: entry[:2],
    )
    lines = [
        msgspec.json.encode({"kind": "decision", "app": name, "time": at, "decision": decision})
        for at, name, decision in entries
    ]
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    click.echo(f"wrote {file}", err=True)
