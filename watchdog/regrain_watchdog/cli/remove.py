"""`regrain remove`: take a function off a platform."""

from __future__ import annotations

import click

from regrain_watchdog.cli import where as place
from regrain_watchdog.cli.where import Where


@click.command("remove")
@click.argument("name")
@place.options("local")
def command(*, name: str, **given: str) -> None:
    """Take a function off a platform.

    \b
    Examples:
      regrain remove hello
      regrain remove hello --platform openfaas --gateway https://gateway.example.org
      regrain remove hello --platform knative --namespace apps
    """  # noqa: D301
    with place.opened(Where(**given)) as platform:
        platform.remove(name)
    click.echo(f"{name} is removed")
