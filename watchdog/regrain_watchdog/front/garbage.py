"""What a process that serves requests does with memory that it needs no more."""

from __future__ import annotations

import ctypes
import gc

GARBAGE = 20_000
"""Objects made beyond those freed between two collections; Python's own 700 cost a short request a twentieth."""

KEPT = 8 << 20
"""Bytes that are free at the end of the heap before any go back to the system."""
MAPPED = 4 << 20
"""Bytes from which on a block is mapped by itself, and unmapped once it is free."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's M_TRIM_THRESHOLD, M_MMAP_THRESHOLD


def collect_less() -> None:
    """Leave what the start made out of further collections, and collect less often.

    Nearly all of what a request makes is freed by its reference counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


def keep_freed() -> None:
    """Have the C library keep up to KEPT freed bytes for the next body instead of giving each back to the system.

    A page that is had anew is zeroed, and costs more than what is then copied into it: a hop of 600 KB to another pod
    and back took nearly half as much CPU again. With a C library other than glibc all stays as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, MAPPED)
        mallopt(_TRIM_THRESHOLD, KEPT)
