"""What arrived lately, in bounded memory: the front notes every request, the controller asks what they were like.

A request's size is known when it comes, the widths of its lists only once the stages that make them are done. So a
request is noted with its size, and its widths are added under the number that it got.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.load import Arrivals

UNKNOWN = -1


class RecentArrivals:
    """The requests of the last seconds.

    Args:
        lists: lists that the app's flow maps over.
        begin: when noting began, as `now` has it.
        seconds: how far it looks back.
        most: requests that it holds; the oldest are forgotten first.
    """

    def __init__(self, lists: int, *, begin: float, seconds: float = 600.0, most: int = 1 << 17) -> None:
        self._begin = begin
        self._seconds = seconds
        self._most = most
        self._count = 0
        self._lists = lists
        # Views of plain memory are written three times as fast as arrays; its pages come as they are used.
        self._at = np.zeros(8 * most, np.uint8).data.cast("d")
        self._size = np.zeros(8 * most, np.uint8).data.cast("d")
        self._widths = np.zeros(4 * most * lists, np.uint8).data.cast("i")
        self._unknown = memoryview(np.full(lists, UNKNOWN, np.int32).tobytes()).cast("i")

    @property
    def count(self) -> int:
        """Requests noted so far, those forgotten included."""
        return self._count

    def note(self, size: float, *, now: float) -> int:
        """Note a request that comes now; return its number. `now` never goes back."""
        number = self._count
        place = number % self._most
        self._at[place] = now
        self._size[place] = size
        self._widths[place * self._lists : (place + 1) * self._lists] = self._unknown
        self._count = number + 1
        return number

    def extend(self, at: NDArray[np.float64], size: NDArray[np.float64]) -> None:
        """Note requests that came at some times, ascending, none before those noted so far."""
        places = np.arange(self._count, self._count + len(at)) % self._most
        np.asarray(self._at)[places] = at
        np.asarray(self._size)[places] = size
        np.asarray(self._widths).reshape(self._most, self._lists)[places] = UNKNOWN
        self._count += len(at)

    def widen(self, number: int, place: int, width: int) -> None:
        """Note the items of one list of a request, by its number; of one that is forgotten nothing is noted."""
        if number >= self._count - self._most:
            self._widths[number % self._most * self._lists + place] = width

    def arrivals(self, *, now: float, seconds: float | None = None) -> Arrivals:
        """Return the requests of the last `seconds`, or of all that is looked back on.

        The window is shorter where noting began later or older requests are forgotten; where all are it is empty, of
        0 s. Widths that are not known yet are those of the request before, and 1 where none is known.
        """
        oldest = max(0, self._count - self._most)
        places = np.arange(oldest, self._count) % self._most
        at = np.asarray(self._at)[places]
        known_from = self._begin if oldest == 0 else float(at[0])
        begin = min(now, max(now - min(seconds or self._seconds, self._seconds), known_from))
        low, high = np.searchsorted(at, begin), np.searchsorted(at, now, side="right")
        kept = places[low:high]
        size, widths = np.asarray(self._size), np.asarray(self._widths).reshape(self._most, self._lists)
        return Arrivals(at[low:high] - begin, size[kept], _known(widths[kept]), now - begin)


def _known(widths: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return widths with those that are not known taken from the last row above that is."""
    rows = np.arange(len(widths))[:, None]
    last = np.maximum.accumulate(np.where(widths == UNKNOWN, -1, rows), axis=0) if len(widths) else rows
    taken = np.take_along_axis(widths, np.maximum(last, 0), axis=0) if widths.size else widths
    return np.where(taken == UNKNOWN, 1, taken).astype(np.int32)
