"""What becomes of a call: tried, tried again, told, ended. Pure: time and chance are arguments.

    waiting -> running -> done, or dead once it has been tried often enough
                 |
                 +-----> waiting again;  owed -> telling -> done or dead, where somebody is to be told the result

A call that was running when the gateway ended is waiting again, so its function may run more than once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Literal

State = Literal["waiting", "running", "owed", "telling", "done", "dead", "cancelled"]
OPEN: tuple[State, ...] = ("waiting", "running", "owed", "telling")
"""Those that something is still to be done for."""
STATES: tuple[State, ...] = (*OPEN, "done", "dead", "cancelled")

AGAIN = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that another try may not meet."""
RETRIES = 10
MOST_RETRIES = 100
LOST = 3
"""Runs that may be lost with the gateway beyond those: a call that ends the gateway is not run for ever."""
TELLS = 4
"""Tries to tell a result."""
FIRST = 1.0
LONGEST = 120.0
"""Seconds before the second try and, doubled each time, before any other at most."""
LONGEST_ASKED = 3600.0
"""Seconds that a Retry-After is honoured for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How far a call is.

    Attributes:
        at: when it is to be tried next, or when it ended; seconds since 1970.
        retries: after the first try, at most.
        attempts: runs of the function that were begun. tells: of telling its result.
        outcome: what it ends as, once its result has been told; "" before it has one.
        status: of the function's last answer; 0 where there was none.
        detail: what went wrong last, in a sentence.
    """

    at: float
    retries: int
    state: State = "waiting"
    attempts: int = 0
    tells: int = 0
    outcome: Literal["", "done", "dead"] = ""
    status: int = 0
    detail: str = ""

    def begun(self, now: float, *, owes: bool) -> Course:
        """It is taken from line: it runs, or its result is told; or it was lost too often and ends.

        owes: somebody is to be told the result.
        """
        if self.state == "owed":
            return replace(self, state="telling", tells=self.tells + 1)
        if self.attempts > self.retries + LOST:
            detail = f"the gateway ended while it ran, {self.attempts} times"
            return replace(self, detail=detail)._ended("dead", now, owes=owes)
        return replace(self, state="running", attempts=self.attempts + 1)

    def answered(
        self, status: int, now: float, rng: random.Random, *, owes: bool, asked: float = 0.0, detail: str = ""
    ) -> Course:
        """The function has answered.

        status: 0 where there was no answer. asked: seconds that it asks to be left alone for.
        """
        found = replace(self, status=status, detail=detail)
        if status and status not in AGAIN:
            return found._ended("done", now, owes=owes)
        if self.attempts > self.retries:
            return found._ended("dead", now, owes=owes)
        wait = max(pause(self.attempts, rng), min(asked, LONGEST_ASKED))
        return replace(found, state="waiting", at=now + wait)

    def told(self, status: int, now: float, rng: random.Random, *, detail: str = "") -> Course:
        """Who was to be told has answered, with status 0 where there was no answer.

        The end is the function's whether or not anybody heard of it.
        """
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return self._finished(now)
        detail = f"the callback failed: {detail or f'it was answered {status}'}"
        found = replace(self, detail=detail)
        if self.tells >= TELLS or (status and status not in AGAIN):
            return found._finished(now)
        return replace(found, state="owed", at=now + pause(self.tells, rng))

    def cancelled(self, now: float) -> Course | None:
        """Nobody wants it any more; None where it has ended."""
        return replace(self, state="cancelled", at=now) if self.state in OPEN else None

    def resent(self, now: float) -> Course | None:
        """It is to be tried from the beginning; None where it is not dead."""
        return Course(at=now, retries=self.retries) if self.state == "dead" else None

    def _ended(self, outcome: Literal["done", "dead"], now: float, *, owes: bool) -> Course:
        return replace(self, state="owed" if owes else outcome, outcome=outcome, at=now)

    def _finished(self, now: float) -> Course:
        return replace(self, state="dead" if self.outcome == "dead" else "done", at=now)


def pause(tries: int, rng: random.Random) -> float:
    """Return the seconds to wait after so many tries: 1, 2, 4, ... 120, and at random between half of that and all.

    The randomness keeps calls that failed together from coming back together.
    """
    return min(LONGEST, FIRST * 2.0 ** min(tries - 1, 10)) * rng.uniform(0.5, 1.0)


def retry_after(text: str, now: float) -> float:
    """Return the seconds that a Retry-After asks for, given as seconds or as a date; 0 for what is neither."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year of eleven digits is more than a date's fields hold
        return 0.0
    zoned = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return max(0.0, (zoned - datetime.fromtimestamp(now, UTC)).total_seconds())
