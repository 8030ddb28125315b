"""The times by which an arbiter decides, and the device it decides about."""

from __future__ import annotations

from dataclasses import dataclass

from regrain.errors import SpecError

HANG = 30.0
"""Seconds for which a call may go on after its holder was told that its time is over, where others wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU: its SMs, its memory in bytes, and how much of that is never given (contexts, the display)."""

    sms: int
    memory: int
    reserve: int = 0

    def __post_init__(self) -> None:
        """Refuse nonsense."""
        if self.sms < 1:
            raise SpecError(f"a GPU has 1 SM or more, was {self.sms}")
        if not 0 <= self.reserve <= self.memory:
            raise SpecError(
                f"the reserve of a GPU must be within its {self.memory} bytes, was {self.reserve}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """In seconds.

    longest: what a lease is granted for at most; who needs longer renews.
    grace: how long after that a holder is told, if others wait.
    hang: how long after being told its process is ended, if others still wait.
    reserve_after: how long smaller asks may go before the one whose turn it is, if that does not fit.
    patience: how long more urgent ones may go before those of a lower priority, until one of these goes.
    window: over which floors and ceilings are kept, and the SM-seconds (of its own width) by which one that smaller
        ones went before may catch up with them.
    keep, keep_part: how long SMs are kept for one that gave them back and goes next, if it came as soon the last time:
        so many seconds at most, and so much of the time that it held them; less where a wider one waits for them, by
        as much as that is wider.
    asks: how many asks a client may have waiting. history: how many ended leases are remembered.
    """

    longest: float = 2.0
    grace: float = 0.05
    hang: float = HANG
    reserve_after: float = 0.1
    patience: float = 1.0
    window: float = 1.0
    keep: float = 0.002
    keep_part: float = 0.04
    asks: int = 64
    history: int = 20_000
