"""What a pod answers over a connection that goes on in frames, to its bytes."""

from __future__ import annotations

import json
import socket
from functools import partial
from http import HTTPStatus
from types import SimpleNamespace

import pytest
from blake3 import blake3

from regrain.errors import RequestError
from regrain_watchdog.front.listen import Listener
from regrain_watchdog.front.remote import switch, wire
from regrain_watchdog.front.remote.reception import Reception

SECRET = "a secret of the pods"
LIMIT = 1 << 20
PATIENCE = 60.0
LONG = 1 << 25
"""Bytes that no socket takes at once."""
NONE = wire.Loading(None).sealed(wire.Ask("a grain", "group", []))
"""A frame without units."""
DONE = wire.Loading(None).sealed(wire.Told([], []))
"""The answer to it."""


class Guests:
    """Serves everybody, of epoch 3 or later."""

    def __init__(self):
        self.begun = []

    def check(self, version, epoch):
        if epoch < 3:
            raise RequestError(HTTPStatus.CONFLICT, f"epoch {epoch} is over")

    def find(self, version, grain, group):
        self.begun.append(group)
        if group == "long":
            raise RequestError(HTTPStatus.CONFLICT, "x" * LONG)
        return SimpleNamespace(crew=SimpleNamespace(pool=None)), 0


@pytest.fixture
def guests():
    return Guests()


@pytest.fixture
def client(listen, guests):
    """Who asks a pod."""
    return listen(Reception(None, guests, None, secret=SECRET, limit=LIMIT, timeout=PATIENCE))


