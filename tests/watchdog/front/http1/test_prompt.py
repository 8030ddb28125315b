"""Handlers that answer without a task of their own."""

import asyncio
import random
import socket
import struct
import threading

from regrain_watchdog.front.handler import CallerGoneError
from regrain_watchdog.front.http1.limits import BUFFERED

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


class Prompt:
    """Answers what has a body that is here in the next turn of the loop, once it is let; all else by a task.

    waits: seconds that a body may take.
    """

    def __init__(self, *, answers=True, waits=0.0):
        self.answers = answers
        self.waits = waits
        self.begun, self.given_up = threading.Event(), threading.Event()

    async def __rsgi__(self, scope, proto):
        try:
            await proto()
        except CallerGoneError:
            proto.response_bytes(400, [("connection", "close")], b"broken off")
            return
        proto.response_bytes(200, [], b"by a task")

    def patience(self, scope):
        return self.waits

    def at_once(self, scope, proto, ended):
        if scope.method != "POST":
            return None
        body = proto.arrived()

        def answer():
            proto.response_bytes(200, [], body)
            ended()

        if self.answers:
            asyncio.get_running_loop().call_soon(answer)
        self.begun.set()
        return self.given_up.set


def test_requests_with_and_without_a_task_are_answered_in_order(listen, raw):
    prompt = Prompt()
    connection = raw(listen(prompt))
    connection.send((GET % 1 + POST + b"abc") * 20)

    for _ in range(20):
        assert connection.response()[::2] == (200, b"by a task")
        assert connection.response()[::2] == (200, b"abc")
    assert not prompt.given_up.is_set()


def test_a_body_that_comes_behind_its_head_is_answered_too(listen, raw):
    connection = raw(listen(Prompt()))
    connection.send(POST)
    connection.send(b"abc")

    assert connection.response()[0] == 200


def test_a_body_that_comes_in_pieces_is_waited_for_without_a_task(listen, raw):
    body = random.Random(1).randbytes(3 * BUFFERED)
    head = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    connection = raw(listen(Prompt(waits=60.0)))
    for _ in range(2):
        connection.send(head)
        connection.send(body[:10])
        connection.send(body[10:] + POST + b"abc")

        assert connection.response()[::2] == (200, body)
        assert connection.response()[::2] == (200, b"abc")


def test_what_has_no_body_or_wants_to_be_told_to_send_it_is_not_waited_for(listen, raw):
    connection = raw(listen(Prompt(waits=60.0)))
    connection.send(GET % 1 + POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    assert connection.response()[::2] == (200, b"by a task")
    assert connection.response(bodiless=True)[0] == 100

    connection.send(b"abc")

    assert connection.response()[::2] == (200, b"by a task")


def test_a_body_that_is_waited_for_and_breaks_off_is_a_task_s(listen, raw):
    connection = raw(listen(Prompt(waits=60.0)))
    connection.send(POST + b"ab")

    connection.connection.shutdown(socket.SHUT_WR)

    assert connection.response()[::2] == (400, b"broken off")


def test_a_body_that_is_waited_for_and_does_not_come_is_refused(listen, raw):
    prompt = Prompt(waits=0.1)
    connection = raw(listen(prompt))
    connection.send(POST + b"ab")

    status, headers, body = connection.response()

    assert (status, headers["connection"]) == (408, "close")
    assert b"did not arrive within 0.1 s" in body
    assert connection.rest() == b""
    assert not prompt.begun.is_set()


def test_a_caller_may_go_while_its_body_is_waited_for(listen, raw):
    prompt = Prompt(waits=60.0)
    port = listen(prompt)
    gone = raw(port)
    gone.send(POST + b"ab")
    gone.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    gone.close()

    connection = raw(port)
    connection.send(POST + b"abc")
    assert connection.response()[::2] == (200, b"abc")


def test_what_is_begun_is_given_up_when_its_caller_goes(listen, raw):
    prompt = Prompt(answers=False)
    connection = raw(listen(prompt))
    connection.send(POST + b"abc" + POST + b"def")
    assert prompt.begun.wait(60)
    assert not prompt.given_up.is_set()

    connection.close()

    assert prompt.given_up.wait(60)


def test_what_is_begun_is_given_up_when_its_caller_closes_its_side(listen, raw):
    prompt = Prompt(answers=False)
    connection = raw(listen(prompt))
    connection.send(POST + b"abc")
    assert prompt.begun.wait(60)

    connection.connection.shutdown(socket.SHUT_WR)

    assert prompt.given_up.wait(60)
    assert connection.rest() == b""
