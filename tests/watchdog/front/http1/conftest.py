"""Handlers for real connections, and a reader of raw responses."""

import asyncio
import contextlib
import threading

import pytest


class Echo:
    """Answers with method, path and body; counts its requests."""

    def __init__(self):
        self.paths = []

    async def __rsgi__(self, scope, proto):
        self.paths.append(scope.path)
        body = await proto()
        proto.response_bytes(200, [("x-path", scope.path)], f"{scope.method} ".encode() + body)


class Gate:
    """Lets each request in, and answers once it is opened; knows who was cancelled."""

    def __init__(self):
        self.entered = threading.Event()
        self.cancelled = threading.Event()
        self._loop = None
        self._open = None

    async def __rsgi__(self, scope, proto):
        self._loop, self._open = asyncio.get_running_loop(), asyncio.Event()
        self.entered.set()
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        proto.response_bytes(200, [], b"done")

    def open(self):
        self._loop.call_soon_threadsafe(self._open.set)

    def take_a_turn(self):
        """Have the loop that it was entered in look at all sockets once."""
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(60)


class Raw:
    """A connection that speaks bytes."""

    def __init__(self, connection):
        self.connection = connection
        self._file = connection.makefile("rb")

    def send(self, data):
        self.connection.sendall(data)

    def fill(self, data, client):
        """Send until nothing more is taken although the port's loop takes its turns; how many bytes were."""
        self.connection.settimeout(0.1)
        sent = stuck = 0
        while sent < len(data) and stuck < 3:
            try:
                sent += self.connection.send(data[sent : sent + (1 << 20)])
                stuck = 0
            except TimeoutError:
                take_a_turn(client)
                stuck += 1
        self.connection.settimeout(60)
        return sent

    def response(self, *, bodiless=False):
        """Status, headers and body of the next response."""
        line = self._file.readline()
        if not line:
            return None
        headers = {}
        while field := self._file.readline().strip():
            name, _, text = field.decode().partition(": ")
            assert name not in headers
            headers[name] = text
        if bodiless or int(line.split()[1]) in (100, 204, 304):
            body = b""
        elif "content-length" in headers:
            body = self._file.read(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            body = self._chunks()
        else:
            body = self._file.read()
        return int(line.split()[1]), headers, body

    def _chunks(self):
        body = b""
        while size := int(self._file.readline(), 16):
            body += self._file.read(size)
            assert self._file.readline() == b"\r\n"
        assert self._file.readline() == b"\r\n"
        return body

    def rest(self):
        """All that comes until the end."""
        try:
            return self._file.read()
        except ConnectionResetError:
            return b""

    def close(self):
        self._file.close()
        self.connection.close()


def take_a_turn(client):
    """Have the loop of a port answer what is no request."""
    with contextlib.closing(Raw(client.connect())) as other:
        other.send(b"no request\r\n\r\n")
        assert other.response()[0] == 400


@pytest.fixture
def raw():
    """Connect to a port; every connection is closed at the end."""
    opened = []

    def _connect(client):
        opened.append(Raw(client.connect()))
        return opened[-1]

    yield _connect
    for connection in opened:
        connection.close()


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def answering(listen):
    """Serve what answers with a function of scope and exchange."""

    def _serve(answer, **settings):
        class Answering:
            async def __rsgi__(self, scope, proto):
                await answer(scope, proto)

        return listen(Answering(), **settings)

    return _serve