class Caller:
    """Another pod, at the level of bytes."""

    def __init__(self, client, *, secret=SECRET, proof=True):
        self.socket = client.connect()
        self.number = 0
        asked = switch.nonce()
        signed = wire.signature(secret, "GET", wire.PREFIX, version="v", epoch=3)
        fields = {
            "host": "pod",
            "connection": "upgrade",
            "upgrade": switch.PROTOCOL,
            switch.NONCE: asked,
            wire.VERSION: "v",
            wire.EPOCH: 3,
            wire.SIGNATURE: signed,
        }
        lines = [f"GET {wire.PREFIX} HTTP/1.1", *(f"{name}: {text}" for name, text in fields.items()), "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        self.head = head
        named = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
        self.key = switch.key(SECRET, "v", asked, named.get(switch.NONCE, ""))
        if proof:
            self.socket.sendall(self.sealed(b"", epoch=0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def sealed(self, frame, epoch=3, number=None):
        """A frame as it travels, the next one if no number is given."""
        if number is None:
            number, self.number = self.number, self.number + 1
        rest = switch.HEAD.pack(number, epoch, len(frame)) + frame
        return blake3(rest, key=self.key).digest() + rest

    def received(self, nbytes):
        data = b""
        while len(data) < nbytes:
            piece = self.socket.recv(nbytes - len(data))
            assert piece, f"it closed after {data!r}"
            data += piece
        return data

    def answer(self):
        """The status, whether the connection stays, and the body of an answer."""
        nbytes, status, keeps = switch.ANSWER.unpack(self.received(switch.ANSWER.size))
        return status, bool(keeps), self.received(nbytes)

    def ask(self, frame=NONE, **how):
        self.socket.sendall(self.sealed(frame, **how))
        return self.answer()

    def ended(self):
        """Whether the connection has nothing more to say."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


def test_a_connection_goes_on_in_frames(client, guests):
    with Caller(client) as caller:
        assert caller.head.startswith(b"HTTP/1.1 101 ")
        assert [caller.ask() for _ in range(3)] == [(200, True, DONE)] * 3
    assert guests.begun == ["group"] * 3


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"upgrade": "websocket"}, 200),
        ({switch.NONCE: None}, 200),
        ({switch.NONCE: "ü" * 64}, 200),
        ({switch.NONCE: "0" * 63}, 200),
        ({wire.SIGNATURE: "0" * 64}, 401),
        ({wire.EPOCH: 4}, 401),
    ],
)
def test_what_does_not_ask_for_it_rightly_is_answered_over_http(client, fields, status):
    signed = wire.signature(SECRET, "GET", wire.PREFIX, version="v", epoch=3)
    named = {"connection": "upgrade", "upgrade": switch.PROTOCOL, switch.NONCE: switch.nonce()}
    named |= {wire.VERSION: "v", wire.EPOCH: 3, wire.SIGNATURE: signed} | fields
    headers = {name: str(text).encode() for name, text in named.items() if text is not None}

    assert client.request("GET", wire.PREFIX, headers=headers).status == status


def test_a_frame_may_come_in_pieces(client):
    with Caller(client) as caller:
        for byte in caller.sealed(NONE):
            caller.socket.sendall(bytes([byte]))
        assert caller.answer() == (200, True, DONE)
        assert caller.ask() == (200, True, DONE)


@pytest.mark.parametrize("nbytes", [0, 1, 1 << 16, (1 << 16) + 1, LIMIT])
def test_a_frame_that_is_none_costs_no_connection(client, nbytes):
    with Caller(client) as caller:
        status, keeps, body = caller.ask(bytes(nbytes))
        assert (status, keeps, json.loads(body)["status"]) == (400, True, 400)
        assert caller.ask() == (200, True, DONE)


def test_a_stale_epoch_is_refused_for_that_frame(client):
    with Caller(client) as caller:
        status, keeps, body = caller.ask(epoch=2)
        assert (status, keeps, "epoch 2 is over" in json.loads(body)["detail"]) == (409, True, True)
        assert caller.ask() == (200, True, DONE)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("at", [0, 31, 32, 40, switch.MAC + switch.HEAD.size, -1])
def test_what_is_not_proven_ends_the_connection(client, guests, at):
    with Caller(client) as caller:
        data = caller.sealed(NONE)
        caller.socket.sendall(flipped(data, at % len(data)))
        status, keeps, _ = caller.answer()
        assert (status, keeps) == (401, False)
        assert caller.ended()
    assert guests.begun == []


def test_a_frame_proves_nothing_a_second_time(client, guests):
    with Caller(client) as caller:
        data = caller.sealed(NONE)
        for expected in ((200, True), (401, False)):
            caller.socket.sendall(data)
            assert caller.answer()[:2] == expected
    assert guests.begun == ["group"]


def test_who_does_not_take_its_answer_gets_no_other_one(client, guests):
    asked = wire.Loading(None).sealed(wire.Ask("a grain", "long", []))
    with Caller(client) as caller:
        caller.socket.sendall(caller.sealed(asked))
        assert caller.socket.recv(1, socket.MSG_PEEK)
        caller.socket.sendall(caller.sealed(asked))
        status, _, body = caller.answer()
        assert (status, len(body) > LONG) == (409, True)
        assert caller.ended()
    assert guests.begun == ["long"]


def test_no_room_is_made_by_who_has_not_taken_its_answer(listen, guests):
    reception = Reception(None, guests, None, secret=SECRET, limit=LIMIT, timeout=PATIENCE)
    client = listen(reception, connections=2)
    with Caller(client) as caller:
        caller.socket.sendall(caller.sealed(wire.Loading(None).sealed(wire.Ask("a grain", "long", []))))
        assert caller.socket.recv(1, socket.MSG_PEEK)
        assert client.request("GET", wire.PREFIX).status == 401
        assert len(caller.answer()[2]) > LONG
        assert caller.ask() == (200, True, DONE)


def test_a_frame_proves_nothing_on_another_connection(client, guests):
    with Caller(client) as one, Caller(client) as other:
        other.socket.sendall(one.sealed(NONE))
        assert other.answer()[:2] == (401, False)
    assert guests.begun == []


def test_frames_may_not_be_left_out(client):
    with Caller(client) as caller:
        assert caller.ask(number=2)[:2] == (401, False)


@pytest.mark.parametrize("nbytes", [LIMIT + 1, 1 << 40, 2**64 - 1])
def test_nothing_over_the_limit_is_received(client, nbytes):
    with Caller(client) as caller:
        caller.socket.sendall(bytes(32) + switch.HEAD.pack(1, 3, nbytes) + bytes(1 << 16))
        status, keeps, body = caller.answer()
        assert (status, keeps, str(LIMIT) in json.loads(body)["detail"]) == (413, False, True)


@pytest.mark.parametrize("nbytes", [1, LIMIT])
def test_nothing_is_received_of_whoever_has_not_proven_to_be_a_pod(client, nbytes):
    """The request for the switch may be one that somebody recorded."""
    with Caller(client, proof=False) as caller:
        caller.socket.sendall(bytes(32) + switch.HEAD.pack(0, 0, nbytes))
        assert caller.answer()[:2] == (401, False)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 4, bytes(500), b"\xff" * 500])
def test_garbage_behind_the_switch_ends_the_connection(client, garbage):
    with Caller(client, proof=False) as caller:
        caller.socket.sendall(garbage)
        assert caller.answer()[:2] == (401, False)


@pytest.mark.parametrize("nbytes", [1, 31, 32, 55, 56, 60])
def test_a_frame_that_breaks_off_is_none(client, guests, nbytes):
    with Caller(client) as caller:
        caller.socket.sendall(caller.sealed(NONE)[:nbytes])
    with Caller(client) as caller:
        assert caller.ask() == (200, True, DONE)
    assert guests.begun == ["group"]


def test_a_frame_that_does_not_arrive_is_not_waited_for(listen, guests, with_time):
    def attempt(seconds):
        client = listen(
            Reception(None, guests, None, secret=SECRET, limit=LIMIT, timeout=seconds), write_timeout=seconds
        )
        with Caller(client) as caller:
            assert caller.ask() == (200, True, DONE)
            caller.socket.sendall(caller.sealed(NONE)[:-1])
            status, keeps, body = caller.answer()
            assert (status, keeps, "did not arrive" in json.loads(body)["detail"]) == (408, False, True)

    with_time(attempt, 0.1)


def test_a_connection_that_idles_is_closed(listen, guests, with_time):
    def attempt(seconds):
        reception = Reception(None, guests, None, secret=SECRET, limit=LIMIT, timeout=PATIENCE)
        with Caller(listen(reception, header_timeout=seconds)) as caller:
            assert caller.ask() == (200, True, DONE)
            assert caller.ended()

    with_time(attempt, 0.1)


def test_a_port_that_stops_ends_connections_that_idle(loop, guests):
    reception = Reception(None, guests, None, secret=SECRET, limit=LIMIT, timeout=PATIENCE)

    async def start():
        listener = Listener(reception, "127.0.0.1", 0, header_timeout=10 * PATIENCE)
        await listener.start()
        return listener

    listener = loop.run(start())
    here = partial(socket.create_connection, ("127.0.0.1", listener.port), PATIENCE)
    with Caller(SimpleNamespace(connect=here)) as caller:
        assert caller.ask() == (200, True, DONE)
        assert loop.run(listener.stop(PATIENCE))
        assert caller.ended()
