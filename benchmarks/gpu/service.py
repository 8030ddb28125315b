"""The check of NVIDIA's Multi-Process Service, with a daemon of its own in folders of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.work import GIB
from benchmarks.record import Record
from regrain_runtime.gpu.backend import Allowance
from regrain_runtime.gpu.driver import CudaDriver, GpuError
from regrain_runtime.gpu.mps import BINARY, Daemon, MpsBackend

PARTS = (1.0, 0.5, 0.1, 0.01)
SEEN = "import torch; print(torch.cuda.get_device_properties(0).multi_processor_count)"
TAKE = """
import torch
try:
    torch.empty(6 << 30, dtype=torch.uint8, device="cuda")
except torch.OutOfMemoryError:
    print(1)
else:
    print(0)
"""
BUSY = """
import torch
x = torch.ones(1 << 28, device="cuda")
print("ready", flush=True)
while True:
    x.add_(1)
"""
LIMIT = 60.0  # seconds


def mps(_seconds: float) -> Record:
    """Return the SMs that clients see, whether the memory limit refuses, and whether a server outlives an end."""
    if not shutil.which(BINARY):
        return {"present": 0, "reason": f"there is no {BINARY}"}
    with tempfile.TemporaryDirectory() as folder:
        try:
            with _daemon(Path(folder)) as backend_and_daemon:
                return {"present": 1, "static": _static(), **_clients(*backend_and_daemon)}
        except (GpuError, OSError, subprocess.SubprocessError) as error:
            return {"present": 1, "failed": str(error)}


def _clients(backend: MpsBackend, daemon: Daemon) -> Record:
    sms = {f"{part:g}": int(_ask(SEEN, backend, Allowance(part=part))) for part in PARTS}
    refuses = int(_ask(TAKE, backend, Allowance(part=1.0, memory=4 * GIB)))
    environment = {**os.environ, **backend.environment(Allowance(part=0.5))}
    busy = subprocess.Popen([sys.executable, "-c", BUSY], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        if busy.stdout is None or busy.stdout.readline() != "ready\n":
            raise GpuError("a client did not begin to work")
        server = daemon.ask("get_server_list").split()[0]
        listed = str(busy.pid) in daemon.ask(f"get_client_list {server}").split()
        pidfd = os.pidfd_open(busy.pid)
        terminated = ""
        try:
            backend.end(busy.pid, pidfd)
        except GpuError as error:
            terminated = str(error)
        busy.wait(LIMIT)
        os.close(pidfd)
    finally:
        busy.kill()
        busy.wait()
    state = daemon.ask(f"get_server_status {server}")
    again = int(_ask(SEEN, backend, Allowance(part=0.5)))
    return {
        "sms": sms,
        "refuses": refuses,
        "listed": int(listed),
        "terminate_error": terminated,
        "state_after": state,
        "active": int("ACTIVE" in state.upper()),
        "sms_of_a_newcomer": again,
    }


def _ask(script: str, backend: MpsBackend, share: Allowance) -> str:
    """Return what a client of this share prints."""
    environment = {**os.environ, **backend.environment(share)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if done.returncode:
        raise GpuError(f"a client with {share} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout.strip()


@contextlib.contextmanager
def _daemon(folder: Path) -> Iterator[tuple[MpsBackend, Daemon]]:
    pipes, logs = folder / "pipes", folder / "logs"
    pipes.mkdir()
    logs.mkdir()
    environment = {
        **os.environ,
        "CUDA_MPS_PIPE_DIRECTORY": str(pipes),
        "CUDA_MPS_LOG_DIRECTORY": str(logs),
    }
    subprocess.run([BINARY, "-d"], env=environment, check=True, timeout=LIMIT, capture_output=True)
    daemon = Daemon(pipes)
    try:
        yield MpsBackend(CudaDriver(), daemon), daemon
    finally:
        daemon.ask("quit")


def _static() -> int:
    """Whether the command's help speaks of static partitions; its word is noted, not trusted."""
    done = subprocess.run([BINARY, "-h"], capture_output=True, text=True, timeout=LIMIT, check=False)
    return int("static" in (done.stdout + done.stderr).lower())
