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

    piece: seconds that a caller has for each further piece of a body. whole: seconds that it has for all of it; None
    for any time. answer: seconds that the server has, once it has the body, to begin its answer; None for any time.
    body: bytes; 0 for any number. server: what it is called.
    """

    piece: float
    whole: float | None = None
    answer: float | None
    body: int = 0
    server: str


async def ask(
    connection: Connection, scope: Scope, proto: Exchange, bounds: Bounds, prefix: str = ""
) -> Answer:
    """Send a request, its path behind a prefix, and return its answer as soon as that begins.

    What has not been sent of the body by then is not sent any more, and the connection is of no use to another request.

    Raises:
        UpstreamError: there is none.
        RequestError: the caller was too slow (408) or sent too much (413), or the server was too slow (504).
    """
    body = proto.arrived()
    if bounds.body and body is not None and len(body) > bounds.body:
        raise _too_large(bounds)
    length = scope.headers.get("content-length") if body is None else str(len(body))
    head = _head(scope, length, prefix)
    coming = connection.ask(head + (body or b""), headless=scope.method == "HEAD")
    sending = None
    if body is None:
        sending = asyncio.create_task(_send(connection, proto, bounds, in_chunks=length is None))
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
    """Send the answer to a request on. One that breaks off is broken off."""
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
        while data := await answer.body.read():
            await stream.send_bytes(data)
    except UpstreamError as error:
        logger.warning("an answer of %s broke off: %s", bounds.server, error)
        raise CallerGoneError from error  # the port breaks off what has begun


async def _send(connection: Connection, proto: Exchange, bounds: Bounds, *, in_chunks: bool) -> None:
    clock = asyncio.get_running_loop().time
    size = 0
    try:
        async with asyncio.timeout(bounds.whole), asyncio.timeout(bounds.piece) as limit:
            async for data in proto:
                size += len(data)
                if bounds.body and size > bounds.body:
                    raise _too_large(bounds)
                await connection.send(heads.chunk(data) if in_chunks else data)
                limit.reschedule(clock() + bounds.piece)
    except TimeoutError as error:
        nothing = f"nothing of the body came for {bounds.piece:g} s"
        detail = nothing if limit.expired() else f"not all of the body came within {bounds.whole:g} s"
        raise RequestError(HTTPStatus.REQUEST_TIMEOUT, detail, headers=CLOSE) from error
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


def _too_large(bounds: Bounds) -> RequestError:
    detail = f"the body has more than {bounds.body} bytes (max_body)"
    return RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=CLOSE)
