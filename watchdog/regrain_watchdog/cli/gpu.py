"""`regrain gpu`: share the GPUs of a node among several apps, and see who has what of them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
from msgspec import Struct
from rich.table import Table

from regrain.errors import SpecError
from regrain.wire.lease import Share, Status
from regrain_watchdog.cli import admin, tables
from regrain_watchdog.cli.durations import above_zero
from regrain_watchdog.front.arbiters import servers
from regrain_watchdog.front.survey import devices
from regrain_watchdog.gpu import timeline as drawing
from regrain_watchdog.gpu.limits import HANG
from regrain_watchdog.gpu.operate import adjust, look, recall
from regrain_watchdog.gpu.server import Server
from regrain_watchdog.picture.svg import png
from regrain_watchdog.words import duration, share, size

SOCKET = "gpu{}.sock"
Command = TypeVar("Command", bound=Callable[..., object])
folder_option = click.option(
    "--folder",
    required=True,
    envvar="REGRAIN_GPU_FOLDER",
    show_envvar=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the sockets of the arbiters are made.",
)


def where(command: Command) -> Command:
    """Give a command the options that say where arbiters serve: --folder, or those of a running app."""
    command = click.option(
        "--folder",
        envvar="REGRAIN_GPU_FOLDER",
        show_envvar=True,
        type=click.Path(path_type=Path, file_okay=False),
        help="Where the sockets of the arbiters are. [default: those of the running app]",
    )(command)
    return admin.target(command)


class Shared(Struct, frozen=True):
    """A GPU of an app: the socket of its arbiter."""

    path: str


class Sharing(Struct, frozen=True):
    """What is needed of an app's GET /status."""

    gpus: list[Shared] = []


def arbiters(folder: Path | None, url: str, app: str) -> list[Path]:
    """Return the sockets of the arbiters that are meant; SpecError where there are none."""
    if folder is None:
        found = [Path(one.path) for one in admin.get(admin.address(url, app), "/status", Sharing).gpus]
        if not found:
            raise SpecError("the app has no GPUs; give it some with --gpus, or name a --folder")
        return found
    found = sorted(folder.glob(SOCKET.format("*")), key=lambda path: (len(path.name), path.name))
    if not found:
        raise SpecError(f"there is no arbiter in {folder}; start one with `regrain gpu serve`")
    return found


def arbiter(number: int, folder: Path | None, url: str, app: str) -> Path:
    """Return the socket of one GPU's arbiter; SpecError where there is no such GPU."""
    found = arbiters(folder, url, app)
    if not 0 <= number < len(found):
        raise SpecError(f"there are {len(found)} GPUs, none of number {number}")
    return found[number]


@click.group("gpu")
def command() -> None:
    """Share the GPUs of a node among several apps, and see who has what of them.

    \b
    Examples:
      regrain gpu serve --gpus emulated:v100x2 --folder /run/regrain
      REGRAIN_GPU_FOLDER=/run/regrain regrain run app.py --gpus emulated:v100x2 --scenario scenario.toml
      regrain gpu status --folder /run/regrain
    """  # noqa: D301


@command.command("serve")
@click.option(
    "--gpus",
    required=True,
    envvar="REGRAIN_GPUS",
    show_envvar=True,
    help='Such as "emulated:v100x2" or "lease".',
)
@folder_option
@click.option(
    "--gpu-hang-timeout",
    "hang",
    default=f"{HANG:g}s",
    show_default=True,
    show_envvar=True,
    envvar="REGRAIN_GPU_HANG_TIMEOUT",
    help="Time that a call may go on after its lease of 2 s has ended, while others wait; then its process is ended.",
)
def serve(*, gpus: str, folder: Path, hang: str) -> None:
    """Serve an arbiter for each GPU until SIGINT or SIGTERM.

    Apps that are told the same folder take their leases here. One that is started again is found by them again, and
    what was leased before counts no more.

    \b
    Examples:
      regrain gpu serve --gpus emulated:v100x2 --folder /run/regrain
    """  # noqa: D301
    asyncio.run(_serve(gpus, folder, above_zero(hang, "--gpu-hang-timeout")))


@command.command("status")
@where
def status(*, folder: Path | None, url: str, app: str) -> None:
    """Show what each function has had of each GPU, and what it holds and waits for now.

    \b
    Examples:
      regrain gpu status
      regrain gpu status --folder /run/regrain
    """  # noqa: D301
    for path in arbiters(folder, url, app):
        found = look(path)
        click.echo(headline(path, found))
        tables.show(usage(found))
        if found.members:
            tables.show(members(found))


