"""Hands a request on over a connection to another server, its body as it comes, and the answer back likewise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

from regrain.errors import RequestError
from regrain_watchdog.front.handler import CallerGoneError, Exchange, Fields, Scope
from regrain_watchdog.front.http1.head import text
from regrain_watchdog.front.upstream import heads
from regrain_watchdog.front.upstream.client import Answer, Connection, UpstreamError
from regrain_watchdog.front.upstream.proxy import INLINE

logger = logging.getLogger(__name__)

FRAMING = frozenset({b"content-length", b"date", b"server", *heads.HOP_BY_HOP})
"""Fields of an answer that the port writes itself."""
OWN = frozenset(name.decode() for name in (*heads.HOP_BY_HOP, heads.EXPECT, heads.LENGTH))
"""Fields of a request that are not handed on as they are."""
NONE: frozenset[str] = frozenset()
SAFE = "/!$&'()*+,;=:@-._~"
CLOSE = {"connection": "close"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a request may cost.

    piece: seconds that a caller has for each further piece of a body; None for as long as it has for all of it. whole:
    seconds for which a body is waited for altogether. answer: seconds that the server has to take a piece of the body,
    and, once it has all of it, to begin its answer; None for any time. stall: seconds that it has for each further
    piece of its answer; None for any time. take: seconds that the caller has to take what is there of the answer;
    None for any time, as long as it takes something. body: bytes; 0 for any number. server: what it is called.
    """

    piece: float | None = None
    whole: float
    answer: float | None = None
    stall: float | None = None
    take: float | None = None
    body: int = 0
    server: str


class Body:
    """A request's body, within bounds.

    Args:
        scope, proto: of the request.
        bounds: what it may cost.

    Attributes:
        first: what of it is here already.
        is_whole: whether that is all.
        length: as a field of the head; None where only its end tells.
    """

    def __init__(self, scope: Scope, proto: Exchange, bounds: Bounds) -> None:
        arrived = proto.arrived()
        self.first = arrived or b""
        self.is_whole = arrived is not None
        self.length = str(len(self.first)) if self.is_whole else scope.headers.get("content-length")
        self._pieces = proto.__aiter__()
        self._bounds = bounds
        self._size = 0
        self._left = bounds.whole

    async def gather(self) -> None:
        """Wait for a small body, as for the first INLINE bytes of one whose length nobody knows.

        Raises:
            RequestError: it is too slow (408) or too large (413).
            CallerGoneError: it breaks off.
        """
        announced = int(self.length or 0)
        self._check(announced)
        if self.is_whole or announced > INLINE:
            return
        gathered = bytearray()
        while len(gathered) <= INLINE:
            data = await self.read()
            gathered += data
            if not data:
                self.is_whole = True
                self.length = str(len(gathered))
                break
        self.first = bytes(gathered)

    async def read(self) -> bytes:
        """Return the next piece of it, b"" behind the last. Raises as `gather`."""
        clock = asyncio.get_running_loop().time
        began = clock()
        patience = min(self._left, self._bounds.piece or self._left)
        try:
            async with asyncio.timeout(patience):
                data = await anext(self._pieces, b"")
        except TimeoutError as error:
            nothing = f"nothing of the body came for {patience:g} s"
            all_of_it = f"not all of the body came within {self._bounds.whole:g} s"
            detail = nothing if patience < self._left else all_of_it
            raise RequestError(HTTPStatus.REQUEST_TIMEOUT, detail, headers=CLOSE) from error
        self._left -= clock() - began
        self._size += len(data)
        self._check(self._size)
        return data

    def _check(self, size: int) -> None:
        if self._bounds.body and size > self._bounds.body:
            detail = f"the body has more than {self._bounds.body} bytes (max_body)"
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=CLOSE)


