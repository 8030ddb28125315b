"""What many functions take: half of them run, half are at zero."""

from __future__ import annotations

import argparse
import time

from benchmarks import machine, processes
from benchmarks.gateway import served
from benchmarks.record import Results

REGISTERED = 200
FEW = 20
"""Functions of the short form."""
BAR = 2048.0
PATIENCE = 900.0
"""Seconds that all have to start."""


def measure(results: Results, options: argparse.Namespace) -> None:
    """Deploy, have half of them answer, and add up PSS once."""
    if results.has(kind="memory"):
        return
    count = FEW if options.short else REGISTERED
    names = [f"hello-{number}" for number in range(count)]
    with served.serve() as gateway:
        gateway.build(served.HELLO)
        began = time.perf_counter()
        for number, name in enumerate(names):
            gateway.deploy(name)
            if number >= count // 2:
                gateway.scale(name, 0)
        served.until(lambda: _running(gateway) == (count // 2, 0), f"{count // 2} of {count} run", PATIENCE)
        took = time.perf_counter() - began
        for name in names[: count // 2]:
            gateway.answers(name)
        pids = gateway.served.pids()
        pss, rss = (found / machine.MEBIBYTE for found in processes.memory(pids))
        front = processes.memory(gateway.processes("regrain_watchdog.gateway.plane"))[0] / machine.MEBIBYTE
        sizes = {"pss_mib": pss, "rss_mib": rss, "front_mib": front, "processes": len(pids)}
        results.add({"kind": "memory", "functions": count, "running": count // 2, "started": took, **sizes})


def judge(results: Results) -> None:
    """Print the bar."""
    row = next(line for line in results.lines if line["kind"] == "memory")
    name = f"MiB of PSS with {row['functions']} functions, {row['running']} of them running"
    results.bar(name, float(str(row["pss_mib"])), at_most=BAR)


def _running(gateway: served.Gateway) -> tuple[int, int]:
    """Return how many functions are available, and how many others have replicas."""
    found = gateway.functions()
    ready = sum(one.get("availableReplicas", 0) > 0 for one in found)
    return ready, sum(one.get("replicas", 0) > 0 for one in found) - ready