@command.command("share")
@click.argument("client", type=int)
@click.option("--gpu", "number", default=0, show_default=True, help="Which GPU.")
@click.option("--weight", type=float, help="Part of the SM-seconds beside the weights of others that wait.")
@click.option("--floor", type=float, help="Fraction of the SM-seconds that it gets for sure.")
@click.option("--ceiling", type=float, help="Fraction of them that it never exceeds.")
@click.option("--priority", type=int, help="Smaller goes first.")
@where
def put(*, client: int, number: int, folder: Path | None, url: str, app: str, **wanted: float | None) -> None:
    """Change what a client is entitled to, from now on; CLIENT is its number in `regrain gpu status`.

    It holds until the process or the arbiter ends, or the app gives it another share, as a change of plan does.

    \b
    Examples:
      regrain gpu share 3 --weight 2 --floor 0.25 --folder /run/regrain
    """  # noqa: D301
    path = arbiter(number, folder, url, app)
    before = next((one.share for one in look(path).members if one.client == client), None)
    if before is None:
        raise SpecError(f"there is no client {client} on GPU {number}")
    adjust(path, client, changed(before, wanted))


@command.command("timeline")
@click.option("--gpu", "number", default=0, show_default=True, help="Which GPU.")
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file: .svg, .png, or .json for chrome://tracing and Perfetto.",
)
@where
def timeline(*, number: int, output: Path, folder: Path | None, url: str, app: str) -> None:
    """Draw who held which part of a GPU when, as far back as its arbiter remembers.

    \b
    Examples:
      regrain gpu timeline -o timeline.svg
      regrain gpu timeline --folder /run/regrain --gpu 1 -o trace.json
    """  # noqa: D301
    path = arbiter(number, folder, url, app)
    held, sms = recall(path), look(path).sms
    drawn = drawing.svg(held, sms, title=path.stem)
    match output.suffix:
        case ".svg":
            output.write_text(drawn)
        case ".png":
            output.write_bytes(png(drawn))
        case ".json":
            output.write_bytes(drawing.trace(held))
        case other:
            raise SpecError(f"a timeline is a .svg, .png or .json; was {other!r}")
    click.echo(f"{len(held)} leases in {output}")


def changed(before: Share, wanted: dict[str, float | None]) -> Share:
    """Return a share with the fields changed that are wanted otherwise; SpecError if that is none."""
    given = {name: value for name, value in wanted.items() if value is not None}
    return Share(
        weight=given.get("weight", before.weight),
        floor=given.get("floor", before.floor),
        ceiling=given.get("ceiling", before.ceiling),
        priority=int(given.get("priority", before.priority)),
        memory=before.memory,
    )


def headline(path: Path, found: Status) -> str:
    """Return a device in one line."""
    free = f"{found.free_sms} of {found.sms} SMs and {size(found.free_memory)} of {size(found.memory)} free"
    return f"{path.stem}  {free}, epoch {found.epoch}"


def usage(found: Status) -> Table:
    """Return what each function has had as a table."""
    columns = ("function", "SM-seconds", "reserved", "leases", "waited", "overuse", "declared", "quarantined")
    table = tables.table(*columns)
    for one in found.usage:
        table.add_row(
            one.name,
            f"{one.sm_seconds:.1f}",
            f"{one.reserved_sm_seconds:.1f}",
            str(one.grants),
            duration(one.lease_wait),
            duration(one.overuse),
            size(one.declared),
            size(one.quarantined),
        )
    return table


def members(found: Status) -> Table:
    """Return who shares the device now as a table."""
    table = tables.table(
        "client", "function", "pid", "weight", "floor", "ceiling", "priority", "SMs", "waits"
    )
    for one in found.members:
        entitled = one.share
        numbers = (
            f"{entitled.weight:g}",
            share(entitled.floor),
            share(entitled.ceiling),
            str(entitled.priority),
        )
        table.add_row(str(one.client), one.name, str(one.pid), *numbers, str(one.sms), str(one.waiting))
    return table


async def _serve(gpus: str, folder: Path, hang: float) -> None:
    """Serve until told to end."""
    backend, cards = await devices(gpus)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    paths = [folder / SOCKET.format(number) for number in range(len(cards))]
    begun: list[Server] = []
    try:
        for server, card in zip(servers(backend, cards, paths, hang=hang), cards, strict=True):
            server.start()
            begun.append(server)
            click.echo(f"regrain: {server.path}: {card.name}, {card.sms} SMs, {size(card.memory)}")
        began = time.monotonic()
        await ended.wait()
        click.echo(f"regrain: served for {duration(time.monotonic() - began)}")
    finally:
        for server in begun:
            server.stop()
