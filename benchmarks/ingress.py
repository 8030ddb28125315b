"""Measure hello over HTTP beside a bare granian RSGI app: what the front adds to its HTTP server.

Front and bare granian each on one core, replica and load generator on the other, 32 connections, in turns.
"""

from __future__ import annotations

import contextlib
import os
import sys

from benchmarks import load, machine, processes, product
from benchmarks.record import Results, arguments, table

HELLO = product.APPS / "hello.py"
CONNECTIONS = 32
BAR = 0.5
BARE = "benchmarks.apps.bare:app"


def main() -> None:
    options = arguments("ingress", __doc__ or "", rounds=9, seconds=3.0).parse_args()
    load.require_wrk()
    results = Results.open("ingress", options)
    cores = machine.two_cores()
    request = processes.Request(b"world")
    with contextlib.ExitStack() as stack:
        served = {name: stack.enter_context(_serve(name, request, cores)) for name in ("bare", "regrain")}
        for turn in range(options.rounds):
            order = list(served.items())
            for name, server in order if turn % 2 else order[::-1]:
                if not results.has(kind="load", round=turn, server=name):
                    visit = _visit(server, request, options.seconds, cores)
                    results.add({"kind": "load", "round": turn, "server": name, **visit})
    fields = ("rps", "front_cpu", "cpu", "p50", "p99", "p50_c1")
    rows = [[name, *(results.median(field, server=name) for field in fields)] for name in ("bare", "regrain")]
    print(table(["server", "rps", "front CPU us", "all CPU us", "p50 us", "p99 us", "p50 us c1"], rows))
    ratio = results.median("rps", server="regrain") / results.median("rps", server="bare")
    results.bar("hello rps at 32 connections over bare granian's", ratio, at_least=BAR)
    ratio = results.median("front_cpu", server="regrain") / results.median("front_cpu", server="bare")
    results.add({"kind": "note", "name": "front CPU per request over bare granian's", "value": ratio})


def _serve(name: str, request: processes.Request, cores: tuple[int, int]) -> processes.Served:
    port = processes.free_ports(1)
    flags = "--interface rsgi --http 1 --no-ws --no-log --loop uvloop --port"
    bare = [sys.executable, "-m", "granian", *flags.split(), str(port), BARE]
    command = bare if name == "bare" else product.command(HELLO, port=port)
    served = processes.Served([command], port=port, name=f"ingress-{name}")
    served.wait(request, lambda data: b"world" in data)
    machine.pin(served.pids(), cores[0 if name == "bare" else 1])
    machine.pin([served.front], cores[0])
    return served


def _visit(
    served: processes.Served, request: processes.Request, seconds: float, cores: tuple[int, int]
) -> dict[str, float]:
    """Load a server; CPU in microseconds per request, of the front (granian is all front) and of all."""
    pids = served.pids()
    front = [pid for pid in pids if _core_of(pid) == cores[0]]
    alone = load.drive(served.port, request, connections=1, seconds=1, core=cores[1])
    before = processes.cpu_seconds(front), processes.cpu_seconds(pids)
    got = load.drive(served.port, request, connections=CONNECTIONS, seconds=seconds, core=cores[1])
    after = processes.cpu_seconds(front), processes.cpu_seconds(pids)
    if got.failed:
        raise SystemExit(f"{got.failed} of {got.requests} requests failed")
    spent = [(late - early) / got.requests * 1e6 for early, late in zip(before, after, strict=True)]
    times = {"p50": got.p50 * 1e6, "p99": got.p99 * 1e6, "p50_c1": alone.p50 * 1e6}
    return {"rps": got.rate, "front_cpu": spent[0], "cpu": spent[1], **times}


def _core_of(pid: int) -> int:
    return next(iter(os.sched_getaffinity(pid)))


if __name__ == "__main__":
    main()
