"""The checks of memory: limits, when a dead process's is free, and weights that two processes share."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

from benchmarks.gpu.work import GIB
from benchmarks.record import Record
from regrain_runtime.gpu.backend import Allowance
from regrain_runtime.gpu.driver import CudaDriver
from regrain_runtime.gpu.lease import LeaseBackend
from regrain_runtime.gpu.libraries import limit_memory

HOLDER = """
import sys, torch
pinned = [torch.empty(1 << 30, dtype=torch.uint8, pin_memory=True) for _ in range(int(sys.argv[1]))]
held = torch.ones(8 << 30, dtype=torch.uint8, device="cuda")
print("ready", flush=True)
while True:
    held.add_(1)
"""
PINNED = (0, 16)  # GiB
NEAR = GIB // 4
"""Bytes that count as free again: other processes come and go a little."""
CAP, LOOK = 60.0, 0.005  # seconds


def mem(_seconds: float) -> Record:
    """Return whether torch's limit refuses, how fast host memory gets across, and when a killed holder's is free."""
    import torch

    record: Record = {"refuses": _refuses(), "h2d_gb_s": {}}
    for kind, pinned in (("pinned", True), ("pageable", False)):
        host = torch.empty(GIB, dtype=torch.uint8, pin_memory=pinned)
        record["h2d_gb_s"][kind] = _copy_rate(host)
        del host
    torch.cuda.empty_cache()
    return record | {f"killed_with_{gib}_gib_pinned": _killed(gib) for gib in PINNED}


def ipc(_seconds: float) -> Record:
    """Return how many GiB of the device a second process adds that maps 8 GiB of another's weights."""
    import torch

    weights = torch.ones(8 * GIB, dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    before = _used()
    context = torch.multiprocessing.get_context("spawn")
    given, answers = context.SimpleQueue(), context.SimpleQueue()
    go_on = context.Event()
    reader = context.Process(target=_read, args=(given, answers, go_on), daemon=True)
    reader.start()
    given.put(weights)
    found = answers.get()
    after = _used()
    go_on.set()
    reader.join(CAP)
    return {"same": int(found == 8 * GIB), "extra_gib": (after - before) / GIB}


def _read(given, answers, go_on) -> None:
    """Be the second process: map the weights, read them all, and stay until both were looked at."""
    weights = given.get()
    answers.put(int(weights.view(-1, 1 << 20).sum(dim=1).sum()))
    go_on.wait(CAP)


def _refuses() -> int:
    """Whether torch refuses to allocate twice the memory of a lane."""
    import torch

    backend = LeaseBackend(CudaDriver())
    lane = backend.lane(Allowance(part=1.0, memory=4 * GIB))
    limit_memory(lane, torch.cuda)
    try:
        torch.empty(8 * GIB, dtype=torch.uint8, device="cuda")
    except torch.OutOfMemoryError:
        return 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)
        backend.stop()
    return 0


def _copy_rate(host) -> float:
    import torch

    target = torch.empty(GIB, dtype=torch.uint8, device="cuda")
    target.copy_(host)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(4):
        target.copy_(host, non_blocking=True)
    torch.cuda.synchronize()
    return 4 * GIB / 1e9 / (time.perf_counter() - start)


def _killed(gib: int) -> Record:
    """Kill a process at work; return the seconds until it is gone, and until NVML sees its memory free."""
    before = _used()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(gib)], stdout=subprocess.PIPE, text=True)
    try:
        if holder.stdout is None or holder.stdout.readline() != "ready\n":
            return {"failed": "it did not come to hold anything"}
        held = _used() - before
        pidfd = os.pidfd_open(holder.pid)
        start = time.perf_counter()
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        gone = select.select([pidfd], [], [], CAP)[0]
        ended = time.perf_counter() - start
        os.close(pidfd)
        while (used := _used()) > before + NEAR and time.perf_counter() - start < CAP:
            time.sleep(LOOK)
        free = time.perf_counter() - start
    finally:
        holder.kill()
        holder.wait()
    return {
        "held_gib": held / GIB,
        "gone_s": ended if gone else None,
        "free_s": free if used <= before + NEAR else None,
    }


def _used() -> int:
    import pynvml

    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used
