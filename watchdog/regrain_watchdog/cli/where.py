"""On which platform a command's functions are: its options, and the driver that they mean."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from regrain.errors import SpecError
from regrain.hosts import names_loopback
from regrain_watchdog.gateway import credentials as files
from regrain_watchdog.gateway.settings import Settings, default_state
from regrain_watchdog.platforms import faas_login, gpu_way
from regrain_watchdog.platforms.local import Local, Source
from regrain_watchdog.platforms.openfaas import OpenFaas
from regrain_watchdog.platforms.platform import Platform
from regrain_watchdog.platforms.rest import Credentials, address, is_open

PLATFORMS = ("local", "openfaas", "knative")
GATEWAY = "http://127.0.0.1:8080"
PASSWORD = 1 << 16
"""Bytes of a password's file at most."""

Command = TypeVar("Command", bound=Callable[..., object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The options that name a platform."""

    platform: str
    gateway: str
    namespace: str
    user: str
    password_file: str


def options(default: str) -> Callable[[Command], Command]:
    """Give a command the options of `Where`; `default` is its platform, "" for none."""

    def decorate(command: Command) -> Command:
        for option in (
            click.option(
                "--password-file", default="", type=click.Path(dir_okay=False), help="That user's password."
            ),
            click.option(
                "--user", default="", help="Of the gateway, if not the one that faas-cli logged in."
            ),
            click.option(
                "--namespace", default="", help="Of the functions, if not the platform's default one."
            ),
            click.option(
                "--gateway",
                default="",
                show_default=f"$OPENFAAS_URL or {GATEWAY}",
                help="Address of the gateway (local, openfaas).",
            ),
            click.option(
                "--platform",
                default=default,
                show_default=bool(default),
                type=click.Choice(PLATFORMS) if default else click.Choice(("", *PLATFORMS)),
                metavar="|".join(PLATFORMS),
                help="Where functions run: here behind `regrain gateway`, or on a cluster.",
            ),
        ):
            command = option(command)
        return command

    return decorate


@contextlib.contextmanager
def opened(
    where: Where,
    *,
    folder: Path | None = None,
    gpus: str = "annotations",
    told: Callable[[str], object] = click.echo,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Platform]:
    """Open the driver of a platform, and close it.

    Args:
        where: the platform.
        folder: of the app that is to be deployed, where the platform builds it.
        gpus: how the cluster shares GPUs.
        told: of the lines of a build.
        environ: names gateways and files where the options do not.
    """
    with contextlib.closing(_driver(where, folder, gpus, told, environ)) as platform:
        yield platform


def _driver(
    where: Where, folder: Path | None, gpus: str, told: Callable[[str], object], environ: Mapping[str, str]
) -> Platform:
    if where.platform == "knative":
        return _knative(where, gpus)
    if gpus != "annotations":
        raise SpecError(f"--gpu-way: {where.platform} is told of GPUs by annotations alone")
    url = address(where.gateway or environ.get("OPENFAAS_URL") or GATEWAY)
    if where.platform == "openfaas":
        return OpenFaas(url, _credentials(where, url, environ), namespace=where.namespace)
    settings = Settings(state=environ.get("REGRAIN_GATEWAY_STATE") or default_state(environ))
    source = None if folder is None else Source(folder=folder, key=_key(settings, environ), told=told)
    credentials = _credentials(where, url, environ, settings)
    return Local(url, credentials, source, namespace=where.namespace)


def _knative(where: Where, gpus: str) -> Platform:
    for option, text in (
        ("--gateway", where.gateway),
        ("--user", where.user),
        ("--password-file", where.password_file),
    ):
        if text:
            raise SpecError(f"{option}: knative takes its cluster from kubectl's configuration (KUBECONFIG)")
    try:
        from regrain_watchdog.platforms.knative import Knative  # noqa: PLC0415 - an extra that others do without
    except ModuleNotFoundError as error:
        if error.name != "lightkube":
            raise
        raise click.ClickException("knative needs lightkube: pip install 'regrain[kube]'") from error
    return Knative(namespace=where.namespace, way=gpu_way.parse(gpus))


def _credentials(
    where: Where, url: str, environ: Mapping[str, str], settings: Settings | None = None
) -> Credentials | None:
    """Return what a gateway is shown: what is named, else its own, else the login of faas-cli.

    settings: of this machine's gateway, whose password leaves it for nobody; None where another one is asked.
    """
    found = _named(where) or _own(settings, url) or faas_login.load(url, environ)
    if found is not None and is_open(url):
        click.echo(f"regrain: {url} is no https: the password can be read on its way", err=True)
    return found


def _named(where: Where) -> Credentials | None:
    if not where.user and not where.password_file:
        return None
    if not where.user or not where.password_file:
        raise SpecError("--user and --password-file go together")
    with Path(where.password_file).open("rb") as file:
        content = file.read(PASSWORD)
    try:
        return Credentials(where.user, content.decode().strip("\r\n"))
    except UnicodeDecodeError as error:
        raise SpecError(f"--password-file: {where.password_file} is no text") from error


def _own(settings: Settings | None, url: str) -> Credentials | None:
    """Return what this user's own gateway keeps; None where it was never started, or another machine may be asked."""
    if settings is None or not names_loopback(url) or not (settings.folder / files.PASSWORD).is_file():
        return None
    kept = files.Credentials.load(settings.folder)
    return Credentials(kept.user, kept.password)


def _key(settings: Settings, environ: Mapping[str, str]) -> bytes:
    path = Path(environ.get("REGRAIN_GATEWAY_PAYLOAD_SECRET") or settings.key)
    if not path.is_file():
        raise SpecError(f"{path} is missing: it is made by the first start of `regrain gateway`")
    return path.read_bytes()
