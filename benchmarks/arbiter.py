"""Measure what a GPU lease costs, how soon a dead holder's is had by the next, and whether weights are kept.

No GPU is needed. Through the product: three apps with weights 3:1:1 on one emulated card (`regrain gpu serve`, `regrain
run` each), called without a pause, and replicas of theirs that are killed while they hold it. By the product's client
alone: a grant (ask, and the lease is there) against a ping-pong over the same kind of socket, with the same event loop,
in the same language; three processes that renew; holders that are killed, one a trial, while another process waits.
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

from benchmarks import processes
from benchmarks.record import Record, Results, arguments, progress
from benchmarks.shared_card import SharedCard, shared
from regrain.wire.lease import Hold, Share, Status
from regrain_runtime.emulated.hold import hold
from regrain_runtime.gpu.client import Client
from regrain_watchdog.gpu.limits import Device, Limits
from regrain_watchdog.gpu.operate import look, recall
from regrain_watchdog.gpu.server import Server

SMS, QUANTUM = 80, 0.02
WEIGHTS = {"heavy": 3.0, "light": 1.0, "other": 1.0}
WARM_UP, TRIPS, TRIALS = 200, 3000, 100
SOON = 0.02
PACKET = 64
REPLICAS = (1, 2)
"""Of each app: with one, it is not among those that wait at the moment its own lease ends."""
WARM = 1.0
"""Seconds that apps are called before their shares are counted."""
PATIENCE = 60.0
"""Seconds in which the next lease must have been granted, and a killed replica's successor be there."""


def main() -> None:
    options = arguments("arbiter", __doc__ or "", rounds=5, seconds=20.0).parse_args()
    results = Results.open("arbiter", options)
    trials = 20 if options.short else TRIALS
    for turn in range(options.rounds):
        if not results.has(kind="grant", round=turn):
            results.add({"kind": "grant", "round": turn, **_grant()})
        if not results.has(kind="processes", round=turn):
            results.add({"kind": "processes", "round": turn, **_weights(options.seconds)})
        for replicas in REPLICAS:
            if not results.has(kind="apps", round=turn, replicas=replicas):
                found = _apps(replicas, options.seconds, options.seed + turn)
                results.add({"kind": "apps", "round": turn, "replicas": replicas, **found})
    if not results.has(kind="death"):
        results.add({"kind": "death", **_deaths(trials)})
    if not results.has(kind="replica death"):
        results.add({"kind": "replica death", **_replica_deaths(trials, options.seed)})
    _bars(results)


def _bars(results: Results) -> None:
    results.bar("grant, times a ping-pong", results.median("ratio", kind="grant"), at_most=10)
    for kind in ("death", "replica death"):
        name = f"{kind}: share with the next grant within 20 ms"
        results.bar(name, results.median("soon", kind=kind), at_least=0.95)
    for name, key in (
        ("three processes", {"kind": "processes"}),
        ("three apps of two replicas", {"kind": "apps", "replicas": 2}),
    ):
        worst = max(results.values("deviation", **key), default=float("nan"))
        results.bar(f"3:1:1, {name}, largest deviation", worst, at_most=0.05)
        results.bar(f"3:1:1, {name}, utilisation", results.median("utilisation", **key), at_least=0.95)


def _grant() -> Record:
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


def _deaths(trials: int) -> Record:
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
    return _soon(times)


def _replica_deaths(trials: int, seed: int) -> Record:
    """Kill replicas of apps while they hold the card; the next lease is another's, as the arbiter's history has it."""
    times: list[float] = []
    with shared(WEIGHTS, replicas=2, seed=seed) as card:
        while len(times) < trials:
            found = processes.until(card.status, _crowded, PATIENCE)
            holder = next((member.pid for member in found.members if member.sms), 0)
            if not _crowded(found):
                raise RuntimeError(f"not all replicas came back within {PATIENCE:g} s: {found.members}")
            start = time.monotonic()
            os.kill(holder, signal.SIGKILL)
            granted = _granted(card, holder, start)
            if granted is not None:
                times.append(granted - start)
                if len(times) % 25 == 0:
                    progress(f"{len(times)} deaths of replicas")
        statuses = {str(status): count for status, count in sorted(card.statuses.items())}
    return {**_soon(times), "statuses": statuses}


def _crowded(found: Status) -> bool:
    """Whether all replicas are there, one holds the card, and another waits."""
    return (
        len(found.members) == 2 * len(WEIGHTS)
        and any(m.sms for m in found.members)
        and any(m.waiting for m in found.members)
    )


def _granted(card: SharedCard, holder: int, killed: float) -> float | None:
    """Return when the first lease began after a process was killed; None if that one held none any more."""
    time.sleep(2 * SOON)  # a look meanwhile would be in the arbiter's way

    def after() -> tuple[list[Hold], list[float]]:
        held = recall(card.path)
        return held, sorted(one.start for one in held if one.start >= killed)

    held, began = processes.until(after, lambda found: bool(found[1]), PATIENCE)
    if not began:
        raise RuntimeError(f"no lease was granted within {PATIENCE:g} s of a holder's death")
    return began[0] if any(one.pid == holder and one.start <= killed <= one.end for one in held) else None


def _soon(times: list[float]) -> Record:
    return {
        "trials": len(times),
        "p50_ms": statistics.median(times) * 1e3,
        "max_ms": max(times) * 1e3,
        "soon": sum(each <= SOON for each in times) / len(times),
    }


def _apps(replicas: int, seconds: float, seed: int) -> Record:
    with shared(WEIGHTS, replicas=replicas, seed=seed) as card:
        time.sleep(WARM)
        found = _shares(card.had, seconds)
    return {**found, "statuses": {str(status): count for status, count in sorted(card.statuses.items())}}


def _weights(seconds: float) -> Record:
    with _folder() as folder, _arbiter(folder) as path, contextlib.ExitStack() as stack:
        for name, weight in WEIGHTS.items():
            stack.enter_context(_process(_work, path, name, weight))
        while len(look(path).members) < len(WEIGHTS):
            time.sleep(0.01)
        return _shares(lambda: {one.name: one.sm_seconds for one in look(path).usage}, seconds)


def _shares(had: Callable[[], dict[str, float]], seconds: float) -> Record:
    """Return the SM-seconds of each over some time, how far they are off the weights, and how busy the card was."""
    before, start = had(), time.monotonic()
    time.sleep(seconds)
    after, wall = had(), time.monotonic() - start
    each = {name: after[name] - before.get(name, 0.0) for name in WEIGHTS}
    total, weights = sum(each.values()), sum(WEIGHTS.values())
    off = max(abs(each[name] / total / (weight / weights) - 1) for name, weight in WEIGHTS.items())
    return {**each, "deviation": off, "utilisation": total / (SMS * wall)}


def _work(path: Path, name: str, weight: float) -> None:
    client = Client(path, name, Share(weight=weight))
    with client.lease(1.0, seconds=QUANTUM, timeout=60) as lease:
        while True:
            hold(QUANTUM)
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
