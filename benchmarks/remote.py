"""Measure what a hop to another pod costs, beside a bare keep-alive HTTP call of the same bytes.

A chain hands an array on over four groups. Once all are in one pod, once the two in the middle are in a pod of their
own each, so that the array goes there and back twice. What that takes longer, halved, is a hop. The bare call is
Python's http.client to granian, which answers with the body that it got; wrk to granian, all of it compiled, stands
beside it. All at concurrency 1, one after the other in each round; the front that is asked on one core, everything else
on the other.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import load, machine, processes, product
from benchmarks.record import Record, Results, arguments, table

CHAIN = product.APPS / "chain.py"
GRAIN = "make | second+third | fourth | count"
AWAY = ("second+third", "fourth")
SIZES = {"1 KB": 1024, "100 KB": 102_400, "600 KB": 602_112}
WIDTH = 4  # bytes of a float32
BAR = 2.0


def main() -> None:
    options = arguments("remote", __doc__ or "", rounds=9, seconds=2.0).parse_args()
    load.require_wrk()
    results = Results.open("remote", options)
    cores = machine.two_cores()
    machine.pin([os.getpid()], cores[1])
    with contextlib.ExitStack() as stack:
        key = Path(stack.enter_context(tempfile.TemporaryDirectory()), "key")
        key.touch(0o600)
        key.write_text(secrets.token_hex(16))
        servers = {
            "one pod": stack.enter_context(_pod(key, cores)),
            "three pods": _three(stack, key, cores),
            "bare": stack.enter_context(_bare(cores)),
        }
        for turn in range(options.rounds):
            for size in SIZES:
                if not results.has(kind="hop", round=turn, size=size):
                    results.add(
                        {
                            "kind": "hop",
                            "round": turn,
                            "size": size,
                            **_round(servers, size, options.seconds, cores[1]),
                        }
                    )
    _report(results)


def _three(stack: contextlib.ExitStack, key: Path, cores: tuple[int, int]) -> processes.Served:
    """Start the pods of the middle groups, and one that sends these there; return that."""
    others = {group: stack.enter_context(_pod(key, cores)) for group in AWAY}
    for served in others.values():
        machine.pin([served.front], cores[1])
    remote = ",".join(f"{group}=http://127.0.0.1:{served.port}" for group, served in others.items())
    return stack.enter_context(_pod(key, cores, remote))


def _pod(key: Path, cores: tuple[int, int], remote: str = "") -> processes.Served:
    port = processes.free_ports(1)
    command = [
        *product.command(CHAIN, port=port, grain=GRAIN),
        "--grpc-port",
        "off",
        "--remote-key-file",
        str(key),
    ]
    served = processes.Served(
        [[*command, *(["--remote", remote] if remote else [])]], port=port, name="remote"
    )
    served.wait(processes.Request(b"1"), lambda data: data.strip() == b"1")
    machine.pin(served.pids(), cores[1])
    machine.pin([served.front], cores[0])
    return served


def _bare(cores: tuple[int, int]) -> processes.Served:
    port = processes.free_ports(1)
    flags = [
        "--interface",
        "rsgi",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-ws",
        "--log-level",
        "error",
    ]
    served = processes.Served(
        [[sys.executable, "-m", "granian", *flags, "benchmarks.apps.bare:app"]], port=port, name="bare"
    )
    served.wait(processes.Request(b"1"), lambda data: b"1" in data)
    machine.pin(served.pids(), cores[0])
    return served


def _round(servers: dict[str, processes.Served], size: str, seconds: float, core: int) -> Record:
    """Ask each server; microseconds at the median, and the hop between them."""
    line: dict[str, float] = {}
    for name, served in servers.items():
        body = b"x" * SIZES[size] if name == "bare" else str(SIZES[size] // WIDTH).encode()
        got = load.drive(served.port, processes.Request(body), connections=1, seconds=seconds, core=core)
        if got.failed:
            raise SystemExit(f"{got.failed} of {got.requests} requests to {name} failed")
        line[name] = got.p50 * 1e6
    line["bare"], line["wrk"] = _call(servers["bare"].port, SIZES[size], seconds), line["bare"]
    return {**line, "hop": (line["three pods"] - line["one pod"]) / len(AWAY)}


def _call(port: int, nbytes: int, seconds: float) -> float:
    """Return the microseconds that a bare call takes at the median."""
    connection, body, took = http.client.HTTPConnection("127.0.0.1", port), b"x" * nbytes, []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        connection.request("POST", "/", body)
        connection.getresponse().read()
        took.append(time.perf_counter() - began)
    connection.close()
    return statistics.median(took) * 1e6


def _report(results: Results) -> None:
    rows = [
        [name, *(results.median(name, kind="hop", size=size) for size in SIZES)]
        for name in ("wrk", "bare", "one pod", "three pods", "hop")
    ]
    print(table(["us at the median", *SIZES], rows))
    for size in SIZES:
        key = {"kind": "hop", "size": size}
        ratio = results.median("hop", **key) / results.median("bare", **key)
        results.bar(f"hop of {size} to another pod: over a bare HTTP call", ratio, at_most=BAR)
        ratio = results.median("hop", **key) / results.median("wrk", **key)
        results.add({"kind": "note", "name": f"hop of {size} to another pod: over wrk's", "value": ratio})


if __name__ == "__main__":
    main()
