"""The checks of one process: what is here, where lanes run, how work scales with SMs, how lanes disturb each other."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import onnx_file
from benchmarks.gpu.work import gemm, rate, stream, where
from benchmarks.record import Record
from regrain_runtime.gpu.backend import Allowance, Lane
from regrain_runtime.gpu.driver import CudaDriver
from regrain_runtime.gpu.green import GreenBackend
from regrain_runtime.gpu.lease import LeaseBackend
from regrain_runtime.gpu.libraries import onnx_options

PARTS = (64, 40, 16)
"""SMs of three lanes side by side."""
SIZES = (8, 16, 32, 64, 96, 128)
PAIRS = (("gemm", "gemm"), ("gemm", "stream"), ("stream", "stream"))
PACKAGES = ("torch", "cupy-cuda13x", "cuda-bindings", "nvidia-ml-py", "onnxruntime-gpu")
WIDTH = 2048
WORK = {"gemm": gemm, "stream": stream}


def env(_seconds: float) -> Record:
    """What there is: card, driver, compute mode, MPS, and what NVML tells of processes."""
    import pynvml

    driver = CudaDriver()
    device = driver.device(0)
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    told = {}
    for name in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetMPSComputeRunningProcesses"):
        try:
            told[name] = len(getattr(pynvml, name)(handle))
        except pynvml.NVMLError as error:
            told[name] = str(error)
    return {
        "card": device.name,
        "sms": device.sms,
        "memory": device.memory,
        "compute": list(device.compute),
        "cuda": driver.version(),
        "driver": pynvml.nvmlSystemGetDriverVersion(),
        "compute_mode": pynvml.nvmlDeviceGetComputeMode(handle),
        "mps_control": shutil.which("nvidia-cuda-mps-control"),
        "mps_server": shutil.which("nvidia-cuda-mps-server"),
        "nvml": told,
        "versions": {name: _version(name) for name in PACKAGES},
    }


def green(_seconds: float) -> Record:
    """Where three lanes of one split run, coarse and fine; where the default stream runs; that torch's own overlap."""
    record: Record = {"default_sms": len(where(0))}
    for name, fine in (("", False), ("fine_", True)):
        backend = GreenBackend(CudaDriver(), fine=fine)
        lanes, created = _lanes(backend)
        seen = [where(lane.stream) for lane in lanes]
        record |= {
            f"{name}sms": [len(sms) for sms in seen],
            f"{name}shared_sms": sum(map(len, seen)) - len(set().union(*seen)),
            f"{name}off_sms": sum(abs(len(sms) - lane.sms) for sms, lane in zip(seen, lanes, strict=True)),
            f"{name}short": [lane.short for lane in lanes],
            f"{name}remainder": backend.remainder,
            f"{name}create_ms": created,
            f"{name}lowest": [min(sms) for sms in seen],
        }
        backend.stop()
    return record | _torchs_own()


def curve(seconds: float) -> Record:
    """How fast work goes on ever more SMs, and how well T(s) = a/s + b describes it; s is the part of all SMs."""
    total = CudaDriver().device(0).sms
    record: Record = {"total_sms": total}
    for name, make in WORK.items():
        work = make()
        times = {total: 1 / rate(work, _whole(), seconds / 10)}
        for sms in SIZES:
            backend = GreenBackend(CudaDriver())
            times[sms] = 1 / rate(work, backend.lane(Allowance(part=sms / total)), seconds / 10)
            backend.stop()
        parts = np.array(sorted(times)) / total
        took = np.array([times[sms] for sms in sorted(times)])
        terms = np.stack([1 / parts, np.ones_like(parts)], axis=1) / took[:, None]
        (a, b), *_ = np.linalg.lstsq(terms, np.ones_like(took), rcond=None)  # least relative error
        errors = np.abs((a / parts + b) / took - 1)
        record |= {
            f"{name}_ms": {str(sms): times[sms] * 1e3 for sms in sorted(times)},
            f"{name}_a_ms": float(a) * 1e3,
            f"{name}_b_ms": float(b) * 1e3,
            f"{name}_error": float(errors.max()),
        }
    return record


