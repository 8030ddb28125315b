import asyncio
import contextlib
import itertools
import json
from types import SimpleNamespace

import pytest
import uvloop

from regrain_watchdog.front.upstream.edge import _Connection as Connection
from regrain_watchdog.front.upstream.flow import HIGH

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"


def test_one_connection_serves_request_after_request(before, answers):
    async def main():
        async with before(answers(OK)) as front:
            reader, writer = await front.connect()
            for _ in range(3):
                writer.write(GET)
                await reader.readuntil(b"\r\n\r\nhi")
            writer.close()
            return len(front.heads)

    assert uvloop.run(main()) == 3


def test_requests_that_come_together_are_answered_in_order(before):
    asked = itertools.count(1)

    async def serve(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % next(asked))

    async def main():
        async with before(serve) as front:
            return await front.ask(GET * 4 + LAST)

    head, rest = uvloop.run(main())

    assert [part[-1:] for part in (head + rest).split(b"HTTP/1.1 200 OK")[1:-1]] == [b"1", b"2", b"3", b"4"]
    assert rest.endswith(b"5")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, id="no http"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: here\r\nContent-Length: x\r\n\r\n", 400, id="bad length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            id="two framings",
        ),
        pytest.param(LAST[:-2] + b"Content-Length: %b1\r\n\r\nx" % (b"0" * 5000), 400, id="long length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            400,
            id="two lengths",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431, id="endless head"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
            400,
            id="no chunk",
        ),
    ],
)
def test_what_is_no_request_is_refused_and_its_connection_closed(before, answers, raw, status):
    async def main():
        async with before(answers(OK)) as front:
            head, body = await front.ask(raw)
            assert front.heads == []
            return head, json.loads(body)

    head, told = uvloop.run(main())

    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"connection: close" in head
    assert told["status"] == status


@pytest.mark.parametrize(
    ("raw", "said"),
    [pytest.param(b"GET / HT", b"HTTP/1.1 408 ", id="half a head"), pytest.param(b"", b"", id="nothing")],
)
def test_a_connection_that_sends_no_whole_head_is_closed_in_bounded_time(
    before, answers, with_time, raw, said
):
    async def main(seconds):
        async with before(answers(OK), header_timeout=seconds) as front:
            head, _ = await front.ask(raw)
            assert head.startswith(said)
            assert bool(head) == bool(said)

    with_time(lambda seconds: uvloop.run(main(seconds)), 0.1)


def test_the_body_is_asked_for_where_its_sender_waits_for_that(before):
    async def serve(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + await reader.readexactly(5))

    async def main():
        async with before(serve) as front:
            reader, writer = await front.connect()
            writer.write(
                LAST.replace(b"GET", b"POST").replace(
                    b"Host", b"Expect: 100-continue\r\nContent-Length: 5\r\nHost"
                )
            )
            async with asyncio.timeout(60):
                told = await reader.readuntil(b"\r\n\r\n")
                writer.write(b"hello")
                answer = await reader.read()
            writer.close()
            return told, answer, front.heads[0]

    told, answer, head = uvloop.run(main())

    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.endswith(b"hello")
    assert b"Expect" not in head


CHUNKED = LAST.replace(b"GET", b"POST").replace(b"Host", b"Transfer-Encoding: chunked\r\nHost")


def test_what_comes_behind_a_body_is_no_header_of_its_request(before, answers):
    async def main():
        async with before(answers(OK)) as front:
            _, body = await front.ask(CHUNKED + b"2\r\nhi\r\n0\r\nX-Own: 1\r\n\r\n")
            return front.heads[0], body

    head, body = uvloop.run(main())

    assert b"content-length: 2" in head.lower()
    assert b"X-Own" not in head
    assert body == b"hi"


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param(b"2\r\nhi\r\n0\r\n" + b"X: 1\r\n" * (2 << 20), id="many trailers"),
        pytest.param(b"2\r\nhi\r\n0\r\nX: " + b"1" * (10 << 20), id="a long trailer"),
        pytest.param(b"2;" + b"x" * (10 << 20), id="a long extension"),
    ],
)
def test_a_body_that_is_framed_in_too_many_bytes_is_refused(before, answers, framing):
    async def main():
        async with before(answers(OK)) as front:
            with contextlib.suppress(ConnectionError):  # it may close before all of it is sent
                head, _ = await front.ask(CHUNKED + framing)
                assert head.startswith(b"HTTP/1.1 400 ")
            return front.heads

    assert uvloop.run(main()) == []


