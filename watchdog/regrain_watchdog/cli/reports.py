"""Show and write what came of a load, run or simulated, and hold it against what another report says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

import click

from regrain.errors import SpecError
from regrain_watchdog.cli import tables
from regrain_watchdog.cli.main import FAILED, INTERRUPTED
from regrain_watchdog.front.adapting.adaptation import check_log
from regrain_watchdog.load import draw
from regrain_watchdog.load.report import Report, ReportError, dumps, loads
from regrain_watchdog.picture.chart import Panel, svg
from regrain_watchdog.picture.svg import png
from regrain_watchdog.words import share

WRITERS: dict[str, Callable[[Sequence[Report]], bytes]] = {
    ".json": lambda reports: dumps(reports[0]),
    ".html": lambda reports: draw.page(reports).encode(),
    ".svg": lambda reports: draw.picture(reports).encode(),
    ".png": lambda reports: png(draw.picture(reports)),
}
"""How a report is written, by the ending of the file's name."""

Command = TypeVar("Command", bound=Callable[..., object])


def outputs(command: Command) -> Command:
    """Give a command the options -o and --against."""
    path = click.Path(dir_okay=False, path_type=Path)
    text = "A report (.json) to hold this one against."
    command = click.option("--against", type=path, help=text)(command)
    text = f"Write the report there: {', '.join(WRITERS)}. Repeatable."
    return click.option("-o", "--output", "files", multiple=True, type=path, help=text)(command)


def check_files(files: Sequence[Path]) -> None:
    """Raise SpecError or PictureError for files that no report can be written to, before anything is run for it."""
    for file in files:
        if file.suffix not in WRITERS:
            raise SpecError(f"{file}: a report is written as {', '.join(WRITERS)}")
        is_there = file.exists()
        check_log(str(file), "-o")
        if not is_there:
            file.resolve().unlink()  # what comes to nothing leaves nothing
    if any(file.suffix == ".png" for file in files):
        png(svg([Panel(title="", lines={}, unit="")]))


def read_other(file: Path | None) -> list[Report]:
    """Return the report that another one is to be held against; none without a file. ReportError names the file."""
    try:
        return [loads(file.read_bytes())] if file is not None else []
    except ReportError as error:
        raise ReportError(f"{file}: {error}") from error


def note(text: str) -> None:
    """Show what a reader should know beside the figures."""
    click.echo(f"note: {text}", err=True)


def finish(
    report: Report,
    other: Sequence[Report],
    files: Sequence[Path],
    fail_under: float | None,
    said: Collection[str] = (),
) -> int:
    """Show a report, but for notes that were said before, and write it; return the exit code that follows from it."""
    reports = [report, *other]
    for text in (
        *report.notes,
        *(f"the other report is {text}" for one in other for text in unlike(report, one)),
    ):
        if text not in said:
            note(text)
    for beside in draw.by_app(reports):
        _show(beside[0][1].app, *draw.rows(beside))
    if len(report.apps) > 1:
        _show("all apps", *draw.totals(reports))
    for file in files:
        file.write_bytes(WRITERS[file.suffix](reports))
        click.echo(f"wrote {file}", err=True)
    below = [app for app in report.apps if fail_under is not None and not (app.hit_rate or 0.0) >= fail_under]
    for app in below:
        click.echo(
            f"regrain: {app.app}: hit rate {share(app.hit_rate)}, asked for {share(fail_under)}", err=True
        )
    if report.interrupted:
        return INTERRUPTED
    return FAILED if below else 0


def unlike(report: Report, other: Report) -> list[str]:
    """Return in what another report is of another load, so that a gap to it says little."""
    sides = {
        "of {:g} seconds and this one of {:g}": (other.duration, report.duration),
        "drawn by seed {} and this one by {}": (other.seed, report.seed),
        "of {} and this one of {}": tuple(
            ", ".join(sorted(app.app for app in one.apps)) for one in (other, report)
        ),
    }
    return [text.format(*pair) for text, pair in sides.items() if pair[0] != pair[1]]


def _show(title: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> None:
    table = tables.table(title, *head[1:])
    for row in body:
        table.add_row(*row)
    tables.show(table)
