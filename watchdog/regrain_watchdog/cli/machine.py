"""What a machine offers, each fact found by trying it and told with what follows from it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from regrain_watchdog.cli.version import installed
from regrain_watchdog.front.limits import obstacle
from regrain_watchdog.words import cores, size

TIMEOUT = 60.0
"""Seconds that nvidia-smi and torch have: both wait for a driver that may be waking up."""
LEAST_PYTHON = (3, 11)
CGROUP = Path("/sys/fs/cgroup")
SHARED = Path("/dev/shm")  # noqa: S108 - looked at, not written to
ASK_TORCH = "import torch; print(torch.version.cuda or '', torch.cuda.device_count())"
ASK_ONNX = "import onnxruntime; print(' '.join(onnxruntime.get_available_providers()))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A fact about the machine.

    follows: what it means for Regrain, "" where nothing. required: whether Regrain runs without it.
    """

    subject: str
    ok: bool
    found: str
    follows: str = ""
    required: bool = False


def python() -> Iterator[Finding]:
    """The interpreter and the system."""
    version = f"{platform.python_version()} on {platform.system()} {platform.release()}, {platform.machine()}"
    fits = sys.version_info >= LEAST_PYTHON and sys.platform == "linux"
    follows = "" if fits else "Regrain needs Linux and Python 3.11 or later"
    yield Finding(subject="python", ok=fits, found=version, follows=follows, required=True)


def processors() -> Iterator[Finding]:
    """Cores that this process may use, and what its cgroup allows of them."""
    usable = len(os.sched_getaffinity(0))
    follows = "" if usable > 1 else "front and replicas share one core"
    yield Finding(subject="cores", ok=True, found=f"{cores(usable)} of {os.cpu_count()}", follows=follows)
    quota = _cgroup("cpu.max").split()
    if len(quota) != 2:
        yield Finding(subject="cgroup", ok=True, found="no limit on cores told")
    elif quota[0] == "max":
        yield Finding(subject="cgroup", ok=True, found="version 2, cores not limited")
    else:
        limit = int(quota[0]) / int(quota[1])
        follows = "more cores than that throttle every process" if limit < usable else ""
        yield Finding(
            subject="cgroup", ok=True, found=f"version 2, {cores(round(limit, 2))}", follows=follows
        )


def memory() -> Iterator[Finding]:
    """Memory, its limit, and /dev/shm (which Regrain does not need, but torch's loaders do)."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _cgroup("memory.max").strip()
    limited = f", limited to {size(int(limit))}" if limit.isdigit() else ""
    yield Finding(subject="memory", ok=True, found=f"{size(total)}{limited}")
    lacking = obstacle()
    yield Finding(
        subject="replicas",
        ok=not lacking,
        found=lacking or "each can have a cgroup of its own",
        follows=f"replica_memory limits them by {'RLIMIT_DATA, none on a GPU' if lacking else 'cgroup'}",
    )
    present = SHARED.is_dir()
    found = size(shutil.disk_usage(SHARED).total) if present else "none"
    follows = "not needed: values travel in memfd segments"
    yield Finding(subject=str(SHARED), ok=present, found=found, follows=follows)


def kernel() -> Iterator[Finding]:
    """What the data path is built on: sealed memfds and pidfds."""
    follows = "values go from stage to stage without a copy"
    yield _tried("memfd", _seals, "memory files and seals", follows)
    yield _tried("pidfd", _pidfd, "process descriptors", "a dead replica is noticed at once")


def models() -> Iterator[Finding]:
    """The libraries that run models, and which devices they see."""
    version = installed("onnxruntime-gpu") or installed("onnxruntime")
    if not version:
        follows = "regrain.onnx needs it: pip install 'regrain[onnx]', or [gpu]"
        yield Finding(subject="onnxruntime", ok=False, found="not installed", follows=follows)
    else:
        providers = _ask([sys.executable, "-c", ASK_ONNX]).replace("ExecutionProvider", "")
        follows = "models run on CUDA" if "CUDA" in providers.split() else "models run on the CPU"
        yield Finding(
            subject="onnxruntime", ok=True, found=f"{version}: {providers or 'no provider'}", follows=follows
        )
    if importlib.util.find_spec("torch") is None:
        follows = "only apps that use regrain.torch need it: pip install 'regrain[torch]'"
        yield Finding(subject="torch", ok=False, found="not installed", follows=follows)
        return
    answer = _ask([sys.executable, "-c", ASK_TORCH]).split()
    devices = int(answer[-1]) if answer and answer[-1].isdigit() else 0
    built = f", CUDA {answer[0]}" if len(answer) == 2 else ", without CUDA"
    follows = f"networks run on {devices} GPU(s)" if devices else "networks run on the CPU"
    yield Finding(subject="torch", ok=True, found=installed("torch") + built, follows=follows)


def gpu() -> Iterator[Finding]:
    """NVIDIA GPUs and their driver."""
    tool = shutil.which("nvidia-smi")
    query = "--query-gpu=name,memory.total,driver_version,mig.mode.current"
    rows = _ask([tool, query, "--format=csv,noheader"]).splitlines() if tool else []
    if not rows:
        yield Finding(
            subject="gpu", ok=False, found="no NVIDIA driver answers", follows="GPU stages run on the CPU"
        )
    for row in rows:
        name, nbytes, driver, *mig = (part.strip() for part in row.split(","))
        split = ", MIG on" if mig and mig[0] == "Enabled" else ""
        yield Finding(subject="gpu", ok=True, found=f"{name}, {nbytes}, driver {driver}{split}")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (python, processors, memory, kernel, gpu, models)


def _tried(subject: str, attempt: Callable[[], None], found: str, follows: str) -> Finding:
    try:
        attempt()
    except (OSError, AttributeError) as error:
        follows = "Regrain needs it: Linux 5.4 or later, and a sandbox that allows it"
        return Finding(subject=subject, ok=False, found=str(error), follows=follows, required=True)
    return Finding(subject=subject, ok=True, found=found, follows=follows, required=True)


def _seals() -> None:
    import fcntl  # noqa: PLC0415 - Linux only, and this is where that is found out

    descriptor = os.memfd_create("regrain-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, 4096)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    finally:
        os.close(descriptor)


def _pidfd() -> None:
    os.close(os.pidfd_open(os.getpid()))


def _cgroup(name: str) -> str:
    """A file of this process' cgroup (version 2), or of the root, which is a container's own; else ""."""
    try:
        own = Path("/proc/self/cgroup").read_text().rpartition("::/")[2].strip()
    except OSError:
        own = ""
    for folder in (CGROUP / own, CGROUP):
        if (folder / name).is_file():
            return (folder / name).read_text()
    return ""


def _ask(command: list[str]) -> str:
    """What a command prints, or "" if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
