"""Hands requests on to the control plane over its Unix socket, bodies as they come; says 503 while it is not there."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from urllib.parse import quote

from regrain_watchdog.front.handler import CallerGoneError, Exchange, Fields, Scope
from regrain_watchdog.front.upstream import heads
from regrain_watchdog.front.upstream.client import Answer, Connection, UpstreamError

logger = logging.getLogger(__name__)

BODY_PIECE = 30.0
"""Seconds that a caller has for each further piece of a body."""
ANSWER = 60.0
"""Seconds that the control plane has, once it has the body, to begin its answer."""
FRAMING = frozenset({b"content-length", b"date", b"server", *heads.HOP_BY_HOP})
"""Fields of an answer that the port writes itself."""
SAFE = "/!$&'()*+,;=:@-._~"


class Relay:
    """Answers requests with what the control plane answers.

    Args:
        path: its socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_unix_connection(Connection, str(self._path))
        except OSError:
            _say(
                proto, 503, "the control plane is being started; try again in a moment", ("retry-after", "1")
            )
            return
        try:
            answer = await _asked(connection, scope, proto)
        except UpstreamError as error:
            logger.warning("%s %s: %s", scope.method, scope.path, error)
            _say(proto, 502, "the control plane ended at this; try again in a moment")
        except _SlowError as error:
            _say(proto, error.status, str(error), ("connection", "close"))
        else:
            await _told(answer, proto)
        finally:
            connection.close()


class _SlowError(Exception):
    """Somebody took too long."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


async def _asked(connection: Connection, scope: Scope, proto: Exchange) -> Answer:
    """Send a request, and return its answer as soon as that begins."""
    body = proto.arrived()
    head = _head(scope, None if body is None else len(body))
    coming = connection.ask(head + (body or b""), headless=scope.method == "HEAD")
    sending = asyncio.create_task(_send(connection, proto)) if body is None else None
    try:
        if sending is not None:
            both: tuple[asyncio.Future[Answer] | asyncio.Task[None], ...] = (coming, sending)
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                sending.result()
        async with asyncio.timeout(ANSWER):
            return await coming
    except TimeoutError as error:
        raise _SlowError(504, f"the control plane did not answer within {ANSWER:g} s") from error
    finally:
        if sending is not None:
            sending.cancel()


async def _send(connection: Connection, proto: Exchange) -> None:
    clock = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(BODY_PIECE) as limit:
            async for data in proto:
                await connection.send(heads.chunk(data))
                limit.reschedule(clock() + BODY_PIECE)
    except TimeoutError as error:
        raise _SlowError(408, f"nothing of the body came for {BODY_PIECE:g} s") from error
    except ConnectionResetError:
        return  # the control plane has gone: who waits for its answer is told
    connection.transport.write(heads.END)


async def _told(answer: Answer, proto: Exchange) -> None:
    """Send an answer on. One that breaks off is broken off."""
    fields: Fields = [
        (name.decode("latin-1").lower(), value.decode("latin-1"))
        for name, value in answer.fields
        if name.lower() not in FRAMING
    ]
    if answer.body.ended:
        proto.response_bytes(answer.status, fields, answer.body.take())
        return
    stream = proto.response_stream(answer.status, fields)
    try:
        while data := await answer.body.read():
            await stream.send_bytes(data)
    except UpstreamError as error:
        logger.warning("an answer of the control plane broke off: %s", error)
        raise CallerGoneError from error  # the port breaks off what has begun


def _head(scope: Scope, length: int | None) -> bytes:
    """Return a request's head; a body of no known length goes in chunks."""
    target = quote(scope.path, SAFE) + (f"?{scope.query_string}" if scope.query_string else "")
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = [f"{scope.method} {target} HTTP/1.1", framing, "connection: close"]
    for name, value in scope.headers.items():
        if name.encode("latin-1") not in (*heads.HOP_BY_HOP, heads.EXPECT, heads.LENGTH):
            lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _say(proto: Exchange, status: int, sentence: str, *fields: tuple[str, str]) -> None:
    proto.response_str(status, [("content-type", "text/plain; charset=utf-8"), *fields], sentence)
