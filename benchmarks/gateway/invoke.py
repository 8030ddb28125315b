"""An invocation through the gateway, by `regrain run` of the same app, and through a naive proxy to a bare function.

In turns, everything of a server on one core, the load generator on the other.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator

from benchmarks import load, machine, processes, product
from benchmarks.gateway import served
from benchmarks.record import Results, table

CONNECTIONS = 8
THREADS = "8"
SERVERS = ("regrain run", "gateway", "bare function", "naive proxy")
SLOWER, AHEAD = 1.2, 2.0
FIELDS = ("rps", "cpu", "p50", "p99", "p50_c1")
BODY = b"world"


def measure(results: Results, options: argparse.Namespace) -> None:
    """Load each server once a round."""
    todo = [
        (turn, name)
        for turn in range(options.rounds)
        for name in (SERVERS if turn % 2 else SERVERS[::-1])
        if not results.has(kind="invoke", round=turn, server=name)
    ]
    if not todo:
        return
    cores = machine.two_cores()
    with _serve() as servers:
        for one, _ in servers.values():
            machine.pin(one.pids(), cores[0])
        for turn, name in todo:
            visit = _visit(*servers[name], options.seconds, cores[1])
            results.add({"kind": "invoke", "round": turn, "server": name, **visit})


def judge(results: Results) -> None:
    """Print the medians and the bars."""
    medians = {
        name: {field: results.median(field, kind="invoke", server=name) for field in FIELDS}
        for name in SERVERS
    }
    heads = ["server", "rps", "CPU us", "p50 us", "p99 us", "p50 us c1"]
    print(table(heads, [[name, *found.values()] for name, found in medians.items()]))
    gateway, alone = medians["gateway"], medians["regrain run"]
    results.bar(
        "p50 of an invocation over regrain run's", gateway["p50_c1"] / alone["p50_c1"], at_most=SLOWER
    )
    results.bar("CPU of an invocation over regrain run's", gateway["cpu"] / alone["cpu"], at_most=SLOWER)
    results.bar(
        "rate of the gateway over a naive proxy's",
        gateway["rps"] / medians["naive proxy"]["rps"],
        at_least=AHEAD,
    )


Server = tuple[processes.Served, processes.Request]


@contextlib.contextmanager
def _serve() -> Iterator[dict[str, Server]]:
    """Start all; each answers its first request."""
    hello = product.APPS / "hello.py"
    with contextlib.ExitStack() as stack:
        port = processes.free_ports(3, 18800)
        flask, proxy = port + 1, port + 2
        commands = {
            "regrain run": (port, product.command(hello, port=port), {}),
            "bare function": (flask, _gunicorn(flask, "flask_hello"), {}),
            "naive proxy": (
                proxy,
                _gunicorn(proxy, "flask_proxy"),
                {"UPSTREAM": f"http://127.0.0.1:{flask}/"},
            ),
        }
        found: dict[str, Server] = {}
        for name, (at, command, env) in commands.items():
            path = "/function/hello" if name == "naive proxy" else "/"
            one = stack.enter_context(
                processes.Served([command], port=at, env=[env], name=name.replace(" ", "-"))
            )
            found[name] = one, processes.Request(BODY, path=path)
        gateway = stack.enter_context(served.serve())
        gateway.build(hello.read_text(encoding="utf-8"))
        gateway.deploy(labels={"com.openfaas.scale.max": "1"})  # as regrain run has
        found["gateway"] = gateway.served, processes.Request(BODY, path="/function/hello")
        for one, request in found.values():
            one.wait(request, lambda data: BODY in data)
        yield found


def _gunicorn(port: int, app: str) -> list[str]:
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", THREADS]
    return [*command, "--no-control-socket", "--bind", f"127.0.0.1:{port}", f"benchmarks.apps.{app}:app"]


def _visit(
    server: processes.Served, request: processes.Request, seconds: float, core: int
) -> dict[str, float]:
    """Load a server; CPU in microseconds per request, of all its processes."""
    pids = server.pids()
    alone = load.drive(server.port, request, connections=1, seconds=seconds, core=core)
    before = processes.cpu_seconds(pids)
    got = load.drive(server.port, request, connections=CONNECTIONS, seconds=seconds, core=core)
    spent = processes.cpu_seconds(pids) - before
    if got.failed:
        raise SystemExit(f"{got.failed} of {got.requests} requests failed")
    times = {"p50": got.p50 * 1e6, "p99": got.p99 * 1e6, "p50_c1": alone.p50 * 1e6}
    return {"rps": got.rate, "cpu": spent / got.requests * 1e6, **times}
