"""A front before an upstream that a test writes, both on real sockets in the test's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from regrain_watchdog.front.config import Config
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.upstream.edge import Edge
from regrain_watchdog.front.upstream.proxy import Proxy
from regrain_watchdog.front.upstream.upstream import Address, Upstream

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Served = Callable[[Reader, Writer], Awaitable[None]]
PATIENCE = 60.0


@dataclass
class Front:
    """What stands between the test and its upstream."""

    edge: Edge
    proxy: Proxy
    measure: Measure
    upstream: Upstream
    heads: list[bytes]

    async def connect(self) -> tuple[Reader, Writer]:
        return await asyncio.open_connection("127.0.0.1", self.edge.port)

    async def ask(self, raw: bytes) -> tuple[bytes, bytes]:
        """Send a request over a connection of its own; return head and body of what comes until its end."""
        reader, writer = await self.connect()
        writer.write(raw)
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await reader.read()
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return head, body


@contextlib.asynccontextmanager
async def front_before(
    serve: Served, *, upstream_port: int = 0, write_timeout: float = PATIENCE, **settings: object
) -> AsyncIterator[Front]:
    heads: list[bytes] = []
    writers: list[Writer] = []

    async def accepted(reader: Reader, writer: Writer) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    port = upstream_port or server.sockets[0].getsockname()[1]
    config = Config(port=0, **settings)
    upstream = Upstream(
        Address(host="127.0.0.1", port=port), (), environment={}, ready_path=config.ready_path
    )
    measure = Measure()
    proxy = Proxy(upstream, measure, config)
    edge = Edge(proxy, config, write_timeout=write_timeout)
    await edge.start()
    try:
        yield Front(edge, proxy, measure, upstream, heads)
    finally:
        await edge.stop(2)
        await upstream.stop()
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)  # so that their loop closes them


@pytest.fixture
def deaf_port():
    """A port that is taken, and that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def before():
    """Start a front before an upstream: `async with before(serve, max_inflight=1) as front`."""
    return front_before


@pytest.fixture
def answers():
    """Make an upstream that gives each request the same bytes, once it has read a body of a known length."""

    def make(raw: bytes) -> Served:
        async def serve(reader: Reader, writer: Writer) -> None:
            writer.write(raw)
            await writer.drain()

        return serve

    return make


def refusal(answered: tuple[bytes, bytes]) -> tuple[int, str]:
    """Return status and detail of an answer that is this front's own."""
    head, body = answered
    told = json.loads(body)
    assert b"\r\nx-openfaas-internal: regrain" in head
    assert b"content-type: application/problem+json" in head
    assert f"x-call-id: {told['call_id']}".encode() in head
    return told["status"], told["detail"]


@pytest.fixture(name="refusal")
def _refusal() -> Callable[[tuple[bytes, bytes]], tuple[int, str]]:
    return refusal
