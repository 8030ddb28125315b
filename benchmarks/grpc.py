"""Measure hello over gRPC (Invoke) beside a bare grpc.aio echo: what the front adds to its gRPC server.

Front and bare server each on one core, replica and load generator on the other, 32 streams of one connection. Both
run on uvloop and are driven by the same client, one right after the other, and who begins changes every round: the
ratio is taken within a round, and its median counts. `busy` is the share of its core that a server used; a round in
which the bare one had less than nearly all of it, since other work on the machine held up its client, is left out.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Sequence

from benchmarks import grpc_load, machine, processes, product
from benchmarks.record import Results, arguments, table
from regrain.wire.invoke_pb2 import InvokeRequest

HELLO = product.APPS / "hello.py"
STREAMS = 32
BAR = 0.6
SERVERS = {"bare": "/bare.Echo/Echo", "regrain": "/regrain.App/Invoke"}
EXPECTED = b"world"
PATIENCE = 30.0
ENOUGH = 0.9
"""Share of its core that the bare server must have used for a round to count."""


def main() -> None:
    options = arguments("grpc", __doc__ or "", rounds=15, seconds=3.0).parse_args()
    results = Results.open("grpc", options)
    cores = machine.two_cores()
    message = InvokeRequest(body=EXPECTED).SerializeToString()
    with contextlib.ExitStack() as stack:
        served = {name: stack.enter_context(_serve(name, message, cores)) for name in SERVERS}
        for turn in range(options.rounds):
            order = list(served.items())
            for name, server in order if turn % 2 else order[::-1]:
                if not results.has(kind="load", round=turn, server=name):
                    visit = _visit(name, server, message, options.seconds, cores)
                    results.add({"kind": "load", "round": turn, "server": name, **visit})
    fields = ("rps", "front_cpu", "cpu", "busy", "p50", "p99", "p50_c1")
    rows = [[name, *(results.median(field, server=name) for field in fields)] for name in SERVERS]
    head = ["server", "rps", "front CPU us", "all CPU us", "busy", "p50 us", "p99 us", "p50 us c1"]
    print(table(head, rows))
    rounds = [
        turn for turn in range(options.rounds) if results.median("busy", server="bare", round=turn) >= ENOUGH
    ]
    if not rounds:
        print("no ratio: in no round did the bare server get a whole core, so busy was the machine")
        return
    ratios = _ratios(results, "rps", rounds)
    results.bar(
        "hello rps at 32 gRPC streams over a bare grpc.aio echo's", statistics.median(ratios), at_least=BAR
    )
    spread = {"rounds": len(ratios), "lowest": min(ratios), "highest": max(ratios)}
    results.add({"kind": "note", "name": "that ratio by round", **spread})
    costs = _ratios(results, "front_cpu", rounds)
    name = "front CPU per request over bare grpc.aio's"
    results.add({"kind": "note", "name": name, "value": statistics.median(costs)})


def _ratios(results: Results, field: str, rounds: Sequence[int]) -> list[float]:
    """What regrain needed or gave, over what the bare server did in the same round."""
    pairs = [[results.median(field, server=name, round=turn) for name in SERVERS] for turn in rounds]
    return [ours / bare for bare, ours in pairs]


def _serve(name: str, message: bytes, cores: tuple[int, int]) -> processes.Served:
    port, other = (processes.free_ports(2) + at for at in range(2))
    bare = [sys.executable, "-m", "benchmarks.apps.bare_grpc", str(port)]
    command = bare if name == "bare" else [*product.command(HELLO, port=other), "--grpc-port", str(port)]
    served = processes.Served([command], port=port, name=f"grpc-{name}")
    _wait(name, served, message)
    machine.pin(served.pids(), cores[0 if name == "bare" else 1])
    machine.pin([served.front], cores[0])
    return served


def _wait(name: str, served: processes.Served, message: bytes) -> None:
    """Until it answers right."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError, SystemExit):
            connection = grpc_load.Connection(served.port, SERVERS[name], message)
            with contextlib.closing(connection):
                if not grpc_load.run(connection, EXPECTED, 2, 0.05).failed:
                    return
        time.sleep(0.05)
    served.stop()
    raise SystemExit(f"{name} does not answer; log: {served.log.read_text(errors='replace')[-2000:]}")


def _visit(
    name: str, served: processes.Served, message: bytes, seconds: float, cores: tuple[int, int]
) -> dict[str, float]:
    """Load a server; CPU in microseconds per request, of the front (a bare server is all front) and of all."""
    pids = served.pids()

    def drive(streams: int, seconds: float) -> grpc_load.Load:
        path, core = SERVERS[name], cores[1]
        return grpc_load.drive(
            served.port, path, message, EXPECTED, streams=streams, seconds=seconds, core=core
        )

    alone = drive(1, 1.0)
    before = processes.cpu_seconds([served.front]), processes.cpu_seconds(pids)
    got = drive(STREAMS, seconds)
    after = processes.cpu_seconds([served.front]), processes.cpu_seconds(pids)
    if got.failed:
        raise SystemExit(f"{got.failed} of {got.requests} requests failed")
    spent = [(late - early) / got.requests * 1e6 for early, late in zip(before, after, strict=True)]
    times = {"p50": got.p50 * 1e6, "p99": got.p99 * 1e6, "p50_c1": alone.p50 * 1e6}
    busy = spent[0] * got.rate / 1e6
    return {"rps": got.rate, "front_cpu": spent[0], "cpu": spent[1], "busy": busy, **times}


if __name__ == "__main__":
    main()
