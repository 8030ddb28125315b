"""Say what machine a figure was measured on: without it a figure means nothing to the next reader."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "regrain",
    "granian",
    "httptools",
    "uvloop",
    "msgspec",
    "numpy",
    "onnxruntime",
    "prometheus-client",
)
TICKS = os.sysconf("SC_CLK_TCK")
MEBIBYTE = 1 << 20


def describe() -> dict[str, object]:
    """Return machine, kernel, interpreter, versions and commit as JSON values."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MEBIBYTE,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": _versions(),
        "commit": _commit(),
        "load": round(os.getloadavg()[0], 2),
    }


def pin(pids: Iterable[int], core: int) -> None:
    """Hold every thread of these processes on one core; threads that they start later inherit it."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})


def two_cores() -> tuple[int, int]:
    """Return two cores to pin to; exits with a sentence where the machine has but one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit(f"this benchmark pins to two cores, this process may use {cores}")
    return cores[0], cores[1]


def busy_seconds() -> tuple[float, float]:
    """Return CPU seconds that the whole machine has worked or had stolen since it started, and of work that yields.

    Work that yields is that at a nice value above 0: as `nice -n 19 chrt -i 0 COMMAND` (SCHED_IDLE) it gives its place
    to whatever is measured beside it at once.
    """
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    )
    return (user + system + irq + softirq + steal) / TICKS, nice / TICKS


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """The commit of the checkout, whoever owns it; where there is none, stderr says so and the figure has no origin."""
    command = ["git", "-c", "safe.directory=*", "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    if done.returncode:
        print(f"no commit is recorded: {done.stderr.strip()}", file=sys.stderr)
    return done.stdout.strip()


if __name__ == "__main__":
    import json

    print(json.dumps(describe(), indent=2))
