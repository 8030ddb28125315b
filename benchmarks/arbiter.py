"""Measure what a GPU lease costs, how soon a dead holder's is had by the next, and whether weights are kept.

No GPU is needed: a kernel is a timed hold. A grant (ask, and the lease is there) is held against a ping-pong over the
same kind of socket, with the same event loop, in the same language. Each trial of a death has a new holder, killed
while another waits. The weights are those of three processes that hold the whole device for 20 ms at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import uvloop

from benchmarks.record import Results, arguments, progress
from regrain.wire.lease import Share
from regrain_runtime.gpu.client import Client
from regrain_watchdog.gpu.limits import Device, Limits
from regrain_watchdog.gpu.operate import look
from regrain_watchdog.gpu.server import Server

SMS, QUANTUM = 80, 0.02
WEIGHTS = {"heavy": 3.0, "light": 1.0, "other": 1.0}
WARM_UP, TRIPS, TRIALS = 200, 3000, 100
SOON = 0.02
PACKET = 64


def main() -> None:
    parser = arguments("arbiter", __doc__ or "", rounds=5, seconds=20.0)
    options = parser.parse_args()
    results = Results.open("arbiter", options)
    trials = 20 if options.short else TRIALS
    for turn in range(options.rounds):
        if not results.has(kind="grant", round=turn):
            results.add({"kind": "grant", "round": turn, **_grant()})
        if not results.has(kind="weights", round=turn):
            results.add({"kind": "weights", "round": turn, **_weights(options.seconds)})
    if not results.has(kind="death"):
        results.add({"kind": "death", **_deaths(trials)})
    _bars(results)


def _bars(results: Results) -> None:
    results.bar("grant, times a ping-pong", results.median("ratio", kind="grant"), at_most=10)
    results.bar(
        "share of deaths with the next grant within 20 ms",
        results.median("soon", kind="death"),
        at_least=0.95,
    )
    results.bar("3:1:1, largest deviation", max(results.values("deviation", kind="weights")), at_most=0.05)
    results.bar("3:1:1, utilisation", results.median("utilisation", kind="weights"), at_least=0.95)


def _grant() -> dict[str, object]:
    """Take turns, so that a noisy moment is in both."""
    with _folder() as folder, _arbiter(folder) as path, _process(_echo, folder / "echo.sock"):
        client = Client(path, "bench", Share())
        bare = _connect(folder / "echo.sock")
        pings, grants = [], []
        for trip in range(WARM_UP + TRIPS):
            start = time.perf_counter()
            bare.send(b"x" * PACKET)
            bare.recv(PACKET)
            pinged = time.perf_counter()
            with client.lease(1.0, seconds=1.0):
                granted = time.perf_counter()
            if trip >= WARM_UP:
                pings.append(pinged - start)
                grants.append(granted - pinged)
        ping, grant = statistics.median(pings), statistics.median(grants)
        tail = statistics.quantiles(grants, n=100)[98]
    return {"ping_us": ping * 1e6, "grant_us": grant * 1e6, "p99_us": tail * 1e6, "ratio": grant / ping}


def _deaths(trials: int) -> dict[str, object]:
    with _folder() as folder, _arbiter(folder) as path:
        times = []
        waiter_in, orders = os.pipe()
        reports, waiter_out = os.pipe()
        with _process(_wait_in_turn, path, waiter_in, waiter_out):
            for trial in range(trials):
                ready, holding = os.pipe()
                with _process(_hold, path, holding) as holder:
                    os.read(ready, 1)
                    os.write(orders, b"x")
                    while not any(member.waiting for member in look(path).members):
                        time.sleep(0.001)
                    start = time.monotonic()
                    os.kill(holder, signal.SIGKILL)
                    times.append(float(os.read(reports, 64)) - start)
                os.close(ready)
                os.close(holding)
                if trial % 25 == 24:
                    progress(f"{trial + 1} deaths")
    soon = sum(each <= SOON for each in times) / len(times)
    return {
        "trials": trials,
        "p50_ms": statistics.median(times) * 1e3,
        "max_ms": max(times) * 1e3,
        "soon": soon,
    }


def _weights(seconds: float) -> dict[str, object]:
    with _folder() as folder, _arbiter(folder) as path, contextlib.ExitStack() as stack:
        for name, weight in WEIGHTS.items():
            stack.enter_context(_process(_work, path, name, weight))
        while len(look(path).members) < len(WEIGHTS):
            time.sleep(0.01)
        before, start = _served(path), time.monotonic()
        time.sleep(seconds)
        after, wall = _served(path), time.monotonic() - start
    had = {name: after[name] - before.get(name, 0.0) for name in WEIGHTS}
    total, weights = sum(had.values()), sum(WEIGHTS.values())
    off = max(abs(had[name] / total / (weight / weights) - 1) for name, weight in WEIGHTS.items())
    return {**had, "deviation": off, "utilisation": total / (SMS * wall)}


def _served(path: Path) -> dict[str, float]:
    return {usage.name: usage.sm_seconds for usage in look(path).usage}


def _work(path: Path, name: str, weight: float) -> None:
    client = Client(path, name, Share(weight=weight))
    with client.lease(1.0, seconds=QUANTUM, timeout=60) as lease:
        while True:
            time.sleep(QUANTUM)
            lease.renew(timeout=60)


def _hold(path: Path, holding: int) -> None:
    with Client(path, "holder", Share()).lease(1.0, seconds=1.0, timeout=60):
        os.write(holding, b"x")
        signal.pause()


def _wait_in_turn(path: Path, orders: int, reports: int) -> None:
    client = Client(path, "waiter", Share())
    while os.read(orders, 1):
        with client.lease(1.0, seconds=1.0, timeout=60):
            os.write(reports, f"{time.monotonic():.9f}".encode())


def _serve(path: Path) -> None:
    async def serve() -> None:
        server = Server(path, Device(sms=SMS, memory=16 << 30), limits=Limits(hang=1e6))
        server.start()
        await asyncio.Event().wait()

    uvloop.run(serve())


def _echo(path: Path) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(path))
        listener.listen()
        sock, _ = listener.accept()
        sock.setblocking(False)
        loop.add_reader(sock, lambda: sock.send(sock.recv(PACKET)))
        await asyncio.Event().wait()

    uvloop.run(serve())


def _connect(path: Path) -> socket.socket:
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(str(path))
        except OSError:
            sock.close()
            time.sleep(0.005)
        else:
            return sock


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@contextlib.contextmanager
def _arbiter(folder: Path) -> Iterator[Path]:
    path = folder / "gpu.sock"
    with _process(_serve, path):
        _connect(path).close()
        yield path


@contextlib.contextmanager
def _process(run: Callable[..., None], *words: object) -> Iterator[int]:
    """Run a function in a child until the end of the `with`; its pid."""
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            run(*words)
        os._exit(0)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
