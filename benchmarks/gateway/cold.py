"""The first answer of a function that is at zero, beside an interpreter that starts and imports the same."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from benchmarks import product
from benchmarks.gateway import served
from benchmarks.gateway.served import Gateway
from benchmarks.record import Results, table

BAR = 0.150
CALLS = 5
"""Cold starts of a round."""


def measure(results: Results, options: argparse.Namespace) -> None:
    """Take turns."""
    calls = [(turn, call) for turn in range(options.rounds) for call in range(CALLS)]
    todo = [(turn, call) for turn, call in calls if not results.has(kind="cold", round=turn, call=call)]
    if not todo:
        return
    with served.serve() as gateway:
        gateway.build(served.HELLO)
        gateway.deploy()
        gateway.answers()
        for turn, call in todo:
            line = {"bare": _interpreter(), "first": _first(gateway), "warm": _asked(gateway)}
            results.add({"kind": "cold", "round": turn, "call": call, **line})


def judge(results: Results) -> None:
    """Print the medians and the bar."""
    fields = ("bare", "first", "warm")
    medians = [results.median(name, kind="cold") * 1e3 for name in fields]
    print(table([f"{name} ms" for name in fields], [medians]))
    over = results.median("first", kind="cold") - results.median("bare", kind="cold")
    results.bar("s of a cold start beyond an interpreter's with its imports", over, at_most=BAR)


def _interpreter() -> float:
    """Return the seconds until an interpreter has started and imported the app."""
    command = [sys.executable, "-c", "import app; print(flush=True)"]
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=product.EXAMPLES / "hello", stdout=subprocess.PIPE) as process:
        if process.stdout is None or not process.stdout.readline():
            raise SystemExit("examples/hello cannot be imported")
        return time.perf_counter() - began


def _first(gateway: Gateway) -> float:
    """Put the function to sleep, wait until none of its processes is left, and ask it."""
    gateway.scale("hello", 0)

    def sleeps() -> bool:
        return [one.get("replicas", 0) for one in gateway.functions()] == [0] and not gateway.processes(
            "regrain_runtime"
        )

    served.until(sleeps, "hello sleeps", served.PATIENCE)
    return _asked(gateway)


def _asked(gateway: Gateway) -> float:
    began = time.perf_counter()
    status, said = served.request().send(gateway.served.port)
    if b"world" not in said:
        raise SystemExit(f"hello answered {status} {said.decode()}")
    return time.perf_counter() - began
