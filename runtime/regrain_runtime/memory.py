"""What a replica holds in memory for itself, and how it gives back what it needs no more."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

ROLLUP = Path("/proc/self/smaps_rollup")


def unique_set_size(rollup: Path = ROLLUP) -> int:
    """Return the bytes that would be free if this process ended: pages that it shares with nobody."""
    private = (line.split() for line in rollup.read_text().splitlines() if line.startswith("Private_"))
    return sum(int(fields[1]) << 10 for fields in private)


def give_back() -> None:
    """Return what was freed to the system; the allocator keeps it otherwise."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc has it, musl does not
        trim(0)
