"""What ends when, at a real port."""

import asyncio
import socket
import struct
import threading
from functools import partial
from types import SimpleNamespace

import pytest

from regrain_watchdog.front.http1 import connection as connections
from regrain_watchdog.front.http1.limits import GRACE
from regrain_watchdog.front.listen import Listener

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = 1 << 25
"""Bytes that no socket takes at once."""


def test_a_head_that_trickles_is_cut_off_in_bounded_time(listen, echo, raw, with_time):
    def cut_off(seconds):
        connection = raw(listen(echo, header_timeout=seconds))
        stop = threading.Event()

        def trickle():
            for byte in b"GET / HTTP/1.1\r\nX: " + b"a" * 1000:
                if stop.wait(seconds / 10):
                    return
                try:
                    connection.send(bytes([byte]))
                except OSError:
                    return

        sender = threading.Thread(target=trickle)
        sender.start()
        try:
            assert connection.response()[0] == 408
        finally:
            stop.set()
            sender.join(60)

    with_time(cut_off, 0.2)


def test_a_kept_connection_that_idles_is_closed_without_a_word(listen, echo, raw, with_time):
    def closed(seconds):
        connection = raw(listen(echo, header_timeout=seconds))
        connection.send(GET)
        assert connection.response()[0] == 200

        assert connection.rest() == b""

    with_time(closed, 0.1)


def test_a_silent_connection_is_closed(listen, echo, raw):
    assert raw(listen(echo, header_timeout=0.1)).rest() == b""


def test_a_long_call_is_not_cut_off_by_the_header_timeout(answering, raw, with_time):
    def answered(seconds):
        async def slow(scope, proto):
            await asyncio.sleep(4 * seconds)
            proto.response_bytes(200, [], b"late")

        connection = raw(answering(slow, header_timeout=seconds))
        connection.send(GET)

        assert connection.response()[2] == b"late"

    with_time(answered, 0.1)


def test_a_caller_that_does_not_read_its_answer_is_cut_off(answering, raw):
    async def answer(scope, proto):
        proto.response_bytes(200, [], bytes(50_000_000 if scope.path == "/large" else 1))

    client = answering(answer, write_timeout=0.2, connections=1)
    stuck, waiting = raw(client), raw(client)
    stuck.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    waiting.send(GET)

    assert waiting.response()[0] == 200


def test_a_caller_that_reads_slowly_but_steadily_gets_all(answering, raw, with_time):
    async def large(scope, proto):
        proto.response_bytes(200, [], bytes(20_000_000))

    def taken(seconds):
        connection = raw(answering(large, write_timeout=seconds, header_timeout=seconds))
        connection.send(GET)
        received, pause = 0, threading.Event()
        while received < 20_000_000:
            chunk = connection.connection.recv(1 << 20)
            assert chunk
            received += len(chunk)
            pause.wait(seconds / 15)

    with_time(taken, 0.3)


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_a_caller_that_goes_away_cancels_its_call_at_once(listen, gate, raw, how):
    connection = raw(listen(gate))
    connection.send(GET)
    assert gate.entered.wait(60)

    if how == "reset":
        connection.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half":
        connection.connection.shutdown(socket.SHUT_WR)
        assert connection.rest() == b""
    else:
        connection.close()

    assert gate.cancelled.wait(60)


class Bounded:
    """Reads bodies within a time, in a task of its own; knows when it has begun."""

    def __init__(self):
        self.entered = threading.Event()

    async def __rsgi__(self, scope, proto):
        self.entered.set()
        await asyncio.wait_for(proto(), 60)


def test_a_front_that_stood_still_answers_a_body_that_broke_off_before_it_gives_up(listen, raw, monkeypatch):
    monkeypatch.setattr(connections, "HALF_CLOSED", 0.0)  # over by the time that the loop goes on
    bounded = Bounded()
    connection = raw(listen(bounded))
    connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert bounded.entered.wait(60)
    connection.connection.shutdown(socket.SHUT_WR)

    status, _, body = connection.response()

    assert (status, b"the body broke off" in body) == (400, True)


def test_requests_that_came_with_a_half_close_are_answered_if_that_takes_no_time(listen, echo, raw):
    connection = raw(listen(echo))
    connection.send(GET + GET)
    connection.connection.shutdown(socket.SHUT_WR)

    assert [connection.response()[0] for _ in range(2)] == [200, 200]
    assert connection.rest() == b""


def test_a_body_that_breaks_off_is_told_to_who_reads_it(listen, echo, raw):
    connection = raw(listen(echo))
    connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    connection.connection.shutdown(socket.SHUT_WR)

    status, _, body = connection.response()
    assert (status, b"the body broke off" in body) == (400, True)


@pytest.mark.parametrize("how", ["leaves", "idles"])
def test_connections_over_the_limit_wait_until_one_leaves_or_idles(listen, gate, raw, how):
    client = listen(gate, connections=1, header_timeout=600.0)
    first, second = raw(client), raw(client)
    first.send(GET)
    assert gate.entered.wait(60)
    gate.entered.clear()
    second.send(GET)
    for _ in range(3):
        gate.take_a_turn()
    assert not gate.entered.is_set()

    if how == "leaves":
        first.close()
    else:
        gate.open()
        assert first.response()[0] == 200

    assert gate.entered.wait(60)


def test_no_room_is_made_by_a_caller_that_has_not_taken_its_answers(answering, raw):
    """It would hold its socket until it has, beyond the limit, and what it asked since would never be answered."""

    async def answer(scope, proto):
        proto.response_bytes(200, [], bytes(LONG if scope.path == "/long" else 1))

    client = answering(answer, connections=2)
    slow = raw(client)
    slow.send(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    assert slow.connection.recv(1, socket.MSG_PEEK)
    other = raw(client)
    other.send(GET)
    assert other.response()[0] == 200

    answers = [len(slow.response()[2]) for _ in range(2)]

    assert answers == [LONG, 1]


def test_requests_that_wait_for_their_caller_to_read_are_answered_though_the_port_stops(loop, raw):
    """What was asked before the port was told to stop is on its way, too."""

    class Answering:
        async def __rsgi__(self, scope, proto):
            proto.response_bytes(200, [], bytes(LONG))

    async def start():
        listener = Listener(Answering(), "127.0.0.1", 0)
        await listener.start()
        return listener

    listener = loop.run(start())
    here = partial(socket.create_connection, ("127.0.0.1", listener.port), 60)
    slow = raw(SimpleNamespace(connect=here))
    slow.send(GET * 2)
    assert slow.connection.recv(1, socket.MSG_PEEK)
    assert not loop.run(listener.stop(2 * GRACE))

    answers = [len(slow.response()[2]) for _ in range(2)]

    assert answers == [LONG, LONG]
    assert loop.run(listener.stop(60))
