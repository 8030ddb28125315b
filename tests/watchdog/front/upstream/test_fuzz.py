"""Requests that are nearly right, from a seed: each connection ends in bounded time and leaves nothing behind."""

import asyncio
import contextlib
import os
import random

import uvloop

REQUESTS = 1000
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
GET = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
SEEDS = [
    GET,
    b"GET /a?b HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nX-Timeout: 1s\r\n\r\n",
]


def mutated(rng: random.Random) -> bytes:
    raw = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(raw) + 1)
        match rng.randrange(4):
            case 0:
                raw[place : place + 1] = rng.randbytes(1)
            case 1:
                raw[place:place] = rng.randbytes(rng.randint(1, 20))
            case 2:
                del raw[place : place + rng.randint(1, 10)]
            case 3:
                raw += rng.choice(SEEDS)
    return bytes(raw)


def test_malformed_requests_end_in_bounded_time_and_leave_nothing_behind(before, answers):
    rng = random.Random(20261122)
    failures = []

    async def send(front):
        reader, writer = await front.connect()
        with contextlib.suppress(ConnectionError):
            writer.write(mutated(rng))
            if rng.random() < 0.5:
                writer.write_eof()
            async with asyncio.timeout(60):
                await reader.read()
        writer.close()

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
        async with before(answers(OK), header_timeout=0.2, body_timeout=0.2, exec_timeout=0.5) as front:
            await front.ask(GET)
            held = len(os.listdir("/proc/self/fd"))
            for _ in range(REQUESTS // 50):
                await asyncio.gather(*(send(front) for _ in range(50)))
            async with asyncio.timeout(60):  # on a slow machine the front may not wait for it at first
                while (body := (await front.ask(GET))[1]) != b"hi":
                    pass
            front.upstream.pool.close()
            while front.measure.in_flight or len(os.listdir("/proc/self/fd")) > held:
                await asyncio.sleep(0)
            return body, front.proxy.gate.inside

    assert uvloop.run(main()) == (b"hi", 0)
    assert failures == []
