"""How much more load than comes is planned for, where plans did worse of late than was predicted of them."""

from __future__ import annotations

import math
from dataclasses import replace

from regrain_watchdog.control.outlook import Expected

MISSED, FAR_SHORT, MOST, FORGETTING = 1.05, 1.1, 2.5, 7200.0
"""Times more load for each time that a plan misses the objective, and that it falls far short of its prediction; at
most; and seconds after which that is forgotten but for 1/e."""


class Caution:
    """Times more load, which grows with each plan that did worse than predicted, and is forgotten. begin: of time."""

    def __init__(self, begin: float) -> None:
        self._times = 1.0
        self._at = begin

    def grow(self, by: float) -> None:
        """Have so many times more planned for."""
        self._times = min(self._times * by, MOST)

    def over(self, expected: Expected, now: float, *, in_vain: float) -> Expected:
        """Return the load to plan for in place of the one that is expected.

        in_vain: requests a second for which no plan meets the objective. There is no caution where that would ask for
        so much: the plan that does best then is the one that does best with what comes.
        """
        self._times = 1 + (self._times - 1) * math.exp((self._at - now) / FORGETTING)
        self._at = now
        load = expected.load.scaled(expected.load.rate * self._times)
        if self._times == 1.0 or load.rate >= in_vain:
            return expected
        return replace(
            expected,
            load=load,
            peak=max(expected.peak, load.rate),
            low=expected.low * self._times,
            least=expected.least * self._times,
        )
