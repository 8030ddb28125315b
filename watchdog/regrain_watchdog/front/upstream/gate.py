"""How many requests the upstream is given at once; further ones wait in line, the most urgent first.

of-watchdog answers the request after the last one 429 at once. Waiting until its deadline costs a request that
comes a little early nothing, and the line is bounded.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from regrain.errors import RequestError
from regrain_watchdog.policy.queue import Queue

RETRY_AFTER = {"Retry-After": "1"}


class Gate:
    """A line in front of the upstream.

    Args:
        places: requests at once; 0 for as many as come.
        line: requests that may wait.

    Attributes:
        inside: requests that the upstream has.
        waiting: requests in the line.
    """

    def __init__(self, places: int, line: int) -> None:
        self.inside = 0
        self.waiting = 0
        self._places = places
        self._line = line
        self._queue: Queue[asyncio.Future[None]] = Queue()

    async def enter(self, deadline: float, now: float, priority: int) -> None:
        """Wait for a place, at most until `deadline` (both are the loop's time).

        Raises:
            RequestError: 429 if the line is full, 504 at the deadline.
        """
        if not self._places or self.inside < self._places:
            self.inside += 1
            return
        if self.waiting >= self._line:
            raise RequestError(
                HTTPStatus.TOO_MANY_REQUESTS, f"{self._line} requests wait already", headers=RETRY_AFTER
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.push(turn, now=now, deadline=deadline, priority=priority)
        self.waiting += 1
        try:
            async with asyncio.timeout_at(None if deadline == float("inf") else deadline):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.leave()  # its turn came at the very moment in which it was given up
            else:
                self._queue.discard({turn})
            if isinstance(error, TimeoutError):
                raise RequestError(
                    HTTPStatus.GATEWAY_TIMEOUT, "the upstream had no place for it before its deadline"
                ) from error
            raise
        finally:
            self.waiting -= 1

    def leave(self) -> None:
        """Give a place back: to the most urgent request that waits, if any does."""
        while len(self._queue):
            turn, _ = self._queue.pop()
            if not turn.done():
                turn.set_result(None)
                return
        self.inside -= 1
