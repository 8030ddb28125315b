"""What all pods of an app saw of its load, put together as if one front had seen it.

Each pod has a clock of its own, and counts its requests from 0 on. A report is taken to be of the moment at which it
comes in, so that pods' times are off by no more than the way of an answer. Reports come one after the other; what is
told ends where the last pod's does, so that no second lacks what one of them saw. A pod that alone says nothing is
waited for for LATE seconds, and what came to it before is then left out: told at once it would look like a burst.
While none says anything nobody knows the load, which is not that there is none: the clock of what is told stands still,
and goes on with the first answer as if nothing had been between.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from regrain.plan import Plan
from regrain_watchdog.front.adapting.words import Report
from regrain_watchdog.policy.resident import Living

LATE = 5.0
"""Seconds for which a pod is waited for."""
KEPT = 600
"""Parts of a pod's requests that are known by their numbers: for widths that come out later."""
NOBODY = -1
"""The number of a request that was left out."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(slots=True)
class _Pod:
    """What a pod said and was not told yet.

    requests: (n, 3) of each its number there, when it came, and its size. widened: as Report has them.
    numbers: numbers there and here of requests that were told of. until: when it said something last.
    """

    requests: Floats = field(default_factory=lambda: np.empty((0, 3)))
    widened: Ints = field(default_factory=lambda: np.empty((0, 3), np.int64))
    numbers: deque[tuple[Ints, Ints]] = field(default_factory=lambda: deque(maxlen=KEPT))
    until: float = -math.inf
    living: tuple[Living, ...] = ()

    def add(self, report: Report, received: float) -> None:
        at = np.minimum(np.frombuffer(report.at) + (received - report.now), received)
        there = report.first + np.arange(len(at))
        self.requests = np.vstack([self.requests, np.column_stack([there, at, np.frombuffer(report.size)])])
        self.widened = np.vstack([self.widened, np.frombuffer(report.widened, np.int64).reshape(-1, 3)])
        self.until, self.living = received, report.living

    def take(self, until: float) -> Floats:
        """Return the requests up to a time, and keep the others."""
        is_due = self.requests[:, 1] <= until
        due, self.requests = self.requests[is_due], self.requests[~is_due]
        return due

    def widths(self) -> Ints:
        """Return widths of requests that were told of, by the numbers here; those of requests to come are kept."""
        given = np.full(len(self.widened), NOBODY, np.int64)
        last = NOBODY
        for there, here in self.numbers:
            if not len(there):
                continue
            last = max(last, int(there[-1]))
            place = np.minimum(np.searchsorted(there, self.widened[:, 0]), len(there) - 1)
            is_here = there[place] == self.widened[:, 0]
            given[is_here] = here[place[is_here]]
        known: Ints = np.column_stack([given, self.widened[:, 1:]])[given != NOBODY]
        self.widened = self.widened[self.widened[:, 0] > last]
        return known


class Gathered:
    """Puts reports together."""

    def __init__(self) -> None:
        self._pods: dict[str, _Pod] = {}
        self._first: dict[str, int] = {}
        self._count = 0
        self._reports: list[Report] = []
        self._told = self._heard = self._since = -math.inf
        self._lost = 0.0

    def add(self, name: str, report: Report, received: float) -> None:
        """Take a pod's report, and when it came in (CLOCK_MONOTONIC); not before the one taken last."""
        received -= self._lost
        if received - self._heard > LATE and self._heard > -math.inf:
            received = self._resume(received)
        self._heard = received
        if report.first < self._first.get(name, 0):
            self._pods.pop(name, None)  # it has begun anew
        self._first[name] = report.first
        self._pods.setdefault(name, _Pod()).add(report, received)
        self._reports.append(report)

    def forget(self, name: str) -> None:
        """A pod is gone."""
        self._pods.pop(name, None)
        self._first.pop(name, None)

    def _resume(self, received: float) -> float:
        """Have the clock go on from what was told last, without what came since; return what it shows now."""
        self._since = self._told if self._told > -math.inf else self._heard
        self._lost += received - self._since
        for pod in self._pods.values():
            pod.requests, pod.until = pod.requests[:0], self._since
        return self._since

    def told(self, now: float, plan: Plan, *, is_changing: bool, is_held: bool) -> Report:
        """Return what happened since the last time as the report of one front.

        Args:
            now: not before any `received`; the time that is told where no pod has said anything yet.
            plan: of all pods together, in force.
            is_changing: whether another one is about to be.
            is_held: whether an operator holds it.
        """
        pods = list(self._pods.values())
        heard = self._heard if self._heard > -math.inf else now
        until = max(self._told, heard - LATE, min((pod.until for pod in pods), default=heard))
        due, first = self._due(pods, until)
        widened = np.vstack([np.empty((0, 3), np.int64), *(pod.widths() for pod in pods)])
        since, self._told = self._told, until
        reports, self._reports = self._reports, []
        return Report(
            now=until,
            at=np.clip(due[:, 1], since, until).tobytes(),
            size=due[:, 2].tobytes(),
            first=first,
            widened=widened.tobytes(),
            hits=sum(one.hits for one in reports),
            misses=sum(one.misses for one in reports),
            plan=plan,
            living=_living({name: pod.living for name, pod in self._pods.items()}),
            is_changing=is_changing,
            is_held=is_held,
            seen=() if is_changing else tuple(seen for one in reports for seen in one.seen),
        )

    def _due(self, pods: Sequence[_Pod], until: float) -> tuple[Floats, int]:
        """Return requests up to a time in the order in which they came, and the number of the first; number them."""
        parts = [pod.take(until) for pod in pods]
        due = np.vstack([np.empty((0, 3)), *parts])
        counts = due[:, 1] >= max(self._told - LATE, self._since)
        order = np.flatnonzero(counts)[np.argsort(due[counts, 1], kind="stable")]
        first, self._count = self._count, self._count + len(order)
        numbers = np.full(len(due), NOBODY, np.int64)
        numbers[order] = np.arange(first, self._count)
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        for pod, part, end in zip(pods, parts, ends, strict=True):
            pod.numbers.append((part[:, 0].astype(np.int64), numbers[end - len(part) : end]))
        return due[order], first


def _living(pods: Mapping[str, tuple[Living, ...]]) -> tuple[Living, ...]:
    """Return the replicas of all pods, numbered through."""
    every = [one for name in sorted(pods) for one in pods[name]]
    return tuple(replace(one, number=number) for number, one in enumerate(every))
