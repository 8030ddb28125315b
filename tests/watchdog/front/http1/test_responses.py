"""What goes out, at a real port."""

import asyncio
import logging
import threading

import pytest

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_response_has_a_length_a_date_and_a_server(answering, raw):
    async def answer(scope, proto):
        proto.response_str(200, [("x-a", "1")], "ø")

    connection = raw(answering(answer))
    connection.send(GET)

    _, headers, body = connection.response()

    assert body == "ø".encode()
    assert headers.pop("date").endswith(" GMT")
    assert headers == {"server": "regrain", "x-a": "1", "content-length": "2"}


def test_head_tells_the_length_and_sends_nothing(answering, raw):
    async def answer(scope, proto):
        proto.response_bytes(200, [], b"hello")

    connection = raw(answering(answer))
    connection.send(HEAD + GET)

    assert connection.response(bodiless=True)[1]["content-length"] == "5"
    assert connection.response()[2] == b"hello"


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_tells_no_length(answering, raw, status):
    async def answer(scope, proto):
        proto.response_bytes(status, [], b"ignored")

    connection = raw(answering(answer))
    connection.send(GET + GET)

    for _ in range(2):
        found, headers, _ = connection.response()
        assert (found, "content-length" in headers) == (status, False)


def test_a_large_response_arrives_whole(answering, raw):
    content = bytes(range(256)) * 40_000

    async def answer(scope, proto):
        proto.response_bytes(200, [], content)

    connection = raw(answering(answer))
    connection.send(GET)

    assert connection.response()[2] == content


async def _stream(scope, proto):
    stream = proto.response_stream(200, [("content-type", "text/plain")])
    for piece in (b"abc", b"", b"de"):
        await stream.send_bytes(piece)


def test_a_stream_goes_out_in_chunks_and_the_connection_stays(answering, raw):
    connection = raw(answering(_stream))
    connection.send(GET + HEAD + GET)

    assert connection.response()[2] == b"abcde"
    assert connection.response(bodiless=True)[0] == 200
    assert connection.response()[2] == b"abcde"


def test_a_stream_to_an_old_caller_ends_with_its_connection(answering, raw):
    connection = raw(answering(_stream))
    connection.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")

    _, headers, body = connection.response()

    assert (headers["connection"], body) == ("close", b"abcde")
    assert "transfer-encoding" not in headers


def test_a_stream_that_fails_is_broken_off(answering, raw, caplog):
    async def fail(scope, proto):
        stream = proto.response_stream(200, [])
        await stream.send_bytes(b"abc")
        raise KeyError("why")

    connection = raw(answering(fail))
    connection.send(GET)

    assert not connection.rest().endswith(b"0\r\n\r\n")
    assert "a request failed unexpectedly" in caplog.text


def test_a_stream_waits_for_a_caller_that_does_not_read(answering, raw, until):
    sent, closed = [], threading.Event()

    async def flood(scope, proto):
        stream = proto.response_stream(200, [])
        try:
            while len(sent) < 10_000:
                await stream.send_bytes(b"x" * 10_000)
                sent.append(1)
        finally:
            closed.set()

    connection = raw(answering(flood, write_timeout=0.2))
    connection.send(GET)

    assert closed.wait(60)  # cut off, as it takes nothing
    assert len(sent) < 10_000


@pytest.mark.parametrize(
    "header",
    [
        ("x-a", "1\r\nX-B: 2"),
        ("x-a", "1\n"),
        ("x-a", "1\0"),
        ("x a", "1"),
        ("x-a:", "1"),
        ("", "1"),
        ("content-length", "3"),
        ("Transfer-Encoding", "chunked"),
    ],
)
def test_a_header_that_could_be_read_as_another_is_never_sent(answering, raw, caplog, header):
    async def inject(scope, proto):
        proto.response_bytes(200, [("x-good", "1"), header], b"body")

    connection = raw(answering(inject))
    with caplog.at_level(logging.ERROR):
        connection.send(GET)
        status, headers, body = connection.response()

    assert (status, headers["connection"]) == (500, "close")
    assert b"X-B" not in body
    assert "a request failed unexpectedly" in caplog.text


def test_a_handler_that_fails_or_says_nothing_is_answered_500(answering, raw, caplog):
    async def fail(scope, proto):
        if scope.path == "/raise":
            raise KeyError("secret")

    client = answering(fail)
    for path in (b"/raise", b"/nothing"):
        connection = raw(client)
        connection.send(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, body = connection.response()
        assert (status, headers["content-type"]) == (500, "application/problem+json")
        assert b"secret" not in body


def test_a_handler_can_close_the_connection(answering, raw):
    async def close(scope, proto):
        proto.response_bytes(200, [("connection", "close")], b"bye")

    connection = raw(answering(close))
    connection.send(GET)

    assert connection.response()[1]["connection"] == "close"
    assert connection.rest() == b""


def test_a_body_is_taken_piece_by_piece_and_held_back_meanwhile(answering, raw, loop):
    may = asyncio.Event()
    total = []

    async def count(scope, proto):
        await may.wait()
        total.extend([len(piece) async for piece in proto])
        proto.response_bytes(200, [], b"%d" % sum(total))

    client = answering(count)
    connection = raw(client)
    connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
    content = bytes(50_000_000)
    sent = connection.fill(content, client)
    loop._loop.call_soon_threadsafe(may.set)
    connection.send(content[sent:])

    assert sent < 50_000_000
    assert connection.response()[2] == b"50000000"
    assert max(total) < 2 << 20
