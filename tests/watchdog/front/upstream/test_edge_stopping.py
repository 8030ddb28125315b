"""How an edge stops: who was let in is answered, nobody comes in any more, and what takes too long is cut off."""

import asyncio
import contextlib
import socket

import pytest
import uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"


def test_stopping_finishes_what_is_in_flight_and_refuses_new_connections(before):
    release = asyncio.Event()

    async def serve(reader, writer):
        await release.wait()
        writer.write(OK)

    async def main():
        async with before(serve) as front:
            asking = asyncio.create_task(front.ask(GET))
            while not front.heads:
                await asyncio.sleep(0)
            stopping = asyncio.create_task(front.edge.stop(60))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                await front.connect()
            release.set()
            return await asking, await stopping

    (head, body), stopped = uvloop.run(main())

    assert body == b"hi"
    assert b"connection: close" in head
    assert stopped


@pytest.mark.parametrize(
    ("turns", "expected"), [(0, {b"hi"}), (1, {b"hi", b"refused"})], ids=["before", "as"]
)
def test_who_is_let_in_by_the_kernel_as_it_stops_is_answered(before, answers, turns, expected):
    async def main():
        async with before(answers(OK)) as front, contextlib.AsyncExitStack() as stack:
            callers = [stack.enter_context(socket.socket()) for _ in range(3)]
            loop, told = asyncio.get_running_loop(), []

            def call(left):
                if left:
                    loop.call_soon(call, left - 1)
                    return
                for caller in callers:
                    try:
                        caller.connect(("127.0.0.1", front.edge.port))
                    except ConnectionRefusedError:
                        told.append(b"refused")
                    else:
                        caller.sendall(LAST)

            loop.call_soon(call, turns)  # in a turn of the loop before that in which it goes on to stop
            stopping = asyncio.create_task(front.edge.stop(60))
            stopped = await stopping
            left = callers[len(told) :]
            return stopped, told + [await asyncio.to_thread(answer_of, caller) for caller in left]

    stopped, got = uvloop.run(main())

    assert stopped
    assert {answer.rpartition(b"\n")[2] for answer in got} <= expected


def answer_of(caller):
    """Read a connection to its end."""
    caller.settimeout(60)
    with caller.makefile("rb") as file:
        return file.read()


def test_what_does_not_finish_in_time_is_cut_off(before):
    async def serve(reader, writer):
        await reader.read()

    async def main():
        async with before(serve) as front:
            asking = asyncio.create_task(front.ask(GET))
            while not front.heads:
                await asyncio.sleep(0)
            return await front.edge.stop(0.05), await asking

    assert uvloop.run(main()) == (False, (b"", b""))
