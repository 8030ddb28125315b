"""Let replicas that start give way to those that serve, where the system allows to take that back.

A process may always make itself less urgent; to become as urgent as before takes CAP_SYS_NICE or a limit that root has
set. Where we have neither, replicas start as urgent as they serve.
"""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

STARTING = 10
"""How nice a replica is while it loads: a tenth of the CPU of one that serves, where both want all."""
CAP_SYS_NICE = 23
SERVING_LIMIT = 20
"""The soft limit of RLIMIT_NICE that permits niceness 0."""


def may_restore(status: Path = Path("/proc/self/status")) -> bool:
    """Return whether this process may make others more urgent again."""
    if resource.getrlimit(resource.RLIMIT_NICE)[0] >= SERVING_LIMIT:
        return True
    for line in status.read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_NICE & 1)
    return False


def give_way(pid: int) -> None:
    """Have a process that starts give way; threads that it starts do likewise."""
    _renice(pid, os.getpriority(os.PRIO_PROCESS, 0) + STARTING)


def come_back(pid: int) -> None:
    """Have a process and all of its threads be as urgent as we are."""
    _renice(pid, os.getpriority(os.PRIO_PROCESS, 0))


def _renice(pid: int, niceness: int) -> None:
    with contextlib.suppress(OSError):  # it may have ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, int(thread), niceness)
