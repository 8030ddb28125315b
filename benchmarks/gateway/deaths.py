"""kill -9 of front, control plane, controller and functions' processes at random, under sync and async load.

No accepted async request may be lost, and sync ones may fail only where their connection was cut.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

from benchmarks.gateway import served
from benchmarks.gateway.callers import Callers, Submitters
from benchmarks.gateway.served import Gateway
from benchmarks.record import Results, progress

SECONDS, SHORT = 120.0, 15.0
PAUSE = 1.0
"""Seconds from one kill to the next, on average."""
VICTIMS = {
    "front": "regrain_watchdog.gateway.plane",
    "control plane": "regrain_watchdog.gateway.control",
    "controller": "regrain_watchdog.control",
    "function": "regrain_runtime",
}
ADAPTED = {"regrain.slo": "500ms", "regrain.adapt": "on"}
"""Has the function be given a controller."""
CLIENTS = 4
PATIENCE = 120.0
"""Seconds that the last results have to come."""


class Called:
    """A server that results are sent to.

    Attributes:
        statuses: what the function answered, by call id; calls: how often each was told.
    """

    def __init__(self) -> None:
        self.statuses: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        called = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """Note one result."""
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                name = self.headers["X-Call-Id"]
                called.calls[name] += 1
                called.statuses[name] = self.headers["X-Function-Status"]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def measure(results: Results, options: argparse.Namespace) -> None:
    """Kill for a while, then wait for what was accepted."""
    if results.has(kind="deaths"):
        return
    rng = random.Random(options.seed)
    with served.serve() as gateway, contextlib.closing(Called()) as called:
        gateway.build(served.HELLO)
        gateway.deploy(labels={"com.openfaas.scale.min": "2"}, annotations=ADAPTED)
        gateway.answers()
        callers, submitters = Callers(gateway, CLIENTS), Submitters(gateway, called.port, CLIENTS)
        callers.start()
        submitters.start()
        killed = _kill(gateway, rng, SHORT if options.short else SECONDS)
        callers.stop()
        submitters.stop()
        progress(f"killed {dict(killed)}; {len(submitters.accepted)} calls accepted")
        with contextlib.suppress(SystemExit):
            served.until(lambda: submitters.accepted.keys() <= called.calls.keys(), "all results", PATIENCE)
        lost = submitters.accepted.keys() - called.calls.keys()
    failed = Counter(status for status in called.statuses.values() if status != "200")
    told = {"good": callers.good, "cut": callers.cut, "bad": callers.bad, "unlike": callers.unlike}
    later = {"accepted": len(submitters.accepted), "lost": len(lost), "failed": dict(failed)}
    twice = sum(count > 1 for count in called.calls.values())
    results.add({"kind": "deaths", "killed": dict(killed), **told, **later, "told_twice": twice})


def judge(results: Results) -> None:
    """Print the bars."""
    row = next(line for line in results.lines if line["kind"] == "deaths")
    failed = cast("dict[str, int]", row["failed"])
    for name, value in (
        ("accepted async requests lost", float(str(row["lost"]))),
        ("accepted async requests whose function failed", sum(failed.values())),
        ("sync requests that failed on a whole connection", float(str(row["bad"]))),
    ):
        results.bar(name, value, at_most=0)


def _kill(gateway: Gateway, rng: random.Random, seconds: float) -> Counter[str]:
    """Kill a process now and then; return how many of which."""
    killed: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(rng.expovariate(1 / PAUSE))
        name = rng.choice(list(VICTIMS))
        living = gateway.processes(VICTIMS[name])
        if living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(living), signal.SIGKILL)
                killed[name] += 1
    return killed
