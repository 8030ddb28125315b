"""Measure how long another grain takes across running pods, and what it costs the requests meanwhile.

Three pods of a chain, a controller that follows a file, and callers that keep on asking all pods. In each round the
file says another grain; in force is it once every pod says so. What replicas take to start and load is in it.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from benchmarks import processes, product
from benchmarks.record import Results, arguments
from regrain_watchdog.front.remote import wire
from regrain_watchdog.front.remote.assignee import ASSIGN

CHAIN = product.APPS / "chain.py"
GRAINS = (
    "make+second | third | fourth+count",
    "make | second+third+fourth | count",
    "make+second+third | fourth+count",
)
PODS = 3
PATIENCE = 60.0
BAR = 2.0


def main() -> None:
    options = arguments("reassign", __doc__ or "", rounds=30, seconds=1.0).parse_args()
    results = Results.open("reassign", options)
    todo = [
        turn for turn in range(max(options.rounds, len(GRAINS))) if not results.has(kind="change", round=turn)
    ]
    if todo:
        _measure(results, todo, options.seconds)
    results.bar(
        "seconds until in force in all pods, at the median",
        results.median("seconds", kind="change"),
        at_most=BAR,
    )
    results.bar("requests failed", results.best("failed", max, kind="change"), at_most=0)


def _measure(results: Results, todo: Sequence[int], seconds: float) -> None:
    """Change the plan once a round; requests are counted on from what a run before had."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        key, plan = folder / "key", folder / "plan.toml"
        key.touch(0o600)
        key.write_text(secrets.token_hex(16))
        pods = [stack.enter_context(_pod(key)) for _ in range(PODS)]
        ports = [served.port for served in pods]
        _write(plan, "fine")
        where = [text for port in ports for text in ("--pods", f"http://127.0.0.1:{port}")]
        verb = [sys.executable, "-m", "regrain_watchdog.cli", "controller", *where]
        stack.enter_context(
            processes.Served(
                [[*verb, "--remote-key-file", str(key), "--plan", str(plan)]], port=0, name="controller"
            )
        )
        epoch = _in_force(ports, key.read_text(), 0)
        answered, failed = (
            int(results.best(field, max, kind="change")) if results.has(kind="change") else 0
            for field in ("answered", "failed")
        )
        callers = stack.enter_context(Callers(ports, answered, failed))
        for turn in todo:
            began = time.perf_counter()
            _write(plan, GRAINS[turn % len(GRAINS)])
            epoch = _in_force(ports, key.read_text(), epoch)
            line = {"kind": "change", "round": turn, "seconds": time.perf_counter() - began}
            time.sleep(seconds)
            results.add({**line, "answered": callers.answered, "failed": callers.failed})


class Callers:
    """Two callers of each pod.

    Attributes:
        answered, failed: requests so far.
    """

    def __init__(self, ports: list[int], answered: int = 0, failed: int = 0) -> None:
        self.answered, self.failed = answered, failed
        self._end = False
        self._threads = [threading.Thread(target=self._ask, args=(port,)) for port in ports * 2]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end = True
        for thread in self._threads:
            thread.join()

    def _ask(self, port: int) -> None:
        request = processes.Request(b"25600")
        while not self._end:
            try:
                good = request.send(port) == (200, b"25600")
            except OSError:
                good = False
            self.answered += good
            self.failed += not good


def _pod(key: Path) -> processes.Served:
    port = processes.free_ports(1)
    command = [*product.command(CHAIN, port=port), "--grpc-port", "off", "--remote-key-file", str(key)]
    served = processes.Served([command], port=port, name="pod")
    served.wait(processes.Request(b"1"), lambda data: data.strip() == b"1")
    return served


def _write(plan: Path, grain: str) -> None:
    """Replace the plan at once: the controller never reads half of it."""
    fresh = plan.with_suffix(".new")
    fresh.write_text(f'grain = "{grain}"\n', encoding="utf-8")
    fresh.rename(plan)


def _in_force(ports: list[int], secret: str, after: int) -> int:
    """Wait until all pods have the same epoch in force, later than one; return it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        epochs = {_epoch(port, secret) for port in ports}
        if len(epochs) == 1 and min(epochs) > after:
            return min(epochs)
        time.sleep(0.01)
    raise SystemExit(f"no epoch after {after} in force within {PATIENCE:g} s: {epochs}")


def _epoch(port: int, secret: str) -> int:
    signature = wire.signature(secret, "GET", ASSIGN, b"", version="", epoch=0)
    headers = {wire.EPOCH: "0", wire.SIGNATURE: signature}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{ASSIGN}", headers=headers)
    with urllib.request.urlopen(asked, timeout=PATIENCE) as told:
        return int(json.load(told)["epoch"])


if __name__ == "__main__":
    main()
