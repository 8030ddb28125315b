"""`regrain version`: what a bug report needs to begin with."""

from __future__ import annotations

import platform
from importlib import metadata

import click

LIBRARIES = ("msgspec", "numpy", "httptools", "uvloop", "onnxruntime", "onnxruntime-gpu", "torch")


@click.command("version")
@click.option("--all", "every", is_flag=True, help="Also show Python and the libraries that matter.")
def command(*, every: bool) -> None:
    """Show the versions of Regrain and of what it stands on.

    \b
    Examples:
      regrain version
      regrain version --all
    """  # noqa: D301
    click.echo(f"regrain {metadata.version('regrain')}")
    if not every:
        return
    click.echo(f"python {platform.python_version()}")
    for name in LIBRARIES:
        found = installed(name)
        if found:
            click.echo(f"{name} {found}")


def installed(distribution: str) -> str:
    """Return the version of an installed distribution without importing it; "" if there is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
