"""Signed requests to another pod, over connections that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote

from regrain_watchdog.front.http1.exchange import COPIED
from regrain_watchdog.front.remote import wire
from regrain_watchdog.front.upstream.client import Answer, Connection, Pool, UpstreamError
from regrain_watchdog.front.upstream.upstream import Address

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


class Line:
    """Asks the pod at a URL."""

    def __init__(self, url: str, terms: Terms) -> None:
        self._terms = terms
        self._address = Address.parse(url)
        self._pool = Pool(self._address.host, self._address.port)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.close()

    async def ask(
        self, method: str, path: str, frame: bytes = b"", *, timeout: float, twice: bool = False
    ) -> bytes:
        """Return what is answered within so many seconds; PodError if nothing good is.

        twice: whether the same may be asked twice, so that a kept connection which has ended proves nothing.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(method, path, frame, twice=twice)
        except TimeoutError as error:
            detail = f"no answer within {timeout:.3g} s"
            raise PodError(detail, ran=True, gone=False, timed_out=True) from error

    async def _exchange(self, method: str, path: str, frame: bytes, *, twice: bool) -> bytes:
        """Send a request, once more over a new connection where a kept one has ended, which may be mere chance."""
        head = self._head(method, path, frame)
        request = (head, frame) if len(frame) > COPIED else (head + frame,)
        try:
            return await self._over(await self._pool.take(), *request)
        except UpstreamError as error:
            if not (error.stale and twice):
                raise PodError(str(error), ran=not error.unsent, gone=True) from error
        try:
            return await self._over(await self._pool.take(fresh=True), *request)
        except UpstreamError as error:
            raise PodError(str(error), ran=True, gone=True) from error

    async def _over(self, connection: Connection, *request: bytes) -> bytes:
        """Send a request over a connection; return what was answered to it."""
        try:
            answer = await connection.ask(*request, headless=False)
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
        limit = self._terms.limit
        body = await answer.body.read_all(limit)
        if answer.body.total > limit:
            raise PodError(f"an answer of over {limit} bytes", ran=True, gone=False)
        return body

    def _head(self, method: str, path: str, frame: bytes) -> bytes:
        terms, epoch = self._terms, self._terms.epoch()
        signed = wire.signature(terms.secret, method, path, frame, version=terms.version, epoch=epoch)
        host = f"{self._address.host}:{self._address.port}"
        return (
            f"{method} {self._address.prefix}{quote(path)} HTTP/1.1\r\nhost: {host}\r\n"
            f"content-type: {wire.MEDIA_TYPE}\r\ncontent-length: {len(frame)}\r\n"
            f"{wire.VERSION}: {terms.version}\r\n{wire.EPOCH}: {epoch}\r\n{wire.SIGNATURE}: {signed}\r\n\r\n"
        ).encode()
