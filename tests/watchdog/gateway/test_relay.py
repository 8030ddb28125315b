"""Requests pass to the control plane as they were, and its answers back; what breaks is told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from regrain_watchdog.front.http1.limits import Limits
from regrain_watchdog.front.http1.port import Port
from regrain_watchdog.gateway import relay
from regrain_watchdog.gateway.credentials import Credentials
from regrain_watchdog.gateway.relay import Relay

PATIENCE = 60.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi"


@asynccontextmanager
async def relaying(
    path: Path, serve: Serve | None, credentials: Credentials | None = None
) -> AsyncIterator[Callable[[], Awaitable[tuple]]]:
    """Relay to a server on a socket; give how to connect as a caller."""
    control = await asyncio.start_unix_server(serve, str(path), limit=1 << 22) if serve else None
    bound = socket.create_server(("127.0.0.1", 0))
    bound.setblocking(False)
    port = Port(Relay(path, credentials), bound, Limits(), None)
    port.start()
    address = bound.getsockname()
    yield lambda: asyncio.open_connection(*address)
    port.cut()
    assert await port.stop(PATIENCE)
    if control is not None:
        control.close()


def talk(path: Path, sent: bytes, serve: Serve | None, credentials: Credentials | None = None) -> bytes:
    """Send bytes and return all that comes back."""

    async def run() -> bytes:
        async with asyncio.timeout(PATIENCE), relaying(path, serve, credentials) as connect:
            reader, writer = await connect()
            writer.write(sent)
            received = await reader.read()
            writer.close()
            return received

    return asyncio.run(run())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


class Control:
    """Takes one request as far as a mark, answers with these bytes, and closes."""

    def __init__(self, answer: bytes, until: bytes) -> None:
        self.received = b""
        self._answer = answer
        self._until = until

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received = await reader.readuntil(self._until)
        writer.write(self._answer)
        await writer.drain()
        writer.close()


def get(target: str = "/system/info", fields: str = "") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: here:8080\r\nConnection: close\r\n{fields}\r\n".encode()


def test_a_request_and_its_answer_pass(path: Path) -> None:
    control = Control(OK, b"\r\n\r\n")

    received = talk(path, get("/system/logs?a=%2Fb&c", "Authorization: Basic eA==\r\nTE: x\r\n"), control)

    head = control.received.decode().lower().split("\r\n")
    assert head[0] == "get /system/logs?a=%2fb&c http/1.1"
    assert {"host: here:8080", "authorization: basic ea==", "content-length: 0"} <= set(head)
    assert "te: x" not in head
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"x-a: b\r\n" in received.lower()
    assert received.lower().count(b"content-length") == 1
    assert received.endswith(b"\r\n\r\nhi")


def test_a_path_cannot_become_two_lines(path: Path) -> None:
    control = Control(OK, b"\r\n\r\n")

    talk(path, get("/system/a%20HTTP/1.1%0D%0AX-Evil:%20b"), control)

    assert control.received.split(b"\r\n")[0] == b"GET /system/a%20HTTP/1.1%0D%0AX-Evil:%20b HTTP/1.1"


@pytest.mark.parametrize(
    ("framing", "told"),
    [
        pytest.param("Content-Length: 1234", "content-length: 1234", id="length"),
        pytest.param("Transfer-Encoding: chunked", "transfer-encoding: chunked", id="chunks"),
    ],
)
def test_head_is_told_the_framing_that_get_would_have(path: Path, framing: str, told: str) -> None:
    answer = f"HTTP/1.1 200 OK\r\n{framing}\r\nX-A: b\r\n\r\n".encode()

    received = talk(path, get().replace(b"GET", b"HEAD", 1), Control(answer, b"\r\n\r\n"))

    head, _, rest = received.partition(b"\r\n\r\n")
    framings = [line for line in head.decode().split("\r\n") if line.startswith(("content-l", "transfer"))]
    assert (framings, rest) == ([told], b"")


def test_fields_that_connection_names_end_here(path: Path) -> None:
    answer = OK.replace(b"X-A: b", b"X-A: b\r\nConnection: X-Own\r\nX-Own: hop")
    control = Control(answer, b"\r\n\r\n")

    received = talk(path, get(fields="Connection: X-Mine, Host\r\nX-Mine: hop\r\nX-B: c\r\n"), control)

    assert b"x-a: b\r\n" in received
    assert b"x-own" not in received
    assert b"x-b: c\r\n" in control.received
    assert b"host: here:8080\r\n" in control.received
    assert b"x-mine" not in control.received


@pytest.mark.parametrize("word", ["größe", "日本"])
def test_headers_beyond_ascii_pass_as_they_came(path: Path, word: str) -> None:
    control = Control(OK.replace(b"X-A: b", f"X-A: {word}".encode()), b"\r\n\r\n")

    received = talk(path, get(fields=f"X-Name: {word}\r\n"), control)

    assert f"x-name: {word}\r\n".encode() in control.received
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"x-a: {word}\r\n".encode() in received


def test_what_is_no_utf_8_is_told_in_it(path: Path) -> None:
    control = Control(OK.replace(b"X-A: b", b"X-A: \xe9"), b"\r\n\r\n")

    received = talk(path, get().replace(b"here:8080", b"here:8080\r\nX-Name: \xe9"), control)

    assert "x-name: é\r\n".encode() in control.received
    assert "x-a: é\r\n".encode() in received


def test_a_body_passes_as_it_comes(path: Path) -> None:
    pieces: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pieces.append(await reader.readuntil(b"\r\n\r\n"))
        for _ in range(3):
            begun.set()
            pieces.append(await reader.readuntil(b"x\r\n"))
        pieces.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(OK)
        writer.close()

    async def run() -> bytes:
        nonlocal begun
        begun = asyncio.Event()
        async with asyncio.timeout(PATIENCE), relaying(path, serve) as connect:
            reader, writer = await connect()
            writer.write(b"POST /build HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(3):
                await begun.wait()  # the control plane has what was sent before
                begun.clear()
                writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
            writer.write(b"0\r\n\r\n")
            received = await reader.readuntil(b"hi")
            writer.close()
            return received

    begun: asyncio.Event
    received = asyncio.run(run())

    assert b"transfer-encoding: chunked" in pieces[0].lower()
    assert [piece.count(b"x") for piece in pieces[1:]] == [0x1000] * 3 + [0]
    assert received.startswith(b"HTTP/1.1 200 OK")


def test_a_large_body_passes(path: Path) -> None:
    control = Control(OK, b"!")

    talk(
        path,
        b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2000001\r\n\r\n"
        + b"x" * 2000000
        + b"!",
        control,
    )

    assert control.received.count(b"x") == 2000000


def test_an_answer_passes_as_it_comes(path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await taken.wait()
        writer.write(b"1\r\nb\r\n0\r\n\r\n")
        writer.close()

    async def run() -> None:
        nonlocal taken
        taken = asyncio.Event()
        async with asyncio.timeout(PATIENCE), relaying(path, serve) as connect:
            reader, writer = await connect()
            writer.write(get())
            assert (await reader.readuntil(b"1\r\na\r\n")).startswith(b"HTTP/1.1 200 OK")
            taken.set()
            assert await reader.read() == b"1\r\nb\r\n0\r\n\r\n"
            writer.close()

    taken: asyncio.Event
    asyncio.run(run())


def test_an_answer_that_comes_before_all_of_the_body_passes(path: Path) -> None:
    control = Control(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno", b"\r\n\r\n")

    sent = b"POST /build HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 100000
    received = talk(path, sent, control)

    assert received.startswith(b"HTTP/1.1 401 ")
    assert received.endswith(b"no")


@pytest.mark.parametrize(
    "shown", ["", "Authorization: Bearer \r\n", "Authorization: Basic YWRtaW46Z3Vlc3M=\r\n"]
)
def test_who_does_not_know_the_password_holds_no_thread_of_the_control_plane(path: Path, shown: str) -> None:
    control = Control(OK, b"\r\n\r\n")
    sent = get(fields=f"{shown}Content-Length: 1000000\r\n")  # and no body: it is not waited for

    received = talk(path, sent, control, Credentials("admin", "a password"))

    assert received.startswith(b"HTTP/1.1 401 ")
    assert b'www-authenticate: Basic realm="Restricted"\r\n' in received
    assert received.endswith(b"\r\n\r\ninvalid credentials")
    assert control.received == b""


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(get(fields="Authorization: Basic YWRtaW46YSBwYXNzd29yZA==\r\n"), id="password"),
        pytest.param(get("/build"), id="a path with a check of its own"),
    ],
)
def test_who_may_ask_the_control_plane_does(path: Path, sent: bytes) -> None:
    received = talk(path, sent, Control(OK, b"\r\n\r\n"), Credentials("admin", "a password"))

    assert received.startswith(b"HTTP/1.1 200 OK")


def test_a_control_plane_that_is_not_there_is_told(path: Path) -> None:
    received = talk(path, get(), None)

    assert received.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in received.lower()


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 20"])
def test_an_answer_that_is_none_is_told(path: Path, answer: bytes) -> None:
    assert talk(path, get(), Control(answer, b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")


def test_an_answer_that_breaks_off_is_broken_off(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"

    async def run() -> bytes:
        async with asyncio.timeout(PATIENCE), relaying(path, Control(broken, b"\r\n\r\n")) as connect:
            reader, writer = await connect()
            writer.write(get())
            received = await reader.readuntil(b"1\r\na\r\n")
            assert await reader.read() == b""  # and not the chunk that ends it
            writer.close()
            return received

    assert asyncio.run(run()).startswith(b"HTTP/1.1 200 OK")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_caller_that_is_too_slow_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BODY_PIECE", 0.05)

    received = talk(
        path, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx", Control(b"", b"\r\n\r\nnever")
    )

    assert received.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_comes_bit_by_bit_has_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BODY", 0.5)

    async def run() -> bytes:
        async with asyncio.timeout(PATIENCE), relaying(path, Control(b"", b"never")) as connect:
            reader, writer = await connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
            answer = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
            while not answer.done():
                writer.write(b"x")
                await asyncio.wait({answer}, timeout=0.01)
            writer.close()
            return answer.result()

    assert asyncio.run(run()).startswith(b"HTTP/1.1 408 ")


def test_a_control_plane_that_is_too_slow_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "ANSWER", 0.05)

    assert talk(path, get(), Control(b"", b"never")).startswith(b"HTTP/1.1 504 ")
