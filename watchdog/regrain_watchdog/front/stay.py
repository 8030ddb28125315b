"""Who is told of the ends of requests: a task that waits for one, or whoever sent several units here together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from regrain.errors import RequestError

End = Callable[[RequestError | None], None]
"""Is called when a request has ended, with its error if it has one; after the first time it does nothing."""


def wake(done: asyncio.Future[None], error: RequestError | None) -> None:
    """End what waits for a request's end."""
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
        done.exception()  # whoever waits may be gone
    else:
        done.set_result(None)


class Stay:
    """Units of another front that run here, from the first one's begin to the last one's end; no task waits for them.

    Args:
        units: how many there are.
        told: is called once all have ended, in a later turn of the loop, with None or the error of each.
        leave: is called right after that, or when they are given up.
    """

    def __init__(
        self,
        units: int,
        told: Callable[[Sequence[RequestError | None]], None],
        leave: Callable[[], None],
    ) -> None:
        self._errors: list[RequestError | None] = [None] * units
        self._open = set(range(units))
        self._told = told
        self._leave = leave
        self._is_over = False

    def ended(self, unit: int, error: RequestError | None) -> None:
        """A unit has ended; as `End`."""
        if unit in self._open:
            self._open.remove(unit)
            self._errors[unit] = error
            if not self._open:
                asyncio.get_running_loop().call_soon(self._tell)

    def give_up(self) -> None:
        """Nobody wants to know any more."""
        if not self._is_over:
            self._is_over = True
            self._leave()

    def _tell(self) -> None:
        if not self._is_over:
            self._is_over = True
            try:
                self._told(self._errors)
            finally:
                self._leave()
