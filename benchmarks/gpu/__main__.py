"""Verify on a GPU what the capability records claim; one JSON line a check, 4 to 6 minutes in all.

It needs an NVIDIA GPU with compute capability 9.0 or later and a driver for CUDA 13, torch, cupy, cuda-bindings and
nvidia-ml-py. Without a GPU it says so and exits with code 1. Once the figures are committed, `verified` in
runtime/regrain_runtime/gpu/capability.py gets the day and the card for each backend whose bars are met.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from argparse import Namespace

from benchmarks.record import Record, Results, arguments, progress
from regrain_runtime.gpu.driver import CudaDriver, GpuError

CHECKS = {
    "env": "spatial",
    "green": "spatial",
    "curve": "spatial",
    "interf": "spatial",
    "lease": "leases",
    "mem": "held",
    "ipc": "held",
    "weights": "held",
    "mps": "service",
    "onnx": "spatial",
}
"""Each check and the module that has it, as a function of that name."""
LIMIT = 180.0
"""Seconds that a check may take."""


def main() -> None:
    parser = arguments("gpu", __doc__ or "", rounds=1, seconds=5.0)
    parser.add_argument("--only", default=",".join(CHECKS), help="checks, separated by commas; default all")
    parser.add_argument("--check", choices=CHECKS, help="be the process of one check")
    options = parser.parse_args()
    _require_gpu()
    if options.check:
        module = importlib.import_module(f"benchmarks.gpu.{CHECKS[options.check]}")
        print(json.dumps(getattr(module, options.check)(options.seconds)))
        return
    results = Results.open("gpu", options, free=("only",))
    for turn in range(options.rounds):
        for name in options.only.split(","):
            if not results.has(kind=name, round=turn):
                progress(name)
                results.add({"kind": name, "round": turn, **_run(name, options)})
    _bars(results)


def _require_gpu() -> None:
    try:
        if CudaDriver().devices():
            return
        reason = "this process sees none"
    except GpuError as error:
        reason = str(error)
    raise SystemExit(f"no GPU: {reason}")


def _run(name: str, options: Namespace) -> Record:
    """Return what a check found, or how it failed; the others go on."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--check", name, "--seconds", str(options.seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {LIMIT:g} s"}
    sys.stderr.write(done.stderr)
    if done.returncode:
        return {"failed": (done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1]}
    found: Record = json.loads(done.stdout.splitlines()[-1])
    return found


def _bars(results: Results) -> None:
    """Judge what the records claim; NaN, where a check failed, meets no bar."""
    results.bar("green: SMs in two lanes", results.median("shared_sms", kind="green"), at_most=0)
    results.bar("green: SMs off a lane's size", results.median("off_sms", kind="green"), at_most=0)
    results.bar(
        "curve: largest error of a/s + b for GEMM", results.median("gemm_error", kind="curve"), at_most=0.1
    )
    results.bar("lease: 3:1 off by", results.median("deviation", kind="lease"), at_most=0.05)
    results.bar("lease: loss against no arbiter", results.median("loss", kind="lease"), at_most=0.05)
    results.bar("mem: torch's limit refuses", results.median("refuses", kind="mem"), at_least=1)
    results.bar("ipc: GiB that a second process adds", results.median("extra_gib", kind="ipc"), at_most=1)
    results.bar("weights: the same in both processes", results.median("same", kind="weights"), at_least=1)
    results.bar(
        "weights: GiB that a second process adds", results.median("extra_gib", kind="weights"), at_most=1
    )
    results.bar(
        "weights: processes told of the holder's end", results.median("lost", kind="weights"), at_least=2
    )
    if results.median("present", kind="mps") == 1:
        results.bar("mps: the memory limit refuses", results.median("refuses", kind="mps"), at_least=1)
        results.bar("mps: a client is listed", results.median("listed", kind="mps"), at_least=1)
        results.bar("mps: ACTIVE after terminate_client", results.median("active", kind="mps"), at_least=1)


if __name__ == "__main__":
    main()
