"""`regrain gateway`: an OpenFaaS gateway for one machine."""

from __future__ import annotations

import importlib.util
import os
import sqlite3

import click

from regrain_watchdog.cli import logs
from regrain_watchdog.gateway import keeper
from regrain_watchdog.gateway.database import LEAST
from regrain_watchdog.gateway.settings import PREFIX, Settings, default_state

LAST_PORT = 65535
PORT = click.IntRange(0, LAST_PORT)
LIBRARIES = ("flask", "gunicorn")


def _port_or_off(ctx: click.Context, option: click.Parameter, text: str) -> int | None:
    """Return a port; None for the word off."""
    if text == "off":
        return None
    if not text.isdecimal() or int(text) > LAST_PORT:
        raise click.BadParameter(
            f"was {text!r}, allowed are 0 (any free port) to {LAST_PORT}, or off", ctx, option
        )
    return int(text)


@click.command(
    "gateway", context_settings={"auto_envvar_prefix": PREFIX.removesuffix("_"), "show_default": True}
)
@click.option("--host", default="127.0.0.1", show_envvar=True, help="Address that it listens on.")
@click.option("--port", default=8080, type=PORT, show_envvar=True, help="Port of functions and of the API.")
@click.option("--metrics-port", default=8081, type=PORT, show_envvar=True, help="Port of Prometheus metrics.")
@click.option(
    "--grpc-port", default="off", callback=_port_or_off, show_envvar=True, help="Port of gRPC, or off."
)
@click.option(
    "--state",
    default=lambda: default_state(os.environ),
    show_default="$XDG_STATE_HOME/regrain/gateway",
    show_envvar=True,
    type=click.Path(file_okay=False, resolve_path=True),
    help="Folder that functions, secrets and images are kept in.",
)
@click.option("--no-auth", is_flag=True, show_envvar=True, help="Ask for no password; on loopback only.")
@click.option(
    "--payload-secret",
    default="",
    show_default="one of its own, in the state folder",
    show_envvar=True,
    type=click.Path(dir_okay=False),
    help="File with the key that builds are signed with.",
)
def command(
    *,
    host: str,
    port: int,
    metrics_port: int,
    grpc_port: int | None,
    state: str,
    no_auth: bool,
    payload_secret: str,
) -> None:
    """Serve functions of this machine as an OpenFaaS gateway does.

    faas-cli and other clients of its API build, deploy, invoke, scale and watch functions with it.

    \b
    Examples:
      regrain gateway
      faas-cli login --password-stdin < ~/.local/state/regrain/gateway/basic-auth-password
      faas-cli up --remote-builder http://127.0.0.1:8080 \\
        --payload-secret ~/.local/state/regrain/gateway/payload-secret
    """  # noqa: D301
    for library in LIBRARIES:
        if importlib.util.find_spec(library) is None:
            raise click.ClickException(f"gateway needs {library}: pip install 'regrain[gateway]'")
    if sqlite3.sqlite_version_info < LEAST:
        least = ".".join(map(str, LEAST))
        raise click.ClickException(
            f"gateway needs SQLite {least} or later, and this Python has {sqlite3.sqlite_version}"
        )
    settings = Settings(
        state=state,
        host=host,
        port=port,
        metrics_port=metrics_port,
        grpc_port=grpc_port,
        auth=not no_auth,
        payload_secret=payload_secret and os.path.abspath(payload_secret),
    )
    logs.configure("info", "text")
    keeper.serve(settings, lambda line: click.echo(f"regrain: {line}"))
