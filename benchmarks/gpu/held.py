"""The checks of memory: limits, when a dead process's is free, and weights that two processes share."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpu.work import GIB
from benchmarks.record import Record
from regrain.weights.device import lending
from regrain.weights.store import SETTING
from regrain_runtime.gpu.backend import Allowance
from regrain_runtime.gpu.driver import CudaDriver
from regrain_runtime.gpu.lease import LeaseBackend
from regrain_runtime.gpu.libraries import limit_memory
from regrain_runtime.holder.lender import CREDENTIALS, HolderLostError, Lender

HOLDER = """
import sys, torch
pinned = [torch.empty(1 << 30, dtype=torch.uint8, pin_memory=True) for _ in range(int(sys.argv[1]))]
held = torch.ones(8 << 30, dtype=torch.uint8, device="cuda")
print("ready", flush=True)
while True:
    held.add_(1)
"""
LAYERS, WIDTH = 32, 4096
"""Of a module of 2 GiB."""
READERS = 2
KEPT: list[object] = []
"""What a process must not drop before its end."""
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


def weights(_seconds: float) -> Record:
    """Return what replicas add to the device whose holder lends their module, and what its end is to them."""
    import torch

    context = torch.multiprocessing.get_context("spawn")
    answers, orders = context.SimpleQueue(), [context.SimpleQueue() for _ in range(READERS)]
    readers, sums, seconds, used = [], [], [], [_used()]
    with tempfile.TemporaryDirectory() as folder:
        os.environ[SETTING] = folder
        path = Path(folder) / "gpu0.weights"
        for each in orders:
            readers.append(context.Process(target=_borrow, args=(path, answers, each), daemon=True))
            readers[-1].start()
            total, took = answers.get()
            if total is None:
                return {"failed": took}
            sums.append(total)
            seconds.append(took)
            used.append(_used())
        holder = _serving(path)
        pidfd = os.pidfd_open(holder)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [], CAP)
        os.close(pidfd)
        lost = []
        for each in orders:
            each.put("look")
            lost.append(answers.get())
        for each, reader in zip(orders, readers, strict=True):
            each.put("end")
            reader.join(CAP)
    return {
        "module_gib": LAYERS * WIDTH * WIDTH * 4 / GIB,
        "same": int(len(set(sums)) == 1),
        "load_s": seconds,
        "first_gib": (used[1] - used[0]) / GIB,
        "extra_gib": (used[2] - used[1]) / GIB,
        "lost": sum(lost),
        "after_gib": (_used() - used[0]) / GIB,
    }


def _borrow(path: Path, answers, orders) -> None:
    """Be a replica: load a module from its holder, run it, and say on demand whether that is gone."""
    lender = Lender(path, CudaDriver())
    try:
        answers.put(_loaded(lender))
    except Exception as error:  # whatever it is, nobody must wait for it
        answers.put((None, str(error)))
        raise
    while orders.get() == "look":
        try:
            lender.check()
            answers.put(0)
        except HolderLostError:
            answers.put(1)


def _loaded(lender: Lender) -> tuple[float, float]:
    """Return what a module gives that is lent, and the seconds that its load took; it is dropped at the end only."""
    import torch

    from regrain import torch as served

    def build():
        return torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)))

    start = time.perf_counter()
    with lending(lender):
        model = served(build, seed=1, device="cuda")
    took = time.perf_counter() - start
    KEPT.append(model)
    if not lender.lends:
        raise RuntimeError("the module has weights of its own: see the log")
    return float(model(torch.ones(1, WIDTH)).double().sum()), took


def _serving(path: Path) -> int:
    """Return the process that serves a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(str(path))
        return CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))[0]


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