def interf(seconds: float) -> Record:
    """By what factor work in one half slows when the other half works."""
    backend = GreenBackend(CudaDriver())
    halves = [backend.lane(Allowance(part=0.5)) for _ in range(2)]
    record: Record = {"sms": [lane.sms for lane in halves]}
    for pair in PAIRS:
        works = [WORK[name]() for name in pair]
        alone = [rate(work, lane, seconds / 10) for work, lane in zip(works, halves, strict=True)]
        together = [0.0, 0.0]
        barrier = threading.Barrier(2)

        def run(which: int, *, works=works, together=together, barrier=barrier) -> None:
            together[which] = rate(works[which], halves[which], seconds / 5, begin=barrier.wait)

        threads = [threading.Thread(target=run, args=(which,)) for which in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        record["_".join(pair)] = [one / both for one, both in zip(alone, together, strict=True)]
    return record


def onnx(seconds: float) -> Record:
    """Whether onnxruntime's kernels stay in a lane: the rate in a small lane against that on the whole GPU."""
    try:
        import onnxruntime
    except ImportError as error:
        return {"present": 0, "reason": str(error)}
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return {"present": 0, "reason": "onnxruntime has no CUDA here"}
    backend = GreenBackend(CudaDriver())
    lanes = {"small": backend.lane(Allowance(part=0.13)), "whole": _whole()}
    rates = {name: _onnx_rate(onnxruntime, lane, seconds / 5) for name, lane in lanes.items()}
    return {"present": 1, "sms": lanes["small"].sms, **rates, "slower": rates["whole"] / rates["small"]}


def _onnx_rate(onnxruntime, lane: Lane, seconds: float) -> float:
    """Return how often a second a chain of large products runs in a session of this lane."""
    with tempfile.TemporaryDirectory() as folder:
        model = onnx_file.write(Path(folder) / "products.onnx", _products())
        session = onnxruntime.InferenceSession(
            str(model), providers=[("CUDAExecutionProvider", onnx_options(lane))]
        )
    feed = {"x": np.ones((WIDTH, WIDTH), dtype=np.float32)}
    session.run(None, feed)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        session.run(None, feed)
        done += 1
    return done / (time.perf_counter() - start)


def _products() -> bytes:
    """Return a graph of eight products one after another, which outweigh the copies in and out."""
    names = ["x", *(f"h{index}" for index in range(7)), "y"]
    nodes = [onnx_file.node("MatMul", [taken, "w"], given) for taken, given in itertools.pairwise(names)]
    weights = {"w": np.eye(WIDTH, dtype=np.float32)}
    shape = (WIDTH, WIDTH)
    return onnx_file.graph(nodes, weights, {"x": shape}, {"y": shape})


def _lanes(backend: GreenBackend) -> tuple[list[Lane], list[float]]:
    """Return the three lanes, and the milliseconds that each took; the first one splits."""
    total = CudaDriver().device(0).sms
    lanes, created = [], []
    for sms in PARTS:
        start = time.perf_counter()
        lanes.append(backend.lane(Allowance(part=sms / total)))
        created.append((time.perf_counter() - start) * 1e3)
    return lanes, created


def _torchs_own() -> Record:
    """Return on how many SMs two of torch's own contexts of 64 overlap: the trap that one split avoids."""
    try:
        from torch.cuda.green_contexts import GreenContext

        made: list[Any] = [GreenContext.create(num_sms=64, device_id=0) for _ in range(2)]
        first, second = (where(context.Stream().cuda_stream) for context in made)
    except (ImportError, AttributeError, RuntimeError, TypeError) as error:
        return {"torch_overlap": None, "torch_reason": str(error).partition("\n")[0]}
    return {"torch_overlap": len(first & second)}


def _whole() -> Lane:
    return LeaseBackend(CudaDriver()).lane(Allowance(part=1.0))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
