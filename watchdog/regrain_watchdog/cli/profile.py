"""`regrain profile`: measure what an app's stages cost, and show it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from regrain.errors import SpecError
from regrain.units import parse_seconds
from regrain_watchdog.cli import tables
from regrain_watchdog.cli.describe import describe
from regrain_watchdog.cli.progress import working
from regrain_watchdog.front.adapting.adaptation import beside
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.upstream.target import HERE
from regrain_watchdog.picture.svg import png
from regrain_watchdog.policy.profile import Profile, StageProfile
from regrain_watchdog.profile import file
from regrain_watchdog.profile.drawing import draw
from regrain_watchdog.profile.fit import fit, warnings
from regrain_watchdog.profile.session import Effort, Progress
from regrain_watchdog.profile.take import take
from regrain_watchdog.words import cores, duration, size

OUT = "profile.json"
INTERRUPTED = 130


class Measured(click.Group):
    """Verbs over a profile; without one of them, an app is measured."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take `profile app.py` for `profile take app.py`."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["take", *args]
        return super().parse_args(ctx, args)


@click.group("profile", cls=Measured, invoke_without_command=True)
def command() -> None:
    """Measure what an app's stages cost, and show it.

    \b
    Examples:
      regrain profile app.py
      regrain profile app.py --time 30s --input big.png --input small.png
      regrain profile app.py --gpus emulated:v100 --scenario scenario.toml
      regrain profile show profile.json
      regrain profile show profile.json -o profile.svg
    """  # noqa: D301


@command.command("take")
@click.argument("module", default=HERE)
@click.option(
    "-o",
    "--output",
    "--out",
    "named",
    show_default="profile.json beside the app, where `regrain run --adapt` looks for it",
    default=None,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file.",
)
@click.option("--time", "length", default="120s", show_default=True, help="How long to measure.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A request's body, or a folder of some, beside the app's sample; several times.",
)
@click.option("--gpus", help='As for `regrain run`, such as "emulated:v100".')
@click.option("--scenario", help="The file that says what stages stand for on emulated GPUs.")
@click.option("--gpu-folder", help="Where arbiters serve already.")
@click.option("--batches", default="", help='Units in a call, such as "1,4,8"; by default 1, 2, 4, ...')
@click.option("--shares", default="", help='Of a GPU, such as "0.25,0.5,1"; by default in steps of 5 %.')
@click.option("--cores", default="", help='Of stages without a GPU, such as "1,2"; by default 1, 2, 4, 8.')
@click.option("--error", default=0.02, show_default=True, help="How sure a mean is to be, as a part of it.")
@click.option("--resume/--fresh", default=True, help="Keep what the file knows of the code as it is now.")
def measure(
    *,
    module: str,
    named: Path | None,
    length: str,
    inputs: tuple[Path, ...],
    error: float,
    resume: bool,
    **texts: str | None,
) -> int:
    """Measure an app, for as long as --time says.

    What is in the file of the same code is kept, so that more time makes it finer, and an edit of one stage has that
    one measured again. An interrupt keeps what was measured.
    """
    effort = Effort(
        time=parse_seconds(length, "--time"),
        error=_within(error, "--error"),
        batches=tuple(int(number) for number in _numbers(texts["batches"], "--batches", whole=True)),
        shares=_numbers(texts["shares"], "--shares", most=1.0),
        cores=_numbers(texts["cores"], "--cores", most=len(os.sched_getaffinity(0))),
    )
    gpu = {name: text for name in ("gpus", "scenario", "gpu_folder") if (text := texts[name])}
    config = Config.from_env(os.environ, gpu)
    manifest = describe(module)
    out = named or beside(module)
    with _progress(module) as told:
        try:
            taken = uvloop.run(
                take(
                    module,
                    manifest,
                    out=out,
                    inputs=inputs,
                    config=config,
                    effort=effort,
                    told=told,
                    resume=resume,
                )
            )
        except KeyboardInterrupt:
            kept = f"what was measured is in {out}" if out.exists() else "nothing was measured yet"
            click.echo(f"regrain: interrupted; {kept}", err=True)
            return INTERRUPTED
    _show(taken.profile)
    for note in (*taken.notes, *warnings(taken.profile, is_whole=taken.is_whole)):
        click.echo(f"regrain: {note}", err=True)
    click.echo(f"wrote {out}", err=True)
    return 0


