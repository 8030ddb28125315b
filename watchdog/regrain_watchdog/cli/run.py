"""`regrain run`: serve an app, show how it does, and let the other commands find it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import click
import msgspec
import uvloop

from regrain.errors import RegrainError, SpecError
from regrain.manifest import Manifest
from regrain_watchdog.cli import admin, logs, reload, runfile
from regrain_watchdog.cli.admin import Status
from regrain_watchdog.cli.curl import example
from regrain_watchdog.cli.progress import PATIENCE
from regrain_watchdog.cli.statusline import Live, Plain, View
from regrain_watchdog.front.config import Config, options
from regrain_watchdog.front.server import Running, Server
from regrain_watchdog.front.upstream.openfaas import translated
from regrain_watchdog.front.upstream.serve import UpstreamServer
from regrain_watchdog.front.upstream.target import HERE, Target, find
from regrain_watchdog.words import duration

logger = logging.getLogger("regrain")

REFRESH = 0.25
"""Seconds between two looks at the app for the live line."""
TOLD = ("adapt", "grain", "replicas", "slo", "port", "host")
"""Settings that most users want; help shows them first."""

CORES = "cores"
MINDED = ("profile", "predictor", "adapt_period", "decision_log", CORES)
"""Settings of the controller."""
STAGED = (
    *("grain", "resident", "hang_timeout", "memory", "replica_memory", "remote", "remote_key_file"),
    *("gpus", "scenario", "gpu_shares", "gpu_folder", "gpu_hang_timeout"),
    *MINDED,
)
"""Settings that say how stages are served."""

Command = TypeVar("Command", bound=Callable[..., object])


def _settings(command: Command) -> Command:
    """Give a command a flag per setting of the front, under the names that Config gives them."""
    first = {name: place for place, name in enumerate(TOLD)}
    ordered = sorted(options(), key=lambda option: first.get(option.name, len(first)))
    for option in reversed(ordered):  # click lists the last one added first
        default = option.setting.unset or option.default
        text = f"{option.setting.help} [{option.environment}; default: {default}]"
        if option.setting.is_switch:
            command = click.option(
                option.flag, option.name, is_flag=True, flag_value="on", default=None, help=text
            )(command)
            continue
        command = click.option(option.flag, option.name, default=None, metavar="VALUE", help=text)(command)
    return command


@click.command("run")
@click.argument("module", default=HERE)
@_settings
@click.option(
    "--reload",
    "reloads",
    is_flag=True,
    help="Update the app whenever a Python file beside the module changes.",
)
def command(*, module: str, reloads: bool, **texts: str | None) -> int:
    """Serve an app over HTTP until SIGINT or SIGTERM, then finish what was accepted.

    MODULE is a file such as app.py, a folder that holds app.py or handler.py, or a dotted module name; each
    with ":name" for one of several apps. Without it, this folder.

    An HTTP server of any kind takes an app's place: wsgi:MODULE:CALLABLE is served by gunicorn with as many
    workers as --replicas says, and --upstream-url with --fprocess is any other. It gains a queue, a drain without
    losses, metrics, and readiness. The variables of of-watchdog (fprocess, mode=http, upstream_url, ...) are read
    as well, where no MODULE is named.

    \b
    Examples:
      regrain run app.py
      regrain run app.py --grain "decode+detect | crop" --replicas decode=1,crop=2
      regrain run handler.py --slo 300ms --port 9000
      regrain run app.py --reload
      regrain run wsgi:app:app --replicas 2
      regrain run --upstream-url http://127.0.0.1:5000 --fprocess "gunicorn -b 127.0.0.1:5000 app:app"
      REGRAIN_GRAIN=fine regrain run app.py
    """  # noqa: D301
    flags = {name: text for name, text in texts.items() if text is not None}
    config = Config.from_env(translated(os.environ) if module == HERE else os.environ, flags)
    logs.configure(config.log_level, config.log_format, config.access_log)
    upstream = find(config, module)
    if upstream is not None and (staged := _staged(config, flags)):
        flag = f"--{staged.replace('_', '-')}"
        raise SpecError(f"{flag} is for apps; an upstream has no stages, and speaks HTTP alone")
    if reloads and upstream is not None:
        raise SpecError("--reload is for apps; gunicorn has one of its own: GUNICORN_CMD_ARGS=--reload")
    if not config.adapt and (idle := _idle(config, flags)):
        click.echo(f"regrain: --{idle.replace('_', '-')} is for --adapt, which is off", err=True)
    if reloads:
        return reload.serve(module, _again(flags))
    with _view(config) as view:
        return uvloop.run(_serve(config, upstream or module, Session(view, runfile.directory(os.environ))))


def _staged(config: Config, flags: Mapping[str, str]) -> str:
    """Return a setting that is given to an app alone; "" where there is none."""
    given = {"adapt": config.adapt, "grpc_port": "grpc_port" in flags and config.grpc_port is not None}
    given |= {name: name in flags for name in STAGED}
    return next((name for name, is_given in given.items() if is_given), "")


def _idle(config: Config, flags: Mapping[str, str]) -> str:
    """Return a setting that is given to no controller; "" where there is none. Cores are told to that of all pods."""
    told = (CORES,) if config.remote_key_file else ()
    return next((name for name in MINDED if name in flags and name not in told), "")


def _again(flags: Mapping[str, str]) -> list[str]:
    """Return flags as they were given."""
    given = [(option, flags[option.name]) for option in options() if option.name in flags]
    return [option.flag if option.setting.is_switch else f"{option.flag}={text}" for option, text in given]


def _view(config: Config) -> Live | Plain:
    if config.log_format == "json":
        return Plain(logger.info)
    return Live() if sys.stdout.isatty() else Plain()


class Session:
    """Follows an app from start to end: tells a view, and keeps the run file while the app is ready.

    Args:
        view: what the user looks at.
        folder: where run files go.
    """

    def __init__(self, view: View, folder: Path) -> None:
        self._view = view
        self._folder = folder
        self._running: Running | None = None
        self._file = contextlib.ExitStack()
        self._began = time.monotonic()
        self._drains = False
        self._announced = asyncio.Event()

    def listening(self, running: Running) -> None:
        """Learn where the app listens."""
        self._running = running

    def changed(self, state: str) -> None:
        """Say what the app is doing now, and register it while it can be asked."""
        if state == "ready":
            self._register()
            self._announced.set()
            return
        if state == "draining":
            self._drains = True
            self._file.close()
        if state != "stopped" or self._drains:  # a start that failed ends with its error instead
            self._view.say(f"regrain: {state}")

    async def follow(self) -> None:
        """Show how the app does, over and over, until cancelled."""
        beside = [asyncio.create_task(self._announce()), asyncio.create_task(self._importing())]
        try:
            while True:
                if self._running is not None:
                    self._view.show(msgspec.convert(self._running.status(), Status))
                await asyncio.sleep(REFRESH)
        finally:
            for task in beside:
                task.cancel()

    async def _importing(self) -> None:
        """Say what a long start is at while there is no app yet to ask."""
        await asyncio.sleep(PATIENCE)
        if self._running is None:
            self._view.say("regrain: still importing the module")

    def _register(self) -> None:
        """Write the run file; without one the app serves all the same."""
        if self._running is None:
            return
        try:
            self._file.enter_context(runfile.registered(self._folder, _entry(self._running)))
        except (OSError, RegrainError) as error:
            logger.warning("no run file, so other commands need --url %s: %s", self._running.admin, error)

    async def _announce(self) -> None:
        """Say that the app is ready, and how to try it, as soon as it is."""
        await self._announced.wait()
        running = self._running
        if running is None:
            return
        took = duration(time.monotonic() - self._began)
        grain = running.status().get("grain", "")
        self._view.say(f"regrain: ready in {took}: {running.app} on {running.http}, grain {grain}")
        self._view.say(f"regrain: metrics on {running.metrics}, admin on {running.admin}")
        ports = msgspec.convert(running.status(), Status).ports
        if "grpc" in ports:
            self._view.say(
                f"regrain: gRPC on {urlsplit(running.http).netloc.rpartition(':')[0]}:{ports['grpc']}"
            )
        with contextlib.suppress(RegrainError):
            manifest = await asyncio.to_thread(admin.get, running.admin, "/manifest", Manifest)
            ways = ["regrain invoke --sample"] if manifest.sample is not None else []
            for start, way in zip(("try it", "or"), (*ways, example(manifest, running.http)), strict=False):
                self._view.say(f"regrain: {start} with: {way}")


def _entry(running: Running) -> runfile.Running:
    pid = os.getpid()
    return runfile.Running(
        app=running.app,
        pid=pid,
        started=runfile.started(pid) or 0,
        url=running.http,
        metrics=running.metrics,
        admin=running.admin,
    )


async def _serve(config: Config, served: str | Target, session: Session) -> int:
    """Serve an app's module, or an upstream."""
    version = metadata.version("regrain")
    listening, changed = session.listening, session.changed
    server: Server | UpstreamServer
    if isinstance(served, str):
        server = Server(config, served, version=version, listening=listening, changed=changed)
    else:
        server = UpstreamServer(
            served, environ=os.environ, version=version, listening=listening, changed=changed
        )
    following = asyncio.create_task(session.follow())
    try:
        return await server.serve()
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
