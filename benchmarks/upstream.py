"""Measure what stands before a Flask function: the front, of-watchdog, nothing; each before the same gunicorn.

of-watchdog's binary is named by OF_WATCHDOG (https://github.com/openfaas/of-watchdog); without it its turn is left
out. In turns, everything of a server on one core, the load generator on the other. At the end both watchdogs get
SIGTERM under load before a server that dies of it, and what was lost is counted.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import load, machine, processes
from benchmarks.record import Results, arguments, table

APP = "benchmarks.apps.flask_hello:app"
CONNECTIONS = 8
THREADS = 8
SERVERS = ("gunicorn", "regrain", "of-watchdog")
LARGE = 100_000


def main() -> None:
    options = arguments("upstream", __doc__ or "", rounds=9, seconds=3.0).parse_args()
    load.require_wrk()
    binary = os.environ.get("OF_WATCHDOG", "")
    if not binary:
        print("of-watchdog: left out; set OF_WATCHDOG to its binary", flush=True)
    names = [name for name in SERVERS if binary or name != "of-watchdog"]
    results = Results.open("upstream", options)
    cores = machine.two_cores()
    requests = {"hello": processes.Request(b"world"), "100 KB": processes.Request(b"x" * LARGE)}
    with contextlib.ExitStack() as stack:
        served = {name: stack.enter_context(_serve(name, binary, cores)) for name in names}
        for turn in range(options.rounds):
            for size, request in requests.items():
                for name in names if turn % 2 else names[::-1]:
                    if not results.has(kind="load", round=turn, server=name, body=size):
                        visit = _visit(served[name], request, options.seconds, cores)
                        results.add({"kind": "load", "round": turn, "server": name, "body": size, **visit})
    for name in names[1:]:
        results.add({"kind": "drain", "server": name, **_drain(name, binary)})
    _report(results, names, list(requests))
    results.bar("requests lost to SIGTERM under load", results.median("lost", server="regrain"), at_most=0)


def _report(results: Results, names: list[str], sizes: list[str]) -> None:
    fields = ("rps", "cpu", "own_cpu", "p50", "p99", "p50_c1")
    heads = ["server", "body", "rps", "all CPU us", "own CPU us", "p50 us", "p99 us", "p50 us c1"]
    medians = {
        (name, size): {field: results.median(field, server=name, body=size) for field in fields}
        for name in names
        for size in sizes
    }
    print(table(heads, [[name, size, *found.values()] for (name, size), found in medians.items()]))
    if "of-watchdog" not in names:
        return
    for size in sizes:
        bare = medians["gunicorn", size]
        ours, theirs = (medians[name, size]["p50_c1"] - bare["p50_c1"] for name in ("regrain", "of-watchdog"))
        results.bar(f"latency added to {size} over of-watchdog's", ours / theirs, at_most=1.0)
        ratio = medians["regrain", size]["own_cpu"] / medians["of-watchdog", size]["own_cpu"]
        results.add(
            {"kind": "note", "name": f"CPU of the watchdog for {size} over of-watchdog's", "value": ratio}
        )


def _serve(name: str, binary: str, cores: tuple[int, int]) -> processes.Served:
    port = processes.free_ports(3, 18300 + 10 * SERVERS.index(name))
    inner, metrics = port + 1, port + 2
    listening = port if name == "gunicorn" else inner
    gunicorn = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", str(THREADS)]
    gunicorn += ["--no-control-socket", "--bind", f"127.0.0.1:{listening}", APP]
    command, env = _command(name, binary, gunicorn, (port, inner, metrics))
    served = processes.Served([command], port=port, env=[env], name=f"upstream-{name}")
    served.wait(processes.Request(b"world"), lambda data: b"world" in data)
    machine.pin(served.pids(), cores[0])
    return served


def _command(
    name: str, binary: str, gunicorn: list[str], ports: tuple[int, int, int]
) -> tuple[list[str], Mapping[str, str]]:
    """The command of a server and the variables that it needs; both watchdogs are set by of-watchdog's own."""
    if name == "gunicorn":
        return gunicorn, {}
    port, inner, metrics = ports
    env = {"mode": "http", "fprocess": " ".join(gunicorn), "upstream_url": f"http://127.0.0.1:{inner}"}
    env |= {"port": str(port), "suppress_lock": "false", "REGRAIN_METRICS_PORT": str(metrics)}
    env |= {"TMPDIR": str(Path("/tmp"))}
    return ([binary] if name == "of-watchdog" else [sys.executable, "-m", "regrain_watchdog.cli", "run"]), env


def _drain(name: str, binary: str) -> dict[str, int]:
    """End a watchdog under load; every request that was not refused a connection must be answered 200."""
    port = processes.free_ports(3, 18400)
    inner, metrics = port + 1, port + 2
    flask = [
        sys.executable,
        "-m",
        "flask",
        "--app",
        "benchmarks.apps.flask_hello",
        "run",
        "--port",
        str(inner),
    ]
    command, env = _command(name, binary, flask, (port, inner, metrics))
    env = {**env, "healthcheck_interval": "1s", "write_timeout": "5s"}
    with processes.Served([command], port=port, env=[env], name=f"drain-{name}") as served:
        served.wait(processes.Request(b"world"), lambda data: b"world" in data)
        with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
            clients = [pool.submit(_ask_until_refused, port) for _ in range(CONNECTIONS)]
            time.sleep(1.0)
            os.kill(served.front, signal.SIGTERM)
            counts = [client.result() for client in clients]
    return {"answered": sum(good for good, _ in counts), "lost": sum(bad for _, bad in counts)}


def _ask_until_refused(port: int) -> tuple[int, int]:
    good = bad = 0
    request = processes.Request(b"world", path="/slow")
    while True:
        try:
            status, _ = request.send(port)
        except ConnectionRefusedError:
            return good, bad
        except (OSError, http.client.HTTPException):
            status = 0
        good, bad = (good + 1, bad) if status == http.HTTPStatus.OK else (good, bad + 1)


def _visit(
    served: processes.Served, request: processes.Request, seconds: float, cores: tuple[int, int]
) -> dict[str, float]:
    """Load a server; CPU in microseconds per request, of all its processes and of the first alone."""
    pids = served.pids()
    alone = load.drive(served.port, request, connections=1, seconds=seconds, core=cores[1])
    before = processes.cpu_seconds([served.front]), processes.cpu_seconds(pids)
    got = load.drive(served.port, request, connections=CONNECTIONS, seconds=seconds, core=cores[1])
    after = processes.cpu_seconds([served.front]), processes.cpu_seconds(pids)
    if got.failed:
        raise SystemExit(f"{got.failed} of {got.requests} requests failed")
    own, everything = ((late - early) / got.requests * 1e6 for early, late in zip(before, after, strict=True))
    times = {"p50": got.p50 * 1e6, "p99": got.p99 * 1e6, "p50_c1": alone.p50 * 1e6}
    return {"rps": got.rate, "own_cpu": own, "cpu": everything, **times}


if __name__ == "__main__":
    main()
