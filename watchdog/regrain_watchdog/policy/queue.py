"""The order in which units wait for a group: priority, then earliest deadline, then arrival."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

NO_DEADLINE = float("inf")


class Queue(Generic[T]):
    """Units that wait, the most urgent first.

    Within one priority (smaller is more urgent) the earliest deadline goes first, and of equal deadlines the
    one that came first. Arrival times are kept apart, since a batch waits for the oldest unit's sake.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, float, int, float, T]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[T]:
        """Every unit, in no order."""
        return (entry[4] for entry in self._heap)

    def push(
        self,
        unit: T,
        *,
        now: float,
        deadline: float = NO_DEADLINE,
        priority: int = 0,
        first: bool = False,
    ) -> None:
        """Let a unit wait since `now`; `deadline` on the same clock, in seconds. `first`: before its equals."""
        self._count += 1
        place = -self._count if first else self._count
        heapq.heappush(self._heap, (priority, deadline, place, now, unit))

    def first(self) -> T:
        """Return the most urgent unit and leave it there. IndexError if none waits."""
        return self._heap[0][4]

    def pop(self) -> tuple[T, float]:
        """Take the most urgent unit; return it and when it came. IndexError if none waits."""
        _, _, _, since, unit = heapq.heappop(self._heap)
        return unit, since

    def oldest(self) -> float:
        """Return when the unit that waits longest came; infinity if none waits.

        The heap is ordered by urgency, so this looks at every unit: it is asked for only while a batch waits
        to fill, when fewer than a batch's worth of units are there.
        """
        return min((entry[3] for entry in self._heap), default=NO_DEADLINE)

    def ahead(self, *, priority: int, deadline: float) -> int:
        """Return how many units would go before one that came now; looks at every unit."""
        return sum(entry[:2] <= (priority, deadline) for entry in self._heap)

    def discard(self, gone: set[T]) -> int:
        """Drop these units; return how many were dropped."""
        return self.keep(lambda unit: unit not in gone)

    def keep(self, wanted: Callable[[T], bool]) -> int:
        """Drop the units that are not wanted any more; return how many were dropped."""
        kept = [entry for entry in self._heap if wanted(entry[4])]
        dropped = len(self._heap) - len(kept)
        if dropped:
            self._heap = kept
            heapq.heapify(kept)
        return dropped
