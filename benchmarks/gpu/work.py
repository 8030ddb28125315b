"""Work for a GPU, and how fast it goes in a lane."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from regrain_runtime.gpu.backend import Lane
from regrain_runtime.gpu.libraries import in_lane

Work = Callable[[], object]
MIB = 1 << 20
GIB = 1 << 30
WHERE = r"""
extern "C" __global__ void where(unsigned int* seen, long long cycles) {
    unsigned int sm;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
    if (threadIdx.x == 0) seen[sm] = 1;
    long long start = clock64();
    while (clock64() - start < cycles) { }
}
"""
SPIN = 200_000
"""Cycles that a block stays, so that blocks do not wait their turn on a few SMs."""
BLOCKS, THREADS, MOST_SMS = 8192, 256, 1024
WARM_UP, BETWEEN = 3, 8
"""Launches before any is counted, and between two looks at the clock."""


def where(stream: int) -> set[int]:
    """Return the SMs on which a kernel in this stream runs; stream 0 is the default one."""
    import cupy
    import numpy as np

    kernel = cupy.RawKernel(WHERE, "where")
    seen = cupy.zeros(MOST_SMS, dtype=cupy.uint32)
    cupy.cuda.Device().synchronize()
    with cupy.cuda.ExternalStream(stream) if stream else contextlib.nullcontext():
        kernel((BLOCKS,), (THREADS,), (seen, np.int64(SPIN)))
    cupy.cuda.Device().synchronize()
    return set(np.flatnonzero(cupy.asnumpy(seen)).tolist())


def gemm(size: int = 4096) -> Work:
    """Return a product of two square bfloat16 matrices: bound by compute."""
    import torch

    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=product)


def stream(nbytes: int = 512 * MIB) -> Work:
    """Return a kernel that reads and writes so many bytes each: bound by memory."""
    import torch

    source = torch.zeros(nbytes // 4, device="cuda")
    target = torch.empty_like(source)
    return lambda: torch.add(source, 1.0, out=target)


def rate(work: Work, lane: Lane, seconds: float, *, begin: Callable[[], object] = lambda: None) -> float:
    """Return how often a second work is done in a lane; `begin` is called once it is warm."""
    import torch

    with in_lane(lane, torch.cuda):
        current = torch.cuda.current_stream()
        for _ in range(WARM_UP):
            work()
        current.synchronize()
        begin()
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            for _ in range(BETWEEN):
                work()
            done += BETWEEN
            current.synchronize()
        return done / (time.perf_counter() - start)
