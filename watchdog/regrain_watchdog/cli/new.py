"""`regrain new`: a directory with an app that works at once, to be changed into one's own."""

from __future__ import annotations

import re
from pathlib import Path

import click

from regrain.errors import RegrainError, SpecError
from regrain_watchdog.cli.scaffold import FILES

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 63
"""Characters of a name: a function's name becomes a DNS label on every platform."""


@click.command("new")
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Parent directory; this one by default.",
)
def command(*, name: str, into: Path) -> None:
    """Make a directory with an app that works at once.

    \b
    Examples:
      regrain new hello
      cd hello && regrain run app.py
      regrain new page-reader --into ~/apps
    """  # noqa: D301
    folder = into / check(name)
    write(folder, name)
    for path in FILES:
        click.echo(f"  {folder / path}")
    click.echo(f"next: cd {folder} && regrain run app.py   (then, elsewhere: regrain invoke --sample)")


def check(name: str) -> str:
    """Return an app's name; SpecError if it cannot be one."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise SpecError(
            f"NAME must be up to {LONGEST} of a-z, 0-9 and single hyphens, a letter first; was {name!r}"
        )
    return name


def write(folder: Path, name: str) -> None:
    """Write the files of an app; RegrainError, with nothing written, if the directory holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RegrainError(f"{folder} exists already and is left as it is; choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in FILES.items():
        (folder / path).write_text(text.replace("{name}", name))