def test_a_large_body_in_small_chunks_passes(before):
    async def serve(reader, writer):
        left = 100_000
        while left:
            piece = await reader.read(1 << 16)
            assert piece
            left -= piece.count(b"x")
        writer.write(OK)

    async def main():
        async with before(serve) as front:
            return await front.ask(CHUNKED + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")

    assert uvloop.run(main())[1] == b"hi"


def test_http_1_0_gets_no_chunks(before):
    async def serve(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await writer.drain()
        await asyncio.wait_for(begun.wait(), 60)
        writer.write(b"1\r\n!\r\n0\r\n\r\n")

    begun = asyncio.Event()

    async def main():
        async with before(serve) as front:
            reader, writer = await front.connect()
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            async with asyncio.timeout(60):
                head = await reader.readuntil(b"\r\n\r\nhi")
                begun.set()
                rest = await reader.read()
            writer.close()
            return head, rest

    head, rest = uvloop.run(main())

    assert b"chunked" not in head
    assert rest == b"!"


def test_a_connection_too_many_is_closed(before, answers):
    async def main():
        async with before(answers(OK), max_connections=1) as front:
            reader, writer = await front.connect()
            writer.write(GET)
            await reader.readuntil(b"hi")
            try:
                refused = await front.ask(GET)
            except ConnectionResetError:
                refused = (b"", b"")
            writer.close()
            return refused

    assert uvloop.run(main()) == (b"", b"")


LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 32768\r\n\r\n" + bytes(32768)


async def served_by(front):
    """The edge's side of the connections that were made, once there are any."""
    while not front.edge._connections:
        await asyncio.sleep(0)
    return front.edge._connections


async def until_somebody_gets_in(front):
    """Ask over further connections until one is let in; the one before it is gone then."""
    async with asyncio.timeout(30):
        head = b""
        while not head:
            with contextlib.suppress(ConnectionError):
                head, _ = await front.ask(LAST)


def test_a_caller_that_asks_on_and_reads_nothing_is_answered_only_as_far_as_it_takes_then_cut_off(
    before, answers, with_time
):
    async def main(seconds):
        async with before(answers(LARGE), max_connections=1, write_timeout=seconds) as front:
            _, writer = await front.connect()
            writer.transport.pause_reading()
            writer.write(GET * 4000)
            await until_somebody_gets_in(front)
            writer.transport.abort()
            return len(front.heads)

    answered = with_time(lambda seconds: uvloop.run(main(seconds)), 0.3)

    assert answered < 1000


def test_a_caller_that_asks_on_gets_every_answer_once_it_reads(before, answers):
    async def main():
        async with before(answers(LARGE)) as front:
            reader, writer = await front.connect()
            writer.transport.pause_reading()
            writer.write(GET * 999 + LAST)
            [connection] = await served_by(front)
            while not connection.out.is_full:
                await asyncio.sleep(0)
            writer.transport.resume_reading()
            async with asyncio.timeout(60):
                read = 0
                while data := await reader.read(1 << 20):
                    read += len(data)
            writer.close()
            return read, len(front.heads)

    read, answered = uvloop.run(main())

    assert read > 1000 * len(LARGE)
    assert answered == 1000


@pytest.mark.parametrize(
    "last", [pytest.param(b"", id="it idles"), pytest.param(LAST, id="it asks to be closed")]
)
def test_a_caller_that_leaves_the_end_of_an_answer_is_cut_off(before, answers, with_time, last):
    async def main(seconds):
        times = {"header_timeout": seconds, "write_timeout": seconds}
        async with before(answers(LARGE), max_connections=1, **times) as front:
            _, writer = await front.connect()
            writer.transport.pause_reading()
            [connection] = await served_by(front)
            for asked in itertools.count(1):
                writer.write(GET)
                while len(front.heads) < asked or connection._task is not None:
                    await asyncio.sleep(0)
                if connection.transport.get_write_buffer_size():
                    break
            writer.write(last)
            await until_somebody_gets_in(front)
            writer.transport.abort()

    with_time(lambda seconds: uvloop.run(main(seconds)), 0.3)


class Wire:
    """A transport that knows whether it is read."""

    def __init__(self):
        self.is_read = True
        self.is_gone = False

    def pause_reading(self):
        self.is_read = False

    def resume_reading(self):
        self.is_read = True

    def is_closing(self):
        return self.is_gone

    def write(self, data):
        pass

    def abort(self):
        self.is_gone = True


def test_a_body_that_nobody_takes_is_not_read_on_once_its_request_s_turn_comes():
    large = b"x" * (HIGH + 1)
    post = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"

    async def main():
        answered, wire = asyncio.Semaphore(0), Wire()

        async def handler(exchange):
            while not exchange.request.body.taken:
                await exchange.read()
            await answered.acquire()
            exchange.respond(200, [], b"")

        edge = SimpleNamespace(handler=handler, header_timeout=60.0, write_timeout=60.0, opened=id, lost=id)
        connection = Connection(edge)
        connection.connection_made(wire)
        connection.data_received(post % len(large) + large + post % (2 * len(large)))
        while not wire.is_read:
            await asyncio.sleep(0)  # until the first body is taken
        connection.data_received(large)
        assert not wire.is_read

        async def second(exchange):
            begun.set()
            await asyncio.Event().wait()

        begun, edge.handler = asyncio.Event(), second
        answered.release()
        await begun.wait()
        connection.connection_lost(None)
        return wire.is_read

    is_read = uvloop.run(main())

    assert not is_read
