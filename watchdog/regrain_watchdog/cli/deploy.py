"""`regrain deploy`: put an app on a platform, and wait until it serves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from regrain.errors import SpecError
from regrain.manifest import Manifest
from regrain.units import parse_bytes, parse_seconds
from regrain_watchdog.cli import where as place
from regrain_watchdog.cli.describe import describe
from regrain_watchdog.cli.where import Where
from regrain_watchdog.platforms.function import Function, Standing
from regrain_watchdog.platforms.platform import wait
from regrain_watchdog.platforms.wanted import Wishes, function


@click.command("deploy")
@click.argument("app", default=".")
@place.options("local")
@click.option("--image", default="", help="What a container was built as, such as registry/name:tag.")
@click.option("--name", default="", help="Of the function, if not the app's.")
@click.option("--slo", default="", help="Latency objective in place of the app's own.")
@click.option("--grain", default="", help="Which stages run together.")
@click.option(
    "--adapt", default="", type=click.Choice(("on", "off", "")), metavar="on|off", help="Change it live."
)
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="A variable; several times.")
@click.option("--secret", "secrets", multiple=True, help="A secret that the platform has; several times.")
@click.option("--node", "nodes", multiple=True, metavar="LABEL=VALUE", help="A label that nodes have.")
@click.option("--cpu", type=float, help="Cores that a replica asks for, if not those of its stages.")
@click.option("--memory", help="Memory that a replica asks for, if not that of its stages.")
@click.option("--gpu-way", default="annotations", help='How the cluster shares GPUs, such as "hami".')
@click.option("--min", "least", default=1, show_default=True, help="Replicas at least; 0: it may rest.")
@click.option("--max", "most", default=0, show_default="the platform's", help="Replicas at most.")
@click.option("--target", default=0, show_default="the platform's", help="Requests in flight per replica.")
@click.option("--concurrency", default=0, show_default="all", help="Requests that a replica is sent at once.")
@click.option("--protocol", default="http", type=click.Choice(("http", "grpc")), help="Knative's one port.")
@click.option("--remote-key", default="", help="A secret by which replicas run groups for each other.")
@click.option("--timeout", default="300s", show_default=True, help="How long it may take until it serves.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent, as YAML, and send nothing.")
def command(*, app: str, gpu_way: str, timeout: str, dry_run: bool, **given: object) -> None:
    """Put an app on a platform, and wait until it serves.

    On this machine its files are built by `regrain gateway`; on a cluster --image names a container with it.

    \b
    Examples:
      regrain deploy app.py
      regrain deploy app.py --platform openfaas --image registry/ocr:1 --min 2 --slo 300ms
      regrain deploy app.py --platform knative --image registry/ocr:1 --gpu-way hami --dry-run
    """  # noqa: D301
    where = Where(**{name: str(given.pop(name)) for name in Where.__slots__})
    limit = parse_seconds(timeout, "--timeout")
    manifest = describe(app)
    wanted = _wanted(app, manifest, where, given)
    folder = None if dry_run or where.platform != "local" else _folder(app, manifest)
    with place.opened(where, folder=folder, gpus=gpu_way, told=_tell) as platform:
        if dry_run:
            click.echo("---\n".join(map(_yaml, platform.manifests(wanted))), nl=False)
            return
        platform.deploy(wanted)
        standing = wait(platform, wanted.name, limit, _progress(), rests=not wanted.least)
    click.echo(f"{standing.name} {standing.state} {standing.url}".rstrip())


def _wanted(app: str, manifest: Manifest, where: Where, given: dict[str, object]) -> Function:
    """Return the function that the options mean; SpecError names the one that is wrong."""
    image = given["image"]
    if not image and where.platform != "local":
        raise SpecError(f"--image: {where.platform} runs containers; name the one that was built of {app}")
    wishes = msgspec.convert(
        {
            **given,
            "image": image or f"{given['name'] or manifest.app}:latest",
            "environment": _pairs("--env", given.pop("variables")),
            "nodes": _pairs("--node", given["nodes"]),
            "memory": None if given["memory"] is None else parse_bytes(str(given["memory"]), "--memory"),
        },
        Wishes,
    )
    if wishes.protocol == "grpc" and where.platform != "knative":
        raise SpecError(f"--protocol: {where.platform} carries HTTP alone")
    if wishes.remote_key and where.platform == "local":
        raise SpecError(
            "--remote-key: replicas of this machine need no others; it is for openfaas and knative"
        )
    return function(manifest, wishes)


def _pairs(option: str, texts: object) -> dict[str, str]:
    assert isinstance(texts, tuple)
    pairs = [text.partition("=") for text in texts]
    for name, sign, _ in pairs:
        if not name or not sign:
            raise SpecError(f"{option}: NAME=VALUE, was {name!r}")
    return {name: value for name, _, value in pairs}


def _folder(app: str, manifest: Manifest) -> Path:
    """Return what is sent to the gateway; SpecError if there is none, or it would serve another app of it."""
    path = Path(app)
    if not path.exists():
        raise SpecError(f"{app} is no file or folder, which is what is sent to the gateway")
    if path.is_dir():
        return path
    if describe(str(path.parent)).digest != manifest.digest:
        raise SpecError(
            f"{app}: of a folder the gateway serves app.py or else handler.py, which is another app here; "
            f"move {path.name} to a folder of its own"
        )
    return path.parent


def _progress() -> Callable[[Standing], None]:
    began = time.monotonic()

    def tell(standing: Standing) -> None:
        why = f": {standing.detail}" if standing.detail else ""
        replicas = f"{standing.available} of {standing.replicas} replicas"
        _tell(f"{time.monotonic() - began:5.1f} s  {standing.name} {standing.state}, {replicas}{why}")

    return tell


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _yaml(manifest: dict[str, object]) -> str:
    return msgspec.yaml.encode(manifest).decode()
