"""Sends a result to where its caller wants it: one POST over HTTP or HTTPS, which follows no redirect."""

from __future__ import annotations

import asyncio
import ssl

from regrain_watchdog.front.door import FUNCTION_STATUS
from regrain_watchdog.front.http1.response import TOKEN
from regrain_watchdog.front.upstream import heads
from regrain_watchdog.front.upstream.client import Connection
from regrain_watchdog.gateway.later.call import CALL_ID, Call, Result
from regrain_watchdog.load.client import Target

TIMEOUT = 10.0
"""Seconds from the connection's begin to the answer's head. Its body is not read."""
DURATION = "x-duration-seconds"
OWN = frozenset({CALL_ID, DURATION, FUNCTION_STATUS, "x-function-name", "host", "content-length"})
"""Headers that are written here, whatever the function has answered: by its status a door knows a callback."""
LINE_ENDS = frozenset("\r\n\0")
FAILED = 503
"""The status that is told where a function gave no answer."""


async def post(call: Call, result: Result) -> int:
    """Send a result and return the status of the answer.

    Raises:
        OSError, UpstreamError: there was no answer, or none in time.
        ValueError: the result has a header that would end its line, or is none.
    """
    target = Target.of(call.callback)
    context = await asyncio.to_thread(ssl.create_default_context) if target.tls else None
    async with asyncio.timeout(TIMEOUT):
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection, target.host, target.port, ssl=context
        )
        try:
            answer = await connection.ask(_head(target, call, result) + result.body, headless=True)
            return answer.status
        finally:
            connection.close()


def _head(target: Target, call: Call, result: Result) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = [f"POST {target.path} HTTP/1.1", f"host: {host}:{target.port}", "connection: close"]
    for name, text in result.headers:
        if not TOKEN.fullmatch(name) or not LINE_ENDS.isdisjoint(text):
            raise ValueError(f"the answer's header {name!r} cannot be sent")
        if name not in OWN and name.encode() not in heads.HOP_BY_HOP:
            lines.append(f"{name}: {text}")
    duration = result.header(DURATION) or f"{result.seconds:.6f}"
    lines += [
        f"{CALL_ID}: {call.id}",
        f"{DURATION}: {duration}",
        f"{FUNCTION_STATUS}: {result.status or FAILED}",
        f"x-function-name: {call.function}",
        f"content-length: {len(result.body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()
