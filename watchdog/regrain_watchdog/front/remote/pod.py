"""Another pod of the app, as this front asks it: its connections, and whether it is asked at all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from regrain_watchdog.front.remote import wire
from regrain_watchdog.front.upstream.client import Answer, Connection, Pool, UpstreamError
from regrain_watchdog.front.upstream.upstream import Address
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
REFUSALS = frozenset((HTTPStatus.UNAUTHORIZED, HTTPStatus.CONFLICT))
"""Answers by which a pod says that it runs nothing for us: another secret, another version or epoch."""
NOT_NOW = frozenset((HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE))
"""Answers of one that starts or stops, or of what stands before it."""


class PodError(Exception):
    """A pod did not do what it was asked to.

    Attributes:
        ran: whether it may have run any of it.
        gone: whether there is nobody to be asked again before a trial succeeds.
        refused: whether it answered that it will do nothing for us.
        timed_out: whether it took too long.
    """

    def __init__(
        self, detail: str, *, ran: bool, gone: bool, refused: bool = False, timed_out: bool = False
    ) -> None:
        super().__init__(detail)
        self.refused = refused
        self.ran = ran
        self.gone = gone
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Under which a pod is asked.

    secret: what requests are signed with. version: of the app, by its digest. limit: bytes of a frame at most.
    """

    secret: str = field(repr=False)
    version: str
    epoch: Callable[[], int]
    limit: int


class Pod:
    """A pod at a URL.

    Attributes:
        peers: what functions have of it; told when it begins or ceases to answer, or is waited for no longer. With the
            last of them it is asked no more.
        closed: whether it is asked no more.
    """

    def __init__(self, url: str, terms: Terms) -> None:
        self.url = url
        self.terms = terms
        self.peers: list[Peer] = []
        self.closed = False
        self.asked = 0
        """Requests that are under way."""
        self._address = Address.parse(url)
        self._pool = Pool(self._address.host, self._address.port)
        self._born = time.monotonic()
        self._breaker = Breaker.untried(self._born)
        self._reached = False
        self._hoped = True
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

    async def ask(self, path: str, frame: bytes, *, timeout: float, twice: bool = False) -> bytes:
        """Have it answer a frame within so many seconds; PodError if it does not.

        twice: whether it may run the same frame twice, so that a kept connection which has ended proves nothing.
        """
        self.asked += 1
        try:
            answer = await self._bounded("POST", path, frame, timeout, twice=twice)
        except PodError as error:
            self._failed(error)
            raise
        finally:
            self.asked -= 1
        if self._breaker.failures:
            self._breaker = self._breaker.succeeded()
        return answer

    def leave(self, peer: Peer) -> None:
        """A function is served no more."""
        self.peers.remove(peer)
        self.closed = not self.peers
        if self.closed:
            self._close()

    def _close(self) -> None:
        if self._trials is not None:
            self._trials.cancel()
        self._pool.close()

    async def _bounded(self, method: str, path: str, frame: bytes, timeout: float, *, twice: bool) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(method, path, frame, twice=twice)
        except TimeoutError as error:
            detail = f"no answer within {timeout:.3g} s"
            raise PodError(detail, ran=True, gone=False, timed_out=True) from error

    async def _exchange(self, method: str, path: str, frame: bytes, *, twice: bool) -> bytes:
        """Send a request, once more over a new connection where a kept one has ended, which may be mere chance."""
        request = self._head(method, path, frame) + frame
        try:
            return await self._over(await self._pool.take(), request)
        except UpstreamError as error:
            if not (error.stale and twice):
                raise PodError(str(error), ran=not error.unsent, gone=True) from error
        try:
            return await self._over(await self._pool.take(fresh=True), request)
        except UpstreamError as error:
            raise PodError(str(error), ran=True, gone=True) from error

    async def _over(self, connection: Connection, request: bytes) -> bytes:
        """Send a request over a connection; return what was answered to it."""
        try:
            answer = await connection.ask(request, headless=False)
            body = await self._read(answer)
        except BaseException:
            connection.close()
            raise
        self._pool.give(connection)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            refused = answer.status in REFUSALS
            nothing = refused or answer.status in NOT_NOW
            detail = f"{answer.status} {body[:300].decode(errors='replace')}"
            raise PodError(detail, ran=not nothing, gone=nothing, refused=refused)
        return body

    async def _read(self, answer: Answer) -> bytes:
        chunks = []
        while chunk := await answer.body.read():
            chunks.append(chunk)
            if answer.body.total > self.terms.limit:
                raise PodError(f"an answer of over {self.terms.limit} bytes", ran=True, gone=False)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _head(self, method: str, path: str, frame: bytes) -> bytes:
        terms, epoch = self.terms, self.terms.epoch()
        signed = wire.signature(terms.secret, method, path, frame, version=terms.version, epoch=epoch)
        host = f"{self._address.host}:{self._address.port}"
        return (
            f"{method} {self._address.prefix}{quote(path)} HTTP/1.1\r\nhost: {host}\r\n"
            f"content-type: {wire.MEDIA_TYPE}\r\ncontent-length: {len(frame)}\r\n"
            f"{wire.VERSION}: {terms.version}\r\n{wire.EPOCH}: {epoch}\r\n{wire.SIGNATURE}: {signed}\r\n\r\n"
        ).encode()

    def _failed(self, error: PodError) -> None:
        self._breaker = self._breaker.failed(time.monotonic(), gone=error.gone)
        self._reached = self._reached or error.refused
        if self._hoped and not self.is_hopeful:
            self._hoped = False
            logger.warning("pod %s does not answer: %s", self.url, error)
            self._move()
        if not (self.is_open or self._trials or self.closed):
            self._trials = asyncio.ensure_future(self._try())

    async def _try(self) -> None:
        """Try until it answers."""
        while not self.is_open:
            await asyncio.sleep(max(0.0, self._breaker.until - time.monotonic()))
            try:
                await self._bounded("GET", wire.PREFIX, b"", TRIAL, twice=True)
            except PodError as error:
                self._failed(error)
            else:
                self._breaker = self._breaker.succeeded()
        logger.info("pod %s answers", self.url)
        self._reached, self._hoped, self._trials = True, True, None
        self._move()

    def _move(self) -> None:
        for peer in list(self.peers):
            peer.moved()
