"""Hold a lease for a time: what an emulated kernel does.

A sleep ends late by what the kernel's timer and scheduler add, some 0.1 ms here: 2 % of 5 ms. So it sleeps to
shortly before the end and spins the rest; the spin costs a core, which is why it is short.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from regrain.errors import SpecError

SPIN = 0.0002  # seconds; benchmarks/emulated.py measures what none at all would do


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How a hold went, in seconds."""

    asked: float
    took: float

    @property
    def error(self) -> float:
        """Return how much longer it took than asked, as a part of what was asked; 0 if nothing was."""
        return self.took / self.asked - 1 if self.asked else 0.0


def hold(
    seconds: float,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    spin: float = SPIN,
) -> Held:
    """Return after `seconds`, never before, and say how long it took.

    Raises:
        SpecError: the time is negative or not finite.
    """
    start = clock()
    if not (math.isfinite(seconds) and seconds >= 0):
        raise SpecError(f"a hold lasts 0 seconds or more, was {seconds}")
    if seconds > spin:
        sleep(seconds - spin)
    now = clock()
    while now - start < seconds:
        now = clock()
    return Held(asked=seconds, took=now - start)
