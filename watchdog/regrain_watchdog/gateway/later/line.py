"""Who is next: calls wait by function, functions take turns, and none has more under way than it may. Pure."""

from __future__ import annotations

import heapq
from collections import Counter


class Line:
    """Calls that wait for their time or their turn, and those under way.

    Args:
        each: under way of one key at most.
        total: under way at most.
    """

    def __init__(self, each: int, total: int) -> None:
        self._each = each
        self._total = total
        self._waiting: dict[str, list[tuple[float, int]]] = {}
        """By key; the one that was served longest ago comes first."""
        self._numbers: set[int] = set()
        self._under_way: dict[int, str] = {}
        self._busy: Counter[str] = Counter()

    def add(self, number: int, key: str, at: float) -> None:
        """Have a call wait for its time; one that waits or is under way stays as it is."""
        if number in self._numbers or number in self._under_way:
            return
        self._numbers.add(number)
        heapq.heappush(self._waiting.setdefault(key, []), (at, number))

    def take(self, now: float) -> int | None:
        """Return the call that is next, which is under way from here on; None if none is due or may be."""
        if len(self._under_way) >= self._total:
            return None
        for key, waiting in self._waiting.items():
            if waiting[0][0] <= now and self._busy[key] < self._each:
                break
        else:
            return None
        number = heapq.heappop(waiting)[1]
        del self._waiting[key]
        if waiting:
            self._waiting[key] = waiting
        self._numbers.discard(number)
        self._under_way[number] = key
        self._busy[key] += 1
        return number

    def end(self, number: int) -> None:
        """A call is not under way any more."""
        key = self._under_way.pop(number)
        self._busy[key] -= 1
        if not self._busy[key]:
            del self._busy[key]

    def close(self) -> None:
        """Let no more be taken."""
        self._total = 0

    def next(self) -> float | None:
        """Return when the next call is due that may be under way then; None if there is none."""
        if len(self._under_way) >= self._total:
            return None
        free = [waiting[0][0] for key, waiting in self._waiting.items() if self._busy[key] < self._each]
        return min(free, default=None)
