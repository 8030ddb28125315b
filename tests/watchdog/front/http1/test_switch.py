"""Connections that go on in another protocol, which their port looks after as before."""

import asyncio
import socket
import threading

import pytest

from regrain_watchdog.front.listen import Listener

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n"
PATIENCE = 60.0


class Shout(asyncio.Protocol):
    """Says again what it hears, in capitals; idles once it has been asked anything."""

    def __init__(self, port):
        self.port = port
        self.deadline = float("inf")
        self.is_idle = False

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, exc):
        self.port.lost(self)

    def data_received(self, data):
        if data == b"late":
            self.deadline = 0.0
        self.transport.write(data.upper())

    def expire(self, now):
        self.transport.write(b"too late")
        self.transport.close()

    def stop(self):
        self.transport.write(b"goodbye")
        self.transport.close()

    def make_room(self):
        self.transport.close()


class Switch:
    """Switches where it is asked to; answers whether it did, else."""

    def __init__(self, make=Shout):
        self.make = make
        self.entered, self.let = threading.Event(), None

    async def __rsgi__(self, scope, proto):
        if scope.path == "/held":
            self.let, self.loop = asyncio.Event(), asyncio.get_running_loop()
            self.entered.set()
            await self.let.wait()
        if not proto.switch("shout", [("x-kind", "loud")], self.make):
            proto.response_bytes(200, [], b"no")


def switched(connection):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    return head


def test_what_is_made_has_the_connection_from_then_on(listen):
    with listen(Switch()).connect() as connection:
        connection.sendall(GET)
        head = switched(connection)
        connection.sendall(b"hello")
        assert connection.recv(100) == b"HELLO"

    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert head.endswith(b"\r\nx-kind: loud\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n")


def test_what_comes_before_the_switch_is_not_handed_on(listen):
    with listen(Switch()).connect() as connection:
        connection.sendall(GET + b"early")
        switched(connection)
        connection.sendall(b"hello")
        assert connection.recv(100) == b"HELLO"


def test_its_port_looks_after_its_times(listen):
    with listen(Switch(), header_timeout=0.1).connect() as connection:
        connection.sendall(GET)
        switched(connection)
        connection.sendall(b"late")
        assert connection.makefile("rb").read() == b"LATEtoo late"


def test_what_cannot_be_made_fails_its_request(listen, raw):
    def fail(port):
        raise RuntimeError("no such luck")

    connection = raw(listen(Switch(fail)))
    connection.send(GET)
    assert connection.response()[0] == 500
    assert connection.rest() == b""


def test_a_request_with_a_body_is_not_switched(listen, raw):
    connection = raw(listen(Switch()))
    connection.send(GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n"))
    assert connection.response()[::2] == (200, b"no")


@pytest.mark.parametrize("held", [False, True])
def test_a_port_that_stops_ends_them_and_makes_no_more(loop, held):
    handler = Switch()

    async def start():
        listener = Listener(handler, "127.0.0.1", 0)
        await listener.start()
        return listener

    async def stop():
        stopping = asyncio.ensure_future(listener.stop(PATIENCE))
        await asyncio.sleep(0)
        if handler.let is not None:
            handler.let.set()
        return await stopping

    listener = loop.run(start())
    with socket.create_connection(("127.0.0.1", listener.port), PATIENCE) as connection:
        connection.sendall(GET.replace(b"/", b"/held", 1) if held else GET)
        if held:
            assert handler.entered.wait(PATIENCE)
        else:
            switched(connection)
        assert loop.run(stop())
        rest = connection.makefile("rb").read()

    assert rest.endswith(b"no" if held else b"goodbye")
