"""Another pod of the app, as this front asks it, and whether it is asked at all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from regrain_watchdog.front.remote import wire
from regrain_watchdog.front.remote.line import Errand, Line, PodError, Terms, Told
from regrain_watchdog.policy.breaker import Breaker

if TYPE_CHECKING:
    from regrain_watchdog.front.remote.peer import Peer

logger = logging.getLogger(__name__)

PLACES = 64
"""Requests that a pod is sent at once, and so the connections to it."""
GRACE = 10.0
"""Seconds that a pod which was never reached is waited for: it may be starting as this one is."""
TRIAL = 2.0
"""Seconds that a trial may take."""


class Pod:
    """A pod at a URL.

    Args:
        url: of it.
        terms: under which it is asked.
        ended: is called once it is asked no more.

    Attributes:
        peers: what functions have of it; told when it begins or ceases to answer, or is waited for no longer. With the
            last of them it is asked no more.
        closed: whether it is asked no more.
    """

    def __init__(self, url: str, terms: Terms, ended: Callable[[], object]) -> None:
        self.url = url
        self.terms = terms
        self._ended = ended
        self.peers: list[Peer] = []
        self.closed = False
        self.asked = 0
        """Requests that are under way."""
        self._line = Line(url, terms)
        self._born = time.monotonic()
        self._breaker = Breaker.untried(self._born)
        self._reached = False
        self._hoped = True
        self._refuses = False
        self._trials: asyncio.Task[None] | None = asyncio.ensure_future(self._try())

    @property
    def is_open(self) -> bool:
        """Whether requests are sent to it."""
        return self._breaker.is_closed

    @property
    def is_hopeful(self) -> bool:
        """Whether it answers, or was never heard of and is waited for."""
        return self.is_open or (not self._reached and time.monotonic() < self._born + GRACE)

    @property
    def has_room(self) -> bool:
        """Whether it may be sent one more request now."""
        return self.is_open and self.asked < PLACES

    def send(
        self,
        path: str,
        frame: Sequence[bytes | memoryview],
        told: Told,
        *,
        timeout: float,
        twice: bool = False,
    ) -> Callable[[], None]:
        """Have it answer a frame, as `Line.send`; return what gives that up, and is not to be called afterwards."""
        heard = partial(self._heard, told)
        errand = self._line.send(path, frame, heard, timeout=timeout, twice=twice)
        self.asked += 1
        return partial(self._forget, errand)

    def _forget(self, errand: Errand) -> None:
        self.asked -= 1
        errand.cancel()

    def _heard(self, told: Told, outcome: bytes | memoryview | PodError) -> None:
        self.asked -= 1
        if isinstance(outcome, PodError) and not outcome.too_large:  # else it answers as it should
            if not outcome.refused:  # else it is there, and another group may be served
                self._failed(outcome)
        elif self._breaker.failures:
            self._breaker = self._breaker.succeeded()
        told(outcome)

    def leave(self, peer: Peer) -> None:
        """A function is served no more."""
        self.peers.remove(peer)
        self.closed = not self.peers
        if self.closed:
            self._close()

    def _close(self) -> None:
        if self._trials is not None:
            self._trials.cancel()
        self._line.close()
        self._ended()

    def _failed(self, error: PodError) -> None:
        self._breaker = self._breaker.failed(time.monotonic(), gone=error.gone)
        self._reached = self._reached or error.refused
        is_lost = self._hoped and not self.is_hopeful
        if is_lost or (error.refused and not self._refuses):
            logger.warning("pod %s does not answer: %s", self.url, error)
        self._refuses = error.refused
        if is_lost:
            self._hoped = False
            self._move()
        if not (self.is_open or self._trials or self.closed):
            self._trials = asyncio.ensure_future(self._try())

    async def _try(self) -> None:
        """Try until it answers."""
        while not self.is_open:
            await asyncio.sleep(max(0.0, self._breaker.until - time.monotonic()))
            try:
                await self._line.ask("GET", wire.PREFIX, timeout=TRIAL, twice=True)
            except PodError as error:
                self._failed(error)
            else:
                self._breaker = self._breaker.succeeded()
        logger.info("pod %s answers", self.url)
        self._reached, self._hoped, self._refuses, self._trials = True, True, False, None
        self._move()

    def _move(self) -> None:
        for peer in list(self.peers):
            peer.moved()
