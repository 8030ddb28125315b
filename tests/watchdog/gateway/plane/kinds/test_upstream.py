"""Requests of a function that is a server pass over connections that are kept."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from regrain_watchdog.front.http1.limits import Limits
from regrain_watchdog.front.http1.port import Port
from regrain_watchdog.gateway.journal import Journal
from regrain_watchdog.gateway.plane.homes import Homes
from regrain_watchdog.gateway.plane.kinds.upstream import UpstreamInstance
from regrain_watchdog.gateway.plane.launch import Launcher
from regrain_watchdog.gateway.plane.output import Log, Output
from regrain_watchdog.gateway.sandbox import Means
from regrain_watchdog.gateway.settings import Settings
from regrain_watchdog.gateway.spec import Deployment, Function, Image

PATIENCE = 60.0
HASTY = """
import asyncio, itertools, sys

numbers = itertools.count()

async def serve(reader, writer):
    number = next(numbers)
    while head := await reader.readuntil(b"\\r\\n\\r\\n"):
        length = int(head.lower().split(b"content-length: ")[1].split(b"\\r\\n")[0])
        await reader.readexactly(min(length, 10))  # and answers, whatever else comes
        answer = b"connection %d" % number
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(answer) + answer)

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
"""
"""Takes ten bytes of a body, and says on which connection it was asked."""


@asynccontextmanager
async def served(folder: Path, source: str) -> AsyncIterator[tuple[str, int]]:
    """Serve a program that listens on the port that it is given; give where it is asked through the gateway."""
    (folder / "main.py").write_text(source)
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    function = Function(
        deployment=Deployment(
            service="a",
            image="a",
            namespace="dev",
            env_process=f"{sys.executable} main.py {number}",
            env_vars={"upstream_url": f"http://127.0.0.1:{number}"},
        ),
        image=Image(name="a", kind="app", folder=str(folder)),
        created=0.0,
    )
    log = Log(("dev", "a"), Journal(folder / "a.log"))
    output = Output(log, "a-1")
    launcher = Launcher(Settings(state=str(folder)), Means(tools=False), Homes(folder / "homes"))
    instance = UpstreamInstance(function, launcher, output)
    await instance.start(1)
    bound = socket.create_server(("127.0.0.1", 0))
    bound.setblocking(False)
    port = Port(instance, bound, Limits(), None)
    port.start()
    yield bound.getsockname()
    port.cut()
    assert await port.stop(PATIENCE)
    await instance.stop()
    output.close()
    log.close()


async def asked(address: tuple[str, int], length: int, body: bytes) -> bytes:
    """Send a request that announces so many bytes; return the answer's body."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length + body)
    await reader.readuntil(b"\r\n\r\n")
    answer = await reader.readuntil(b"connection ") + await reader.read(1)
    writer.close()
    return answer


def test_no_request_follows_one_that_was_answered_before_all_of_its_body_was_sent(tmp_path: Path) -> None:
    async def scenario() -> list[bytes]:
        async with asyncio.timeout(PATIENCE), served(tmp_path, HASTY) as address:
            return [
                await asked(address, 10, b"x" * 10),
                await asked(address, 100, b"x" * 10),
                await asked(address, 10, b"x" * 10),
            ]

    whole, part, after = asyncio.run(scenario())

    assert whole == part  # a connection is kept
    assert part != after
