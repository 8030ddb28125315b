"""What a run that streams sends while it runs: item by item, and never more than the front has room for."""

from __future__ import annotations

from typing import Protocol

from regrain.context import Context
from regrain.errors import RegrainError
from regrain.wire import frames
from regrain.wire.codec import pack

ITEM_LIMIT = 4 << 20
"""Bytes that an item holds at most. Items travel in frames, so that each is forgotten as it is sent."""
LOOK = 0.5
"""Seconds between two looks at whether anybody still waits, while the front takes no more."""


class Line(Protocol):
    """What an outflow needs of its replica."""

    def send_now(self, frame: frames.FromReplica) -> None:
        """Send a frame at once."""

    def credit(self, run: int, seconds: float) -> int | None:
        """Return how many more items the front takes; None if it said nothing in this time, 0 where nobody does."""


class Outflow:
    """The items of one run.

    Args:
        run: its id.
        context: the request's.
        line: to the front.
    """

    def __init__(self, run: int, context: Context, line: Line) -> None:
        self._run = run
        self._context = context
        self._line = line
        self._credit = 0

    def give(self, item: object) -> bool:
        """Send an item once the front has room for it; return False where nobody wants more.

        RegrainError if it cannot travel.
        """
        value = pack(item, None)
        nbytes = len(value.skeleton) + sum(leaf.nbytes for leaf in value.leaves)
        if nbytes > ITEM_LIMIT:
            raise RegrainError(f"it gave an item of {nbytes} bytes; one of a stream has {ITEM_LIMIT} at most")
        while not self._credit:
            if self._context.cancelled:
                return False
            granted = self._line.credit(self._run, LOOK)
            if granted == 0:
                return False
            self._credit += granted or 0
        self._credit -= 1
        self._line.send_now(frames.Item(self._run, value))
        return True
