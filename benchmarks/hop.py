"""Measure what splitting costs per hop, beside a bare shared-memory ring with a doorbell on the same cores.

A hop of ours passes worker -> front -> worker: one copy, two doorbells. So does the ring's relay, which the
bar is held against; the ring's echo (payload both ways: two copies, two doorbells) stands beside it. Both
sides are chains at concurrency 1, and a hop is what a chain with hops takes more than one without, divided by
its hops; parent or front on one core, everything else on the other.
"""

from __future__ import annotations

import contextlib

from benchmarks import load, machine, processes, product, ring
from benchmarks.record import Record, Results, arguments, table

CHAIN = product.APPS / "chain.py"
HOPS = 4
SIZES = {"1 KB": 1024, "600 KB": 602_112}
REPEATS = {"1 KB": 2000, "600 KB": 800}
WIDTH = 4  # bytes of a float32
BAR = 3.0
FIELDS = ("p50", "cpu")
Servers = dict[str, processes.Served]


def main() -> None:
    parser = arguments("hop", __doc__ or "", rounds=9, seconds=2.0)
    parser.add_argument("--only-ring", action="store_true", help="leave the product out")
    options = parser.parse_args()
    load.require_wrk()
    results = Results.open("hop", options)
    cores = machine.two_cores()
    with contextlib.ExitStack() as stack:
        grains = () if options.only_ring else ("coarse", "fine")
        servers = {grain: stack.enter_context(_serve(grain, cores)) for grain in grains}
        for turn in range(options.rounds):
            for size in SIZES:
                if not results.has(kind="hop", round=turn, size=size):
                    line = {"kind": "hop", "round": turn, "size": size, **_ring(size, cores)}
                    results.add(line | _chains(size, servers, cores, options.seconds))
    print(_summary(results))
    if servers:
        _bars(results)


def _serve(grain: str, cores: tuple[int, int]) -> processes.Served:
    port = processes.free_ports(1)
    command = product.command(CHAIN, port=port, grain=grain)
    served = processes.Served([command], port=port, name=f"hop-{grain}")
    served.wait(processes.Request(b"1"), lambda data: data.strip() == b"1")
    machine.pin(served.pids(), cores[1])
    machine.pin([served.front], cores[0])
    return served


def _ring(size: str, cores: tuple[int, int]) -> Record:
    echo = ring.echo(SIZES[size], REPEATS[size], cores)
    relay = ring.relay(SIZES[size], REPEATS[size], cores, hops=HOPS)
    costs = {"echo": echo, "relay": relay}
    return {f"{name}_{field}": getattr(cost, field) * 1e6 for name, cost in costs.items() for field in FIELDS}


def _chains(size: str, servers: Servers, cores: tuple[int, int], seconds: float) -> Record:
    """Drive the chain fused and split; microseconds per request and per hop. `front`: its CPU alone."""
    request = processes.Request(str(SIZES[size] // WIDTH).encode())
    line: dict[str, float] = {}
    for grain, served in servers.items():
        groups = {"cpu": served.pids(), "front": [served.front]}
        before = {name: processes.cpu_seconds(pids) for name, pids in groups.items()}
        got = load.drive(served.port, request, connections=1, seconds=seconds, core=cores[1])
        if got.failed:
            raise SystemExit(f"{got.failed} of {got.requests} requests to the {grain} chain failed")
        line[f"{grain}_p50"] = got.p50 * 1e6
        for name, pids in groups.items():
            line[f"{grain}_{name}"] = (processes.cpu_seconds(pids) - before[name]) / got.requests * 1e6
    fields = (*FIELDS, "front") if servers else ()
    hops = {f"hop_{field}": (line[f"fine_{field}"] - line[f"coarse_{field}"]) / HOPS for field in fields}
    return {**line, **hops}


def _summary(results: Results) -> str:
    head = ["us, median of rounds", *(f"{size} {field}" for size in SIZES for field in FIELDS)]
    titles = {
        "echo": "ring, payload there and back (RTT)",
        "relay": "ring, worker -> parent -> worker",
        "hop": "regrain, per hop",
    }
    rows = []
    for name, title in titles.items():
        cells = [
            results.median(f"{name}_{field}", kind="hop", size=size) for size in SIZES for field in FIELDS
        ]
        rows.append([title, *cells])
    return table(head, rows)


def _bars(results: Results) -> None:
    for size in SIZES:
        for field in FIELDS:
            key = {"kind": "hop", "size": size}
            hop, relay, echo = (results.median(f"{name}_{field}", **key) for name in ("hop", "relay", "echo"))
            results.bar(f"hop of {size}, {field}: over the ring's relay", hop / relay, at_most=BAR)
            name = f"hop of {size}, {field}: over half the ring's RTT"
            results.add({"kind": "note", "name": name, "value": hop / (echo / 2)})


if __name__ == "__main__":
    main()
