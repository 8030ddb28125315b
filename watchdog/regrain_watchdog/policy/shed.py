"""What waits for a group, and which of it is not worth running any more.

What cannot be in time is told so before it costs anything. How strictly depends on whose deadline it is. One that the
caller gave is firm: past it nobody listens, so the unit is shed as soon as it cannot be met. One that came from the
app's objective is soft: late is a miss, yet better than nothing. Such a unit gives way to all that can still be in
time, runs when nobody else does, and is shed once it is late by as much as it had.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from regrain_watchdog.policy.batch import timely
from regrain_watchdog.policy.queue import NO_DEADLINE, Queue

T = TypeVar("T")


class Fate(enum.Enum):
    """What becomes of a unit whose turn it is."""

    GOES = "goes"
    YIELDS = "yields"
    SHED = "shed"


@dataclass(slots=True, kw_only=True)
class Entry(Generic[T]):
    """A unit that waits, with its urgency; times on one clock, in seconds.

    budget: seconds that it had from its request's arrival to its deadline. firm: the caller gave the deadline.
    alone: it shares a dispatch with nobody, since it may be what killed a replica.
    """

    unit: T
    since: float
    deadline: float = NO_DEADLINE
    priority: int = 0
    budget: float = 0.0
    firm: bool = False
    alone: bool = False


@dataclass(slots=True)
class Taken(Generic[T]):
    """The next dispatch: its units with the time since which they waited, and what is shed on the way."""

    units: list[tuple[T, float]] = field(default_factory=list)
    shed: list[T] = field(default_factory=list)


def fate(deadline: float, *, firm: bool, expected: float, safe: float, now: float) -> Fate:
    """Return what becomes of a unit.

    Args:
        deadline: when it must be answered.
        firm: whether the caller gave the deadline.
        expected: seconds that it has to go as a rule.
        safe: seconds that it has to go and rarely exceeds.
        now: the time.

    A firm deadline sheds by what is expected, since there is nothing to gain past it and all before it. A soft one
    yields by what is safe: there is somebody else whose chance is better.
    """
    if firm:
        return Fate.SHED if now + expected > deadline else Fate.GOES
    return Fate.YIELDS if now + safe > deadline else Fate.GOES


class Line(Generic[T]):
    """What waits for a group: the most urgent first, and behind them those that will be late.

    is_over: whether a unit's request has ended, so that nobody wants it any more.
    """

    def __init__(self, is_over: Callable[[T], bool]) -> None:
        self._queue: Queue[Entry[T]] = Queue()
        self._late: deque[Entry[T]] = deque()
        self._is_over = is_over
        self._stale = False

    def __len__(self) -> int:
        """How many units wait whose requests have not ended."""
        if self._stale:
            self._stale = False
            self._queue.keep(lambda entry: not self._is_over(entry.unit))
            self._late = deque(entry for entry in self._late if not self._is_over(entry.unit))
        return len(self._queue) + len(self._late)

    def __iter__(self) -> Iterator[Entry[T]]:
        """Every unit that waits, in no order; some requests may have ended."""
        yield from self._queue
        yield from self._late

    def push(self, entry: Entry[T], *, first: bool = False) -> None:
        """Let a unit wait; `first`: before its equals, since it has waited already."""
        self._queue.push(
            entry, now=entry.since, deadline=entry.deadline, priority=entry.priority, first=first
        )

    def forget(self) -> None:
        """Some requests have ended whose units wait: they count no more."""
        self._stale = True

    def oldest(self) -> float:
        """Return since when the unit that waits longest does; infinity if none waits."""
        late = min((entry.since for entry in self._late), default=NO_DEADLINE)
        return min(self._queue.oldest(), late)

    def first_deadline(self) -> float:
        """Return the deadline of the unit whose turn is next; infinity where it has none or none waits."""
        return self._queue.first().deadline if self._queue else NO_DEADLINE

    def head(self) -> Entry[T] | None:
        """Return the unit whose turn is next."""
        if self._queue:
            return self._queue.first()
        return self._late[0] if self._late else None

    def ahead(self, *, priority: int, deadline: float) -> int:
        """Return how many units would go before one that came now."""
        return self._queue.ahead(priority=priority, deadline=deadline) if len(self) else 0

    def settle(self, *, expected: float, safe: float, now: float) -> list[T]:
        """Let units at the head yield until one is there that goes; return those that are shed. As in `fate`."""
        shed: list[T] = []
        while self._queue:
            entry = self._queue.first()
            if not self._is_over(entry.unit):
                match fate(entry.deadline, firm=entry.firm, expected=expected, safe=safe, now=now):
                    case Fate.GOES:
                        break
                    case Fate.SHED:
                        shed.append(entry.unit)
                    case Fate.YIELDS:
                        self._late.append(entry)
            self._queue.pop()
        return shed

    def take(self, size: int, *, expected: float, safe: float, now: float, more: float = 0.0) -> Taken[T]:
        """Take the next dispatch of up to `size` units, and of no more than lets the most urgent one be in time.

        Args:
            size: units that may go together.
            expected: as in `fate`, of a dispatch of one unit.
            safe: as in `fate`, of a dispatch of one unit.
            now: the time.
            more: seconds by which each unit more makes a dispatch longer.
        """
        taken: Taken[T] = Taken(shed=self.settle(expected=expected, safe=safe, now=now))
        fitting = timely(size, more=more, slack=self.first_deadline() - now - safe)
        self._take_timely(taken, fitting, expected=expected, safe=safe, now=now)
        self._expire(taken, now)
        if not taken.units:
            self._take_late(taken, size)
        return taken

    def _take_timely(self, taken: Taken[T], size: int, *, expected: float, safe: float, now: float) -> None:
        while len(taken.units) < size:
            taken.shed.extend(self.settle(expected=expected, safe=safe, now=now))
            if not self._queue or (self._queue.first().alone and taken.units):
                return
            entry, _ = self._queue.pop()
            taken.units.append((entry.unit, entry.since))
            if entry.alone:
                return

    def _expire(self, taken: Taken[T], now: float) -> None:
        """Shed those that are late by as much as they had; they are about in the order of their deadlines."""
        while self._late and now > self._late[0].deadline + self._late[0].budget:
            unit = self._late.popleft().unit
            if not self._is_over(unit):
                taken.shed.append(unit)

    def _take_late(self, taken: Taken[T], size: int) -> None:
        while self._late and len(taken.units) < size:
            entry = self._late[0]
            if entry.alone and taken.units and not self._is_over(entry.unit):
                return
            self._late.popleft()
            if not self._is_over(entry.unit):
                taken.units.append((entry.unit, entry.since))
                if entry.alone:
                    return
