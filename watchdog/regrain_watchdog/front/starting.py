"""Replicas that are to start: which is next, and when."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from regrain_watchdog.front.function import Function
from regrain_watchdog.policy import restart

logger = logging.getLogger(__name__)


class Starting:
    """The functions that lack replicas, one entry for each replica.

    While others serve, those that load take their cores, so not all start at once. One that cannot be started stays
    first, and is tried again after a while, longer each time.

    may_start: whether one more may start now. start: starts one; OSError where the system has no room for it now.
    """

    def __init__(self, *, may_start: Callable[[], bool], start: Callable[[Function], None]) -> None:
        self._may_start = may_start
        self._start = start
        self._queue: deque[Function] = deque()
        self._failures = 0
        self._timer: asyncio.TimerHandle | None = None

    def count(self, function: Function) -> int:
        """Return how many replicas of a function are still to start."""
        return self._queue.count(function)

    def add(self, function: Function) -> None:
        """Have a replica of a function start, now or once it may."""
        self._queue.append(function)
        self.go_on()

    def go_on(self) -> None:
        """Start what may start; look again in a while if that is not all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            if not self._may_start():
                self._look_again(restart.LOOK)
                return
            function = self._queue[0]
            try:
                self._start(function)
            except OSError as error:  # no descriptors, memory or processes at the moment
                self._failures += 1
                logger.warning("a replica of %s cannot be started now: %s", function.name, error)
                self._look_again(restart.delay(self._failures))
                return
            self._failures = 0
            self._queue.popleft()

    def _look_again(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self.go_on)
