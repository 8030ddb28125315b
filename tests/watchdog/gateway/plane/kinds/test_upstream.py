"""Requests of a function that is a server pass over connections that are kept."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from regrain.errors import RequestError, SpecError
from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.front.http1.limits import Limits
from regrain_watchdog.front.http1.port import Port
from regrain_watchdog.front.settings import PREFIX
from regrain_watchdog.front.upstream import client
from regrain_watchdog.gateway.journal import Journal
from regrain_watchdog.gateway.plane.homes import Homes
from regrain_watchdog.gateway.plane.kinds.upstream import UpstreamInstance
from regrain_watchdog.gateway.plane.launch import Launcher
from regrain_watchdog.gateway.plane.output import Log, Output
from regrain_watchdog.gateway.sandbox import Means
from regrain_watchdog.gateway.settings import Settings
from regrain_watchdog.gateway.spec import Deployment, Function, Image

PATIENCE = 60.0
SERVER = """
import asyncio, itertools, sys

numbers = itertools.count()
LARGE = 64 << 20
OK = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%b"

async def serve(reader, writer):
    number = next(numbers)
    is_kept = False
    while head := await reader.readuntil(b"\\r\\n\\r\\n"):
        length = int(head.lower().split(b"content-length: ")[1].split(b"\\r\\n")[0])
        path = head.split()[1]
        await reader.readexactly(length if path == b"/whole" else min(length, 10))
        if path == b"/silent":
            await asyncio.Event().wait()
        if path == b"/part":
            writer.write(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n1\\r\\na\\r\\n")
            await asyncio.Event().wait()
        if path == b"/large":
            writer.write(OK % (LARGE, bytes(LARGE)))
            await writer.drain()
            continue
        if path == b"/bye" and is_kept:
            writer.close()
            return
        is_kept = True
        answer = b"connection %d" % number
        writer.write(OK % (len(answer), answer))

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
"""
"""Says on which connection it was asked, once it has ten bytes of a body, or whatever its path says."""


class Telling:
    """Tells what an instance refuses, as the gateway does."""

    def __init__(self, instance: UpstreamInstance) -> None:
        self._instance = instance

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        try:
            await self._instance.__rsgi__(scope, proto)
        except RequestError as error:
            proto.response_str(error.status, [*error.headers.items()], error.detail)


async def nothing() -> None:
    """End no version before."""


def function(folder: Path, number: int, settings: dict[str, str]) -> Function:
    """Return a function that is SERVER at a port, with these settings."""
    (folder / "main.py").write_text(SERVER)
    return Function(
        deployment=Deployment(
            service="a",
            image="a",
            namespace="dev",
            env_process=f"{sys.executable} main.py {number}",
            env_vars={
                "upstream_url": f"http://127.0.0.1:{number}",
                **{PREFIX + name.upper(): text for name, text in settings.items()},
            },
        ),
        image=Image(name="a", kind="app", folder=str(folder)),
        created=0.0,
    )


@contextmanager
def made(folder: Path, **settings: str) -> Iterator[UpstreamInstance]:
    """Give an instance of SERVER with these settings, at a port that nobody else is given meanwhile."""
    log = Log(("dev", "a"), Journal(folder / "a.log"))
    output = Output(log, "a-1")
    launcher = Launcher(Settings(state=str(folder)), Means(tools=False), Homes(folder / "homes"))
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        try:
            yield UpstreamInstance(function(folder, taken.getsockname()[1], settings), launcher, output)
        finally:
            output.close()
            log.close()


@asynccontextmanager
async def served(folder: Path, **settings: str) -> AsyncIterator[tuple[str, int]]:
    """Serve SERVER with these settings; give where it is asked through the gateway."""
    with made(folder, **settings) as instance:
        await instance.start(1, nothing)
        bound = socket.create_server(("127.0.0.1", 0))
        bound.setblocking(False)
        port = Port(Telling(instance), bound, Limits(), None)
        port.start()
        try:
            yield bound.getsockname()
        finally:
            port.cut()
            assert await port.stop(PATIENCE)
            await instance.stop()


def post(path: str, length: int = 0, fields: str = "", method: str = "POST") -> bytes:
    """Return the head of a request that announces so many bytes, and ends its connection."""
    ends = f"{fields}Connection: close\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\n{ends}Content-Length: {length}\r\n\r\n".encode()


async def told(address: tuple[str, int], sent: bytes) -> bytes:
    """Send a request; return all that comes back."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(sent)
    answer = await reader.read()
    writer.close()
    return answer


async def asked(address: tuple[str, int], length: int, body: bytes) -> bytes:
    """Send a request that announces so many bytes; return the answer's body."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(post("/", length) + body)
    await reader.readuntil(b"\r\n\r\n")
    answer = await reader.readuntil(b"connection ") + await reader.read(1)
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        pytest.param({"exec_timeout": "soon"}, "EXEC_TIMEOUT|exec_timeout", id="a duration"),
        pytest.param({"upstream_url": "ftp://a"}, "UPSTREAM_URL", id="an address"),
        pytest.param({"ready_path": "health"}, "READY_PATH", id="a path"),
    ],
)
def test_what_is_wrong_with_its_settings_is_known_before_the_version_before_is_ended(
    tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    async def clear() -> None:
        ended.append(True)

    async def scenario() -> None:
        with made(tmp_path, **settings) as instance, pytest.raises(SpecError, match=named):
            await instance.start(1, clear)

    ended: list[bool] = []
    asyncio.run(scenario())

    assert not ended


def test_no_request_follows_one_that_was_answered_before_all_of_its_body_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "IDLE", PATIENCE)

    async def scenario() -> list[bytes]:
        async with asyncio.timeout(PATIENCE), served(tmp_path) as address:
            return [
                await asked(address, 10, b"x" * 10),
                await asked(address, 1 << 20, b"x" * 10),
                await asked(address, 10, b"x" * 10),
            ]

    whole, part, after = asyncio.run(scenario())

    assert whole == part  # a connection is kept
    assert part != after


@asynccontextmanager
async def sending(address: tuple[str, int], length: int) -> AsyncIterator[tuple]:
    """Begin a request, and send its body once it is asked for: byte by byte, for as long as this lasts."""

    async def drip() -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    reader, writer = await asyncio.open_connection(*address)
    writer.write(post("/whole", length, "Expect: 100-continue\r\n"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    dripping = asyncio.create_task(drip())
    try:
        yield reader
    finally:
        dripping.cancel()
        writer.close()


def test_who_sends_a_body_slowly_keeps_nobody_out(tmp_path: Path) -> None:
    async def scenario() -> bytes:
        async with (
            asyncio.timeout(PATIENCE),
            served(tmp_path, max_inflight="1") as address,
            sending(address, 60000),
        ):
            return await asked(address, 10, b"x" * 10)

    assert asyncio.run(scenario()).startswith(b"connection ")


@pytest.mark.parametrize("length", [60000, 1 << 20])
def test_a_body_that_comes_bit_by_bit_has_a_time(tmp_path: Path, length: int) -> None:
    async def scenario() -> bytes:
        async with (
            asyncio.timeout(PATIENCE),
            served(tmp_path, body_timeout="500ms") as address,
            sending(address, length) as reader,
        ):
            return await reader.readuntil(b"\r\n")

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_is_announced_as_too_large_is_not_awaited(tmp_path: Path) -> None:
    async def scenario() -> bytes:
        async with asyncio.timeout(PATIENCE), served(tmp_path, max_body="100") as address:
            return await told(address, post("/whole", 101))

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 413 ")


def test_an_answer_that_stalls_is_broken_off(tmp_path: Path, with_time: Callable[..., None]) -> None:
    async def scenario(seconds: float) -> bytes:
        async with asyncio.timeout(PATIENCE), served(tmp_path, exec_timeout=f"{seconds:g}s") as address:
            return await told(address, post("/part"))

    def broken_off(seconds: float) -> None:
        answer = asyncio.run(scenario(seconds))
        assert answer.endswith(b"\r\n\r\n1\r\na\r\n")  # and no chunk that ends it

    with_time(broken_off, 0.5)


def test_who_takes_an_answer_bit_by_bit_keeps_others_out_for_a_while_at_most(tmp_path: Path) -> None:
    async def sip(caller: socket.socket) -> None:
        while await asyncio.get_running_loop().sock_recv(caller, 1 << 16):
            await asyncio.sleep(0.5)

    async def scenario() -> bytes:
        settings = {"max_inflight": "1", "body_timeout": "500ms", "exec_timeout": "60s"}
        async with asyncio.timeout(PATIENCE), served(tmp_path, **settings) as address:
            with socket.create_connection(address) as caller:
                caller.sendall(post("/large"))
                caller.setblocking(False)
                sipping = asyncio.create_task(sip(caller))
                answer = await told(address, post("/"))
                sipping.cancel()
                return answer

    assert asyncio.run(scenario()).split()[1] == b"200"


def test_the_time_for_an_answer_counts_from_the_requests_arrival(tmp_path: Path) -> None:
    async def timed(address: tuple[str, int]) -> tuple[bytes, float]:
        return await told(address, post("/silent")), time.monotonic()

    async def scenario() -> list[tuple[bytes, float]]:
        settings = {"max_inflight": "1", "exec_timeout": "2s"}
        async with asyncio.timeout(PATIENCE), served(tmp_path, **settings) as address:
            return await asyncio.gather(timed(address), timed(address))

    (first, ended), (second, ended_too) = asyncio.run(scenario())

    assert [answer.split()[1] for answer in (first, second)] == [b"504"] * 2
    assert abs(ended_too - ended) < 1.9  # and not 2 s in line and then 2 s more at the function


@pytest.mark.parametrize(
    ("text", "status", "detail"),
    [
        pytest.param("100ms", b"504", b"the function did not answer within 0.1 s", id="lowers"),
        pytest.param("soon", b"400", b"X-Timeout must be", id="nonsense"),
    ],
)
def test_a_caller_may_lower_the_time_for_an_answer(
    tmp_path: Path, text: str, status: bytes, detail: bytes
) -> None:
    async def scenario() -> bytes:
        async with asyncio.timeout(PATIENCE), served(tmp_path, exec_timeout="2s") as address:
            return await told(address, post("/silent", fields=f"X-Timeout: {text}\r\n"))

    answer = asyncio.run(scenario())

    assert answer.split()[1] == status
    assert detail in answer


@pytest.mark.parametrize(("method", "status"), [("GET", b"200"), ("POST", b"502")])
def test_a_request_that_may_come_twice_is_sent_again_where_a_kept_connection_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, status: bytes
) -> None:
    monkeypatch.setattr(client, "IDLE", PATIENCE)

    async def scenario() -> list[bytes]:
        async with asyncio.timeout(PATIENCE), served(tmp_path) as address:
            return [await told(address, post(path, method=method)) for path in ("/", "/bye")]

    first, second = asyncio.run(scenario())

    assert first.split()[1] == b"200"
    assert second.split()[1] == status


def test_what_is_killed_ends_with_all_that_it_started_before_anybody_waits_for_it(tmp_path: Path) -> None:
    """The front ends as soon as it has said so. A child of the server holds the pipe until it is gone."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def scenario(reads: int) -> bool:
        with made(tmp_path) as instance:
            child = (
                f"import subprocess; subprocess.Popen(['sleep', '600'], stdout=open({str(fifo)!r}, 'w'))\n"
            )
            (tmp_path / "main.py").write_text(child + SERVER)
            await instance.start(1, nothing)
            instance.kill()
            is_gone = bool(select.select([reads], [], [], PATIENCE)[0])
            await instance.stop()
        return is_gone

    reads = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert asyncio.run(scenario(reads))
    finally:
        os.close(reads)
