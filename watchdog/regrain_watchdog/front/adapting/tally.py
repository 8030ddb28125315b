"""What the front notes of the load for the controller, in a few plain arrays: a request costs well below a microsecond.

It is emptied once a second. Where nobody does it stops to note after a while, and begins anew when somebody does: what
came before the hole is thrown away then, since the hole would look like a load that has ceased.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from regrain.wire.frames import Timing
from regrain_watchdog.policy.refine import Seen

MOST = 1 << 17
"""Requests that are kept at most until somebody takes them."""


@dataclass(slots=True)
class Counts:
    """What the metrics tell of the controller.

    Attributes:
        lives: whether it can be reached.
        ends: how often it ended or hung. dropped: reports that it did not take at once.
        adopted, refused: plans that came into force, and that did not.
        predicted: hit rate of the plan in force; None before anything was predicted.
    """

    lives: bool = False
    ends: int = 0
    dropped: int = 0
    adopted: int = 0
    refused: int = 0
    predicted: float | None = None


@dataclass(slots=True)
class _Calls:
    units: int = 0
    calls: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Taken:
    """What was noted: 8-byte floats and integers as Report has them, and the calls of stages.

    mean_size: of the last that came, before the last look if none came since; 0.0 where none ever did.
    calls: by queue (a group, or a stage of a fluid one), stage, and units in each of a dispatch's.
    """

    at: bytes
    size: bytes
    first: int
    widened: bytes
    mean_size: float
    calls: Mapping[tuple[str, str, int], _Calls]

    def seen(self, shares: Mapping[tuple[str, str], float]) -> tuple[Seen, ...]:
        """Return the calls of stages that had these shares, by queue and stage."""
        return tuple(
            Seen(
                stage=stage,
                share=shares[queue, stage],
                units=one.units,
                calls=one.calls,
                seconds=one.seconds,
                size=self.mean_size,
            )
            for (queue, stage, _), one in self.calls.items()
            if (queue, stage) in shares
        )


class Tally:
    """Notes requests, the widths of their lists, and the calls of stages."""

    def __init__(self) -> None:
        self._count = 0
        self._mean_size = 0.0
        self._calls: dict[tuple[str, str, int], _Calls] = {}
        self._begin()

    def note(self, size: float, now: float) -> int:
        """Note a request that comes now; return its number."""
        number = self._count
        self._count = number + 1
        if number - self._first < MOST:
            self._at.append(now)
            self._size.append(size)
        return number

    def widen(self, number: int, place: int, width: int) -> None:
        """Note the items of one list of a request, by its number."""
        if len(self._widened) < 3 * MOST:
            self._widened.extend((number, place, width))

    def ran(self, queue: str, timings: Sequence[Timing]) -> None:
        """Note the stages of a dispatch; the waits for their leases count with them, as in a profile."""
        for timing in timings:
            if not timing.calls:
                continue
            key = queue, timing.stage, round(timing.count / timing.calls)
            calls = self._calls.get(key)
            if calls is None:
                calls = self._calls[key] = _Calls()
            calls.units += timing.count
            calls.calls += timing.calls
            calls.seconds += timing.seconds + timing.leased

    def take(self) -> Taken:
        """Return what was noted since the last time, and begin anew; no requests where there were more than MOST."""
        sizes = self._size
        if sizes:
            self._mean_size = sum(sizes) / len(sizes)
        if self._count - self._first > MOST:
            self._begin()
        taken = Taken(
            at=self._at.tobytes(),
            size=self._size.tobytes(),
            first=self._first,
            widened=self._widened.tobytes(),
            mean_size=self._mean_size,
            calls=self._calls,
        )
        self._begin()
        self._calls = {}
        return taken

    def _begin(self) -> None:
        """Keep nothing of the requests so far."""
        self._first = self._count
        self._at, self._size = array("d"), array("d")
        self._widened = array("q")
