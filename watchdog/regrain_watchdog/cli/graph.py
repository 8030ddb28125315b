"""`regrain graph`: an app's DAG and its groups as text, SVG or PNG."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from regrain.errors import SpecError
from regrain.grain import make_plan
from regrain.manifest import Manifest
from regrain.plan import Plan
from regrain_watchdog.cli.describe import describe
from regrain_watchdog.cli.progress import working
from regrain_watchdog.front.upstream.target import HERE
from regrain_watchdog.picture.outline import outline
from regrain_watchdog.picture.svg import png, svg

FORMATS = ("text", "svg", "png")


@click.command("graph")
@click.argument("module", default=HERE)
@click.option(
    "--grain",
    default="",
    help='fine, coarse, or groups such as "decode+detect | crop"; the app\'s own by default.',
)
@click.option("--replicas", default="", help='One number for all groups, or "decode=1,crop=2".')
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default=None,
    help="By default what FILE's ending says, else text.",
)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Write there.",
)
def command(*, module: str, grain: str, replicas: str, form: str | None, file: Path | None) -> None:
    """Draw an app's stages and groups.

    MODULE is a file such as app.py, a folder that holds app.py or handler.py, or a dotted module name; each
    with ":name" for one of several apps. Without it, this folder.

    \b
    Examples:
      regrain graph app.py
      regrain graph app.py --grain "decode+detect | crop"
      regrain graph app.py --grain fine -o app.svg
      regrain graph app.py --format png > app.png
    """  # noqa: D301
    form = form or _form_of(file)
    if form == "png" and file is None and sys.stdout.isatty():
        raise SpecError("a PNG is no text for a terminal: name a file with -o FILE")
    manifest = describe(module)
    plan = make_plan(manifest, grain or manifest.grain, replicas)
    drawing = draw(manifest, plan, form)
    if file is None:
        click.echo(drawing, nl=False)
        return
    file.write_bytes(drawing)
    click.echo(f"wrote {file}", err=True)


def draw(manifest: Manifest, plan: Plan, form: str) -> bytes:
    """Return an app's picture as "text", "svg" or "png"."""
    if form == "text":
        return outline(manifest, plan).encode()
    drawing = svg(manifest, plan)
    if form == "svg":
        return drawing.encode()
    with working("drawing"):
        return png(drawing)


def _form_of(file: Path | None) -> str:
    """The format that a file's ending asks for."""
    if file is None:
        return "text"
    form = file.suffix.removeprefix(".").lower()
    if form in ("svg", "png"):
        return form
    if form in ("", "txt", "text"):
        return "text"
    raise SpecError(f"--format must be one of {', '.join(FORMATS)} for a file called {file.name!r}")