async def ask(connection: Connection, scope: Scope, body: Body, bounds: Bounds, prefix: str = "") -> Answer:
    """Send a request, its path behind a prefix, and return its answer as soon as that begins.

    What has not been sent of the body by then is not sent any more, and the connection is of no use to another request.

    Raises:
        UpstreamError: there is none.
        RequestError: the caller was too slow (408) or sent too much (413), or the server was too slow (504).
        CallerGoneError: the body broke off.
    """
    in_chunks = body.length is None
    first = heads.chunk(body.first) if in_chunks and body.first else body.first
    coming = connection.ask(_head(scope, body.length, prefix) + first, headless=scope.method == "HEAD")
    sending = None
    if not body.is_whole:
        sending = asyncio.create_task(_send(connection, body, bounds, in_chunks=in_chunks))
    try:
        if sending is not None:
            both: tuple[asyncio.Future[Answer] | asyncio.Task[None], ...] = (coming, sending)
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                sending.result()
        async with asyncio.timeout(bounds.answer):
            return await coming
    except TimeoutError as error:
        detail = f"{bounds.server} did not answer within {bounds.answer:g} s"
        raise RequestError(HTTPStatus.GATEWAY_TIMEOUT, detail, headers=CLOSE) from error
    finally:
        if sending is not None:
            sending.cancel()  # nothing, where it is done
            connection.broken = not sending.done() or sending.exception() is not None


async def tell(answer: Answer, scope: Scope, proto: Exchange, bounds: Bounds) -> None:
    """Send the answer to a request on. One that breaks off, stalls, or is not taken, is broken off."""
    dropped = FRAMING | heads.named(answer.fields)
    fields: Fields = [
        (name.decode("latin-1").lower(), text(value))
        for name, value in answer.fields
        if name.lower() not in dropped
    ]
    if scope.method == "HEAD":
        length = next((value for name, value in answer.fields if name.lower() == heads.LENGTH), None)
        if length is None:
            proto.response_stream(answer.status, fields)
        else:
            proto.response_empty(answer.status, fields, int(length))
        return
    if answer.body.ended:
        proto.response_bytes(answer.status, fields, answer.body.take())
        return
    stream = proto.response_stream(answer.status, fields)
    try:
        while data := await _piece(answer, bounds):
            async with asyncio.timeout(bounds.take):
                await stream.send_bytes(data)
    except TimeoutError as error:
        raise CallerGoneError from error
    except UpstreamError as error:
        logger.warning("an answer of %s broke off: %s", bounds.server, error)
        raise CallerGoneError from error  # the port breaks off what has begun


async def _piece(answer: Answer, bounds: Bounds) -> bytes:
    """Return the next piece of an answer's body; UpstreamError where there is none in time."""
    try:
        async with asyncio.timeout(bounds.stall):
            return await answer.body.read()
    except TimeoutError as error:
        raise UpstreamError(f"nothing came for {bounds.stall:g} s") from error


async def _send(connection: Connection, body: Body, bounds: Bounds, *, in_chunks: bool) -> None:
    """Send the rest of a body; TimeoutError where the server does not take it."""
    try:
        while data := await body.read():
            async with asyncio.timeout(bounds.answer):
                await connection.send(heads.chunk(data) if in_chunks else data)
    except ConnectionResetError:
        return  # the server has gone: who waits for its answer is told
    if in_chunks:
        connection.transport.write(heads.END)


def _head(scope: Scope, length: str | None, prefix: str) -> bytes:
    """Return a request's head, its text as UTF-8; a body of no known length goes in chunks."""
    target = quote(prefix + scope.path, SAFE) + (f"?{scope.query_string}" if scope.query_string else "")
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    dropped = OWN | named(scope.headers)
    lines = [framing, *(f"{name}: {value}" for name, value in scope.headers.items() if name not in dropped)]
    start = f"{scope.method} {target} HTTP/1.1\r\n".encode("latin-1")  # a query is as it came, byte for byte
    return start + "\r\n".join([*lines, "", ""]).encode()


def named(headers: Mapping[str, str]) -> frozenset[str]:
    """Return the fields that a request's Connection names as its own, in lower case."""
    own = headers.get("connection", "")
    return frozenset(name.decode() for name in heads.named([(b"connection", own.encode())])) if own else NONE
