"""Units of another front that run here, from the first one's begin to the last one's end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence


class Stay:
    """Waits for some ends without a task.

    Args:
        dones: a future for each unit.
        told: is called once all have ended, with None or the error of each.
        leave: is called right after that, or when they are given up.
    """

    def __init__(
        self,
        dones: Sequence[asyncio.Future[None]],
        told: Callable[[Sequence[BaseException | None]], None],
        leave: Callable[[], None],
    ) -> None:
        self._dones = dones
        self._told = told
        self._leave = leave
        self._left = len(dones)
        for done in dones:
            done.add_done_callback(self._ended)

    def give_up(self) -> None:
        """Nobody wants to know any more."""
        if self._left:
            self._left = 0
            self._leave()

    def _ended(self, _done: asyncio.Future[None]) -> None:
        if not self._left:
            return
        self._left -= 1
        if not self._left:
            try:
                self._told([done.exception() for done in self._dones])
            finally:
                self._leave()
