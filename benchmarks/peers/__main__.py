"""Compare the peers on hello, a no-op chain and a small pipeline, fused and split.

Per workload and form all peers are started, one after another, and stay up; each round then visits them in
turn, the order rotating, so that a noisy stretch of the machine meets all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path

from benchmarks import load, machine, processes
from benchmarks.peers import adapters, report, workloads
from benchmarks.record import Results, arguments

FORMS = (("hello", False), ("noop", False), ("noop", True), ("pipeline", False), ("pipeline", True))
CONNECTIONS = (1, 8, 32)
SETTLE = 1.0
"""Seconds between the first answer and the look at memory."""


def main() -> None:
    options = _options()
    load.require_wrk()
    os.environ["BENCH_MODELS"] = str(options.venvs / "models")
    peers = [peer(options.venvs) for peer in adapters.PEERS if peer.name in options.peers.split(",")]
    for peer in peers:
        if not peer.is_installed:
            raise SystemExit(
                f"{peer.name} is not installed in {options.venvs}: run benchmarks/peers/install.sh"
            )
    results = Results.open("peers", options, free=("peers", "workloads"))
    for workload, split in FORMS:
        if workload in options.workloads.split(","):
            _compare(peers, workload, split, options, results)
    print(report.tables(results, [peer.name for peer in peers]))
    report.bars(results)


def _options() -> argparse.Namespace:
    parser = arguments("peers", __doc__ or "", rounds=5, seconds=2.0)
    venvs = os.environ.get("BENCH_VENVS")
    parser.add_argument(
        "--venvs",
        type=Path,
        default=venvs,
        required=venvs is None,
        help="what install.sh filled; or BENCH_VENVS",
    )
    names = ",".join(peer.name for peer in adapters.PEERS)
    parser.add_argument("--peers", default=names, help=f"default {names}")
    parser.add_argument("--workloads", default=",".join(workloads.WORKLOADS), help="default all")
    return parser.parse_args()


def _compare(
    peers: list[adapters.Peer], workload: str, split: bool, options: argparse.Namespace, results: Results
) -> None:
    form = {"workload": workload, "split": split}
    todo = [(turn, peer) for turn in range(options.rounds) for peer in _rotated(peers, turn)]
    todo = [
        (turn, peer)
        for turn, peer in todo
        if not results.has(kind="load", round=turn, peer=peer.name, **form)
    ]
    if not todo:
        return
    body = workloads.body(workload, options.seed)
    expected = workloads.fused(workload)(body)
    with contextlib.ExitStack() as stack:
        servers = {}
        for peer in {peer.name: peer for _, peer in todo}.values():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            served = stack.enter_context(_start(peer, workload, folder, split=split))
            started = served.wait(
                peer.request(workload, body), lambda data, peer=peer: peer.answer(data) == expected
            )
            time.sleep(SETTLE)
            servers[peer.name] = served
            if not results.has(kind="start", peer=peer.name, **form):
                pss, rss = processes.memory(served.pids())
                sizes = {"pss_mib": pss / machine.MEBIBYTE, "rss_mib": rss / machine.MEBIBYTE}
                counted = {"processes": len(served.pids()), "seconds": round(started, 3)}
                results.add({"kind": "start", "peer": peer.name, **form, **counted, **sizes})
        for turn, peer in todo:
            visit = _visit(servers[peer.name], peer.request(workload, body), options.seconds)
            results.add({"kind": "load", "round": turn, "peer": peer.name, **form, **visit})


def _start(peer: adapters.Peer, workload: str, folder: Path, *, split: bool) -> processes.Served:
    port = processes.free_ports(4)
    commands = peer.commands(workload, port, folder, split=split)
    common = adapters.environment(workload, port, processes.ROOT, peer.venvs / "models", split=split)
    environments = [{**common, **extra} for _, extra in commands]
    name = f"{peer.name}-{workload}-{'split' if split else 'fused'}"
    return processes.Served([argv for argv, _ in commands], port=port, env=environments, name=name)


def _visit(served: processes.Served, request: processes.Request, seconds: float) -> dict[str, float]:
    """Load a server at each concurrency; times in milliseconds, CPU of all its processes per request."""
    found: dict[str, float] = {}
    for connections in CONNECTIONS:
        pids = served.pids()
        cpu, busy, began = processes.cpu_seconds(pids), machine.busy_seconds()[0], time.perf_counter()
        got = load.drive(served.port, request, connections=connections, seconds=seconds)
        cpu = processes.cpu_seconds(pids) - cpu
        found[f"rps_c{connections}"] = round(got.rate, 1)
        found[f"p50_c{connections}"] = round(got.p50 * 1e3, 4)
        found[f"p99_c{connections}"] = round(got.p99 * 1e3, 4)
        found[f"cpu_c{connections}"] = round(cpu / max(1, got.requests) * 1e3, 4)
        found[f"failed_c{connections}"] = got.failed
        found[f"machine_c{connections}"] = round(
            (machine.busy_seconds()[0] - busy) / (time.perf_counter() - began), 2
        )
    return found


def _rotated(peers: list[adapters.Peer], turn: int) -> list[adapters.Peer]:
    first = turn % len(peers)
    return peers[first:] + peers[:first]


if __name__ == "__main__":
    main()
