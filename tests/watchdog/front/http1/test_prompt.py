"""Handlers that answer without a task of their own."""

import asyncio
import socket
import threading

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


class Prompt:
    """Answers what has a body that is here in the next turn of the loop, once it is let; all else by a task."""

    def __init__(self, *, answers=True):
        self.answers = answers
        self.begun, self.given_up = threading.Event(), threading.Event()

    async def __rsgi__(self, scope, proto):
        await proto()
        proto.response_bytes(200, [], b"by a task")

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
