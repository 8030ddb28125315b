"""What processes use of the machine, as /proc tells it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from regrain_watchdog.gateway.plane.route import Key

TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
USER_TIME, SYSTEM_TIME, RESIDENT = 11, 12, 21
"""Places in /proc/PID/stat behind the name, which may hold anything (proc(5))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Seconds of processors by process id, and bytes of memory of all of them."""

    seconds: Mapping[int, float]
    memory: int

    def cores(self, before: Use, elapsed: float) -> float:
        """Return the thousandths of a core used since an earlier look, by the processes that are in both."""
        spent = sum(now - before.seconds[pid] for pid, now in self.seconds.items() if pid in before.seconds)
        return 1000 * max(0.0, spent) / elapsed


def read(processes: Mapping[Key, Iterable[int]]) -> dict[Key, Use]:
    """Return what each function's processes use; one that has gone uses nothing."""
    return {key: _use(pids) for key, pids in processes.items()}


def _use(pids: Iterable[int]) -> Use:
    seconds: dict[int, float] = {}
    memory = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        seconds[pid] = (int(fields[USER_TIME]) + int(fields[SYSTEM_TIME])) * TICK
        memory += int(fields[RESIDENT]) * PAGE
    return Use(seconds=seconds, memory=memory)
