"""What an upstream sends before its answer, and behind it."""

import asyncio
import socket

import pytest
import uvloop

from regrain_watchdog.front.upstream.client import MAX_HEAD, Connection, UpstreamError

GET = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"


def test_what_comes_behind_a_body_is_no_header_of_its_answer(before, answers):
    async def main():
        async with before(answers(CHUNKED + b"X-Own: 1\r\n\r\n")) as front:
            return await front.ask(GET)

    head, body = uvloop.run(main())

    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"X-Own" not in head
    assert b"hi" in body


def test_an_answer_that_is_framed_in_too_many_bytes_is_broken_off(before, answers, caplog):
    async def main():
        async with before(answers(CHUNKED + b"X: 1\r\n" * (1 << 20))) as front:
            return await front.ask(GET)

    _, body = uvloop.run(main())

    assert not body.endswith(b"0\r\n\r\n")
    assert "the chunks of the upstream's answer are framed in too many bytes" in caplog.text


EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: %s\r\n\r\n" % (b"x" * 7000)
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MAX_HEAD


def fed(*pieces):
    """The head that a connection makes of what comes in these pieces."""

    async def main():
        here, there = socket.socketpair()
        with there:
            _, connection = await asyncio.get_running_loop().create_unix_connection(Connection, sock=here)
            coming = connection.ask(GET, headless=False)
            for piece in pieces:
                connection.data_received(piece)
            try:
                return await coming
            finally:
                connection.close()

    return uvloop.run(main())


@pytest.mark.parametrize(
    ("before", "rest"), [(EARLY, LARGE), (LARGE[:9], LARGE[9:])], ids=["a provisional head", "a part of it"]
)
def test_a_large_body_that_comes_with_its_head_is_taken_though_something_came_before(before, rest):
    answer = fed(before, (rest + b"x" * MAX_HEAD)[:MAX_HEAD])

    assert (answer.status, answer.body.total) == (200, MAX_HEAD - len(rest))


def test_a_head_without_an_end_is_broken_off():
    with pytest.raises(UpstreamError, match="the head of the upstream's answer has more than 262144 bytes"):
        fed(LARGE[:-2] + b"X: ", b"x" * MAX_HEAD)
