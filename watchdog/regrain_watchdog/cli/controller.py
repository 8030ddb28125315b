"""`regrain controller`: assign the groups of an app to its running pods."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import tomllib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import click
import uvloop

from regrain.errors import SpecError
from regrain_watchdog.cli import logs
from regrain_watchdog.cli.durations import above_zero
from regrain_watchdog.control.assigner import Assigner, Wish
from regrain_watchdog.control.cluster import Switches
from regrain_watchdog.front.adapting.adaptation import check_log
from regrain_watchdog.front.config import PREDICTORS
from regrain_watchdog.front.credentials import Key
from regrain_watchdog.front.remote.remote import check
from regrain_watchdog.front.upstream.upstream import Address

logger = logging.getLogger("regrain")

PATIENCE = "120s"


@click.command("controller")
@click.option("--pods", "urls", multiple=True, metavar="URL", help="A pod's URL; may be given several times.")
@click.option(
    "--pods-of",
    metavar="URL",
    help="URL whose host name has an address for each pod, such as that of a headless Service of Kubernetes.",
)
@click.option("--remote-key-file", required=True, help="File that holds the secret which the pods share.")
@click.option("--grain", default="", help="Which stages run together in one group. [default: the app's own]")
@click.option("--replicas", default="", help='By group, in all pods together, such as "recognise=4".')
@click.option(
    "--plan",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with `grain` and `replicas` in place of the flags; what it says is followed as it changes. "
    "With --adapt the plan is held for as long as the file is there.",
)
@click.option(
    "--adapt/--no-adapt",
    help="Change the plan of all pods together as the load changes, so that the app's objective is met at the least "
    "cost; until then the grain and replicas that are given.",
)
@click.option(
    "--profile",
    default="",
    help="What the app's stages cost, as `regrain profile` wrote it. [default: it is learned while serving]",
)
@click.option(
    "--predictor",
    type=click.Choice(PREDICTORS),
    default=PREDICTORS[0],
    show_default=True,
    help="What predicts the hit rate of plans.",
)
@click.option(
    "--adapt-period",
    default="15s",
    show_default=True,
    help="Time between two looks at the plan where the load stays as it is.",
)
@click.option(
    "--decision-log", default="", help="File to which decisions go, as lines of JSON. [default: none]"
)
@click.option("--patience", default=PATIENCE, show_default=True, help="How long a change may take.")
@click.option("--log-level", type=click.Choice(("debug", "info", "warning", "error")), default="info")
def command(
    *,
    urls: tuple[str, ...],
    pods_of: str | None,
    remote_key_file: str,
    grain: str,
    replicas: str,
    file: Path | None,
    adapt: bool,
    profile: str,
    predictor: str,
    adapt_period: str,
    decision_log: str,
    patience: str,
    log_level: str,
) -> int:
    """Assign the groups of an app to its running pods, and assign them anew as pods or the plan change.

    One at a time. Pods serve on as they were last told when it ends.

    \b
    Examples:
      regrain controller --pods http://10.0.0.6:8080 --pods http://10.0.0.7:8080 --remote-key-file secret
      regrain controller --pods-of http://ocr-pods:8080 --remote-key-file secret --plan plan.toml
      regrain controller --pods-of http://ocr-pods:8080 --remote-key-file secret --adapt --decision-log decisions
    """  # noqa: D301
    logs.configure(log_level, "text", "off")
    if bool(urls) == bool(pods_of):
        raise SpecError("either --pods or --pods-of says where the pods are")
    key = Key.load(remote_key_file, "remote_key_file")
    if key is None:
        raise SpecError("--remote-key-file names no file")
    for url in (*urls, *([pods_of] if pods_of else [])):
        check(url)
    limit = above_zero(patience, "--patience")
    switches = None
    if adapt:
        period = above_zero(adapt_period, "--adapt-period")
        switches = Switches(profile=profile, predictor=predictor, period=period, log=decision_log)
        switches.read()
        check_log(decision_log, "--decision-log")
    wish = Wishes(file, Wish(grain, replicas) if grain or replicas else None, frees=adapt)
    where = named(pods_of) if pods_of else _listed(urls)
    uvloop.run(_run(Assigner(key.secret, where, wish, patience=limit, adapt=switches)))
    return 0


class Wishes:
    """Gives what is wanted at the moment: what a file says, or else a wish that stays.

    frees: whether what the file says holds the plan for as long as it is there, and counts no longer once it is gone.
    """

    def __init__(self, file: Path | None, fixed: Wish | None, *, frees: bool = False) -> None:
        self._file = file
        self._fixed = self._last = fixed
        self._frees = frees
        self._trouble = ""

    def __call__(self) -> Wish | None:
        """Return it; what the file said last where it says nothing sensible."""
        if self._file is not None:
            try:
                self._last = replace(_read(self._file), holds=self._frees)
                self._trouble = ""
            except (OSError, ValueError) as error:
                if self._frees and isinstance(error, FileNotFoundError):
                    self._last = self._fixed
                    return self._last
                if self._trouble != str(error):
                    self._trouble = str(error)
                    logger.warning("%s is not followed: %s", self._file, error)
        return self._last


def _read(file: Path) -> Wish:
    said = tomllib.loads(file.read_text("utf-8"))
    unknown = sorted(set(said) - {"grain", "replicas"})
    if unknown or not all(isinstance(text, str) for text in said.values()):
        raise SpecError(f"allowed are the texts grain and replicas, found {', '.join(unknown or said)}")
    return Wish(said.get("grain", ""), said.get("replicas", ""))


async def _run(assigner: Assigner) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(assigner.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _listed(urls: Sequence[str]) -> Callable[[], Awaitable[Sequence[str]]]:
    async def given() -> Sequence[str]:
        return [url.rstrip("/") for url in urls]

    return given


def named(url: str) -> Callable[[], Awaitable[Sequence[str]]]:
    """Return what finds a pod at each address of a URL's host; what it found last where the name is not found.

    Addresses are of IPv6 only where there are none of IPv4: a pod with both is one pod.
    """
    address = Address.parse(url)
    last: list[str] = []
    trouble = ""

    async def found() -> Sequence[str]:
        nonlocal last, trouble
        try:
            told = await asyncio.get_running_loop().getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM
            )
        except OSError as error:
            if trouble != str(error):
                trouble = str(error)
                logger.warning("%s is not found: %s", address.host, error)
            return last
        trouble = ""
        older = {str(where[0]) for family, *_, where in told if family == socket.AF_INET}
        hosts = older or {str(where[0]) for *_, where in told}
        last = [f"http://{Address(host=host, port=address.port).netloc}" for host in sorted(hosts)]
        return last

    return found
