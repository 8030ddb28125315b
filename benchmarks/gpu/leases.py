"""The check of leases: two processes with weights 3:1, with an arbiter and without."""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from multiprocessing.context import SpawnProcess
from pathlib import Path

from benchmarks.gpu.work import BETWEEN, WARM_UP, gemm
from benchmarks.record import Record
from regrain.wire.lease import Share
from regrain_runtime.gpu.backend import Allowance
from regrain_runtime.gpu.client import Client
from regrain_runtime.gpu.driver import CudaDriver
from regrain_runtime.gpu.lease import LeaseBackend
from regrain_watchdog.gpu.limits import Device
from regrain_watchdog.gpu.server import Server

WEIGHTS = (3.0, 1.0)
QUANTUM = 0.02  # seconds
PATIENCE = 60.0  # seconds


def lease(seconds: float) -> Record:
    """Return the rates of both, with an arbiter and without: how far off 3:1, and what is lost in all."""
    device = CudaDriver().device(0)
    free = _rates(None, seconds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gpu0.sock"
        arbiter = _spawn(_arbitrate, path, device.sms, device.memory)
        try:
            held = _rates(path, seconds)
        finally:
            arbiter.terminate()
            arbiter.join()
    ratio = held[0] / held[1]
    return {
        "free_rates": free,
        "rates": held,
        "free_ratio": free[0] / free[1],
        "ratio": ratio,
        "deviation": abs(ratio / (WEIGHTS[0] / WEIGHTS[1]) - 1),
        "loss": 1 - sum(held) / sum(free),
    }


def _rates(path: Path | None, seconds: float) -> list[float]:
    """Return how many products a second each of two processes does, side by side."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(len(WEIGHTS)), context.SimpleQueue()
    workers = [_spawn(_work, path, index, seconds, barrier, answers) for index in range(len(WEIGHTS))]
    rates = dict(answers.get() for _ in workers)
    for worker in workers:
        worker.join()
    return [rates[index] for index in range(len(WEIGHTS))]


def _work(path: Path | None, index: int, seconds: float, barrier, answers) -> None:
    """Be one of the two: with an arbiter work only within a lease, and fence before each renewal."""
    backend = LeaseBackend(CudaDriver())
    lane = backend.lane(Allowance(part=1.0))
    product = gemm()
    for _ in range(WARM_UP):
        product()
    backend.fence(lane)
    barrier.wait()
    done, until = 0, time.perf_counter() + seconds
    if path is None:
        while time.perf_counter() < until:
            done += _turn(product, lambda: backend.fence(lane), QUANTUM)
    else:
        client = Client(path, f"worker{index}", Share(weight=WEIGHTS[index]))
        with client.lease(1.0, seconds=QUANTUM, timeout=PATIENCE) as held:
            while time.perf_counter() < until:
                done += _turn(product, lambda: backend.fence(lane), held.seconds)
                held.renew(timeout=PATIENCE)
        client.close()
    answers.put((index, done / seconds))


def _turn(product, fence, seconds: float) -> int:
    """Return how many products were done in a turn; a few are launched at a time, so that it ends about in time."""
    done, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        for _ in range(BETWEEN):
            product()
        fence()
        done += BETWEEN
    return done


def _arbitrate(path: Path, sms: int, memory: int) -> None:
    """Be the arbiter until terminated."""

    async def serve() -> None:
        server = Server(path, Device(sms=sms, memory=memory))
        server.start()
        try:
            await asyncio.Event().wait()
        finally:
            server.stop()

    asyncio.run(serve())


def _spawn(function, *arguments: object) -> SpawnProcess:
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments, daemon=True)
    process.start()
    return process
