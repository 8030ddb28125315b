"""What other apps have of the GPUs that this one shares with them, for the controller to plan beside."""

from __future__ import annotations

import math

from regrain_watchdog.front.adapting.words import Taken
from regrain_watchdog.front.gpus import Gpus

SECONDS = 10.0
"""Seconds after which what was used before counts 1/e."""


class Others:
    """Follows the arbiters' books. `gpus`: of the node; None without any."""

    def __init__(self, gpus: Gpus | None) -> None:
        self._gpus = gpus
        self._used = [0.0] * len(gpus.cards) if gpus is not None else []
        self._before: list[float] = []
        self._at = 0.0

    def look(self, now: float) -> tuple[Taken, ...]:
        """Return what others have of each GPU, at a time in seconds: what they reserve, or use if that is more."""
        if self._gpus is None:
            return ()
        held = self._gpus.others()
        passed, before = now - self._at, self._before
        self._at, self._before = now, [one.sm_seconds for one in held]
        if before and passed > 0:
            newer = -math.expm1(-passed / SECONDS)
            for place, (one, was, card) in enumerate(zip(held, before, self._gpus.cards, strict=True)):
                used = max(0.0, one.sm_seconds - was) / passed / card.sms
                self._used[place] += newer * (min(1.0, used) - self._used[place])
        return tuple(
            Taken(share=max(used, one.floor), memory=one.memory)
            for used, one in zip(self._used, held, strict=True)
        )
