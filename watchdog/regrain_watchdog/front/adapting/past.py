"""What was reported of late: a controller that starts is told this first, and so knows the load at once."""

from __future__ import annotations

from collections import deque

from regrain_watchdog.front.adapting.words import Report

SECONDS = 600.0
"""Seconds for which a report is kept: as far back as a controller looks."""
MOST = 16 << 20
"""Bytes of arrivals and widths that are kept at most."""


class Past:
    """The reports of the last `seconds`, and of no more than `most` bytes."""

    def __init__(self, seconds: float = SECONDS, most: int = MOST) -> None:
        self._reports: deque[Report] = deque()
        self._seconds = seconds
        self._most = most
        self._held = 0

    def add(self, report: Report) -> None:
        """Keep a report, and forget those that are too old or too much."""
        reports = self._reports
        reports.append(report)
        self._held += _bytes(report)
        while reports and (self._held > self._most or reports[0].now < report.now - self._seconds):
            self._held -= _bytes(reports.popleft())

    def told(self) -> tuple[Report, ...]:
        """Return what is kept, the oldest first."""
        return tuple(self._reports)

    def forget(self) -> None:
        """Keep nothing of it: what comes is of another version of the app."""
        self._reports.clear()
        self._held = 0


def _bytes(report: Report) -> int:
    return len(report.at) + len(report.size) + len(report.widened)
