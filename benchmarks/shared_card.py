"""Apps that share one emulated card, as a user starts them: `regrain gpu serve`, and `regrain run` for each."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from benchmarks import processes, product
from regrain.wire.lease import Status
from regrain_watchdog.gpu.operate import look

CARD = "emulated:v100"
STAGE = "work"
SCENARIO = """
[emulated]
seed = {seed}
jitter = 0.1

[emulated.stages.{stage}]
model = "resnext101_32x8d"
load_time = "1ms"
"""
BODY = b"held"
CALLERS = 4
"""Threads that call each app, one request after the other: more than it has replicas, so that it never runs dry."""
PATIENCE = 60.0
"""Seconds in which the apps must have taken their places on the card."""


class SharedCard:
    """The card's arbiter, and what has come of the calls by status (0: no answer)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.statuses: Counter[int] = Counter()

    def status(self) -> Status:
        """Return the arbiter's books."""
        return look(self.path)

    def had(self) -> dict[str, float]:
        """Return the SM-seconds that each app has had."""
        return {one.name.partition("/")[0]: one.sm_seconds for one in self.status().usage}


@contextlib.contextmanager
def shared(weights: Mapping[str, float], *, replicas: int, seed: int) -> Iterator[SharedCard]:
    """Run an app for each weight on one card, all called without a pause; each has so many replicas."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        card = SharedCard(folder / "gpu0.sock")
        stack.enter_context(_arbiter(folder))
        (folder / "scenario.toml").write_text(SCENARIO.format(seed=seed, stage=STAGE), encoding="utf-8")
        first = processes.free_ports(len(weights))
        for port, (app, weight) in enumerate(weights.items(), first):
            stack.enter_context(_app(app, port, weight, replicas, folder))
        end = threading.Event()
        callers = [
            threading.Thread(target=_call, args=(first + index % len(weights), end, card.statuses))
            for index in range(CALLERS * len(weights))
        ]
        for caller in callers:
            caller.start()
        try:
            wanted = replicas * len(weights)
            if (
                len(
                    processes.until(card.status, lambda found: len(found.members) == wanted, PATIENCE).members
                )
                != wanted
            ):
                raise RuntimeError(f"not all of {wanted} replicas share the card: {card.status().members}")
            yield card
        finally:
            end.set()
            for caller in callers:
                caller.join()


@contextlib.contextmanager
def _arbiter(folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "regrain_watchdog.cli", "gpu", "serve"]
    serving = subprocess.Popen([*command, "--gpus", CARD, "--folder", str(folder)], stdout=subprocess.PIPE)
    try:
        if serving.stdout is None or not serving.stdout.readline():
            raise RuntimeError("regrain gpu serve did not start")
        yield
    finally:
        serving.terminate()
        serving.communicate()


@contextlib.contextmanager
def _app(name: str, port: int, weight: float, replicas: int, folder: Path) -> Iterator[None]:
    flags = ["--replicas", str(replicas), "--gpus", CARD, "--gpu-folder", str(folder)]
    flags += ["--scenario", str(folder / "scenario.toml"), "--gpu-shares", f"{STAGE} weight={weight}"]
    command = [*product.command(product.APPS / "held.py", port=port), *flags]
    with processes.Served([command], port=port, env=[{"HELD_APP": name}], name=f"held-{name}") as served:
        served.wait(processes.Request(BODY), lambda data: data.strip() == str(len(BODY)).encode())
        if not processes.until(lambda: _ready(port), bool, PATIENCE):  # before that it ends with its replicas
            raise RuntimeError(f"{name} is not ready; log: {served.log}")
        yield


def _ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/_/ready")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _call(port: int, end: threading.Event, statuses: Counter[int]) -> None:
    request = processes.Request(BODY)
    while not end.is_set():
        try:
            status, _ = request.send(port)
        except (OSError, HTTPException):
            status = 0
        statuses[status] += 1