@command.command("show")
@click.argument("named", metavar="[PATH]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--app",
    "module",
    default="",
    help="Refuse a profile that is not of this app's code as it is now; without PATH, the one beside it.",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Draw it there: .svg or .png."
)
def show(*, named: Path | None, module: str, output: Path | None) -> None:
    """Show a profile as a table, or draw it: profile.json, if PATH says nothing else."""
    code = {stage.name: stage.digest for stage in describe(module).stages} if module else None
    profile = file.read(named or (beside(module) if module else Path(OUT)))
    if code is not None:
        profile.check(code)
    if output is None:
        _show(profile)
        return
    drawn = draw(profile)
    match output.suffix:
        case ".svg":
            output.write_text(drawn)
        case ".png":
            with working("drawing"):
                output.write_bytes(png(drawn))
        case other:
            raise SpecError(f"a profile is drawn as .svg or .png; was {other!r}")
    click.echo(f"wrote {output}", err=True)


def _show(profile: Profile) -> None:
    tables.show(stages(profile))
    per = duration(profile.hop.per_byte * (1 << 20))
    click.echo(f"a hop takes {duration(profile.hop.seconds)}, and {per} for each MiB")
    if profile.fused is not None:
        less = "less" if profile.fused < 0 else "more"
        click.echo(
            f"the flow in one group takes {duration(abs(profile.fused))} {less} than its stages one by one"
        )


def stages(profile: Profile) -> Table:
    """Return a profile as a table, a line for each stage."""
    made = tables.table(
        "stage", "on", "one", "largest batch", "each", "load", "model", "result", "points", "fit"
    )
    for name, stage in profile.stages.items():
        its = fit(name, stage)
        made.add_row(
            name,
            _on(profile, stage),
            *_times(stage),
            duration(stage.load),
            size(stage.weights),
            size(round(stage.out_bytes)),
            str(len(stage.points)),
            "-" if not its.points else f"{its.median:.1%}",
        )
    return made


def _on(profile: Profile, stage: StageProfile) -> str:
    shares = sorted({point.share for point in stage.points})
    if stage.on_gpu:
        return f"{shares[0]:.0%} to {shares[-1]:.0%} of a {profile.device}"
    return f"{shares[0]:g} to {cores(shares[-1])}" if len(shares) > 1 else cores(shares[0])


def _times(stage: StageProfile) -> tuple[str, str, str]:
    """Return what a call of one unit, and of the most, takes on the largest share; and each unit of the latter."""
    widest = max(point.share for point in stage.points)
    ordered = sorted((point for point in stage.points if point.share == widest), key=lambda one: one.batch)
    least, most = ordered[0], ordered[-1]
    return (
        duration(least.seconds),
        f"{most.batch}: {duration(most.seconds)}",
        duration(most.seconds / most.batch),
    )


def _numbers(text: str | None, flag: str, *, whole: bool = False, most: float = 1e6) -> tuple[float, ...]:
    """Return the numbers of a list such as "1,2,4"; SpecError for what is none."""
    found: list[float] = []
    for item in filter(None, (part.strip() for part in (text or "").split(","))):
        try:
            number = float(item)
        except ValueError:
            number = 0.0
        if not 0 < number <= most or (whole and number != int(number)):
            kind = "whole numbers" if whole else "numbers"
            raise SpecError(
                f"{flag} must be {kind} above 0 and up to {most:g}, separated by commas; was {text!r}"
            )
        found.append(number)
    return tuple(sorted(set(found)))


def _within(error: float, flag: str) -> float:
    if not 0 < error < 1:
        raise SpecError(f"{flag} must be in (0, 1), was {error:g}")
    return error


@contextlib.contextmanager
def _progress(module: str) -> Iterator[Callable[[Progress], None]]:
    """Show how far it is: a bar on a terminal, else a line for each thing that is begun."""
    if not sys.stderr.isatty():
        yield _Lines().told
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"measuring {module}", total=None)

        def told(progress: Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.of or None, description=progress.doing)

        yield told


class _Lines:
    """Progress as lines, one for each stage that is begun and not for each point."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def told(self, progress: Progress) -> None:
        """Say what is begun."""
        what = progress.doing.partition(":")[0]
        if what not in self._seen:
            self._seen.add(what)
            click.echo(f"regrain: {what}", err=True)
