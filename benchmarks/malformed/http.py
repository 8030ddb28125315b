"""HTTP requests with something wrong in them: heads, framing, two requests in one, half of one, too much of one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

from benchmarks.malformed import BOUND, HUNG

JSON = b"Host: x\r\nContent-Type: application/json\r\n"
SEEDS = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v2/models/shapes/stats HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + JSON + b'Content-Length: 34\r\n\r\n{"x": [[1,2,3],[4,5,6]], "text":1}',
    b"POST / HTTP/1.1\r\n"
    + JSON
    + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"x":\r\n2\r\n1}\r\n0\r\nT: 1\r\n\r\n',
    b"POST /v2/models/shapes/infer HTTP/1.1\r\nHost: x\r\n"
    b"Inference-Header-Content-Length: 94\r\nContent-Length: 118\r\n\r\n"
    b'{"inputs":[{"name":"x","shape":[2,3],"datatype":"FP32","parameters":{"binary_data_size":24}}]}'
    + bytes(24),
    b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nX-Timeout: 1s\r\nContent-Length: 2\r\n\r\n{}",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n",
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /a HTTP/1.1\r\n\r\n"
    ),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
)
PIECES = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"\xff",
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: 3000000\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity, chunked\r\n",
    b"transfer-encoding:\x0bchunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"X-Timeout: -1s\r\nX-Priority: urgent\r\nX-Call-Id: a b\r\n",
    b"traceparent: 00-0-0-00\r\n",
    b"Host: y\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"1\r\n[\r\n" * 500,
    b"HTTP/1.1",
    b"HTTP/1.1 200 OK\r\n",
    b"A" * 9000,
    b"A" * 70_000,
    b"B: b\r\n" * 200,
    b"[" * 20_000,
)
FLOOD = 2 << 20
"""Bytes of an oversized body: over the servers' `max_body`."""


async def send(port: int, rng: random.Random) -> str:
    """Send one over a connection of its own; return what came of it, such as "400", "closed" or "hung"."""
    data = mutated(rng)
    end = rng.choice(("half", "half", "drop", "wait"))
    try:
        async with asyncio.timeout(BOUND):
            return await _said(port, data, end, rng)
    except TimeoutError:
        return HUNG
    except OSError:
        return "reset"


async def _said(port: int, data: bytes, end: str, rng: random.Random) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in _pieces(data, rng):
            writer.write(piece)
            await writer.drain()
        if end == "drop":
            return "dropped"
        if end == "half":
            writer.write_eof()
        said = await reader.read()
    finally:
        writer.transport.abort()
    if not said:
        return "closed"
    version, _, rest = said.partition(b" ")
    return rest[:3].decode("ascii", "replace") if version in (b"HTTP/1.1", b"HTTP/1.0") else "nonsense"


def mutated(rng: random.Random) -> bytes:
    """Return a request that is nearly right."""
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 | 1:
                data[at:at] = rng.choice(PIECES)
            case 2:
                del data[at : at + rng.randint(1, 8)]
            case 3:
                data[at : at + 1] = rng.randbytes(1)
            case 4:
                data[at:at] = data[: rng.randrange(len(data) + 1)]
            case _:
                del data[at:]
    if rng.random() < 0.02:
        data += b"x" * FLOOD
    return bytes(data)


def _pieces(data: bytes, rng: random.Random) -> Iterator[bytes]:
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randint(0, 3)))
    for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
        yield data[start:stop]
