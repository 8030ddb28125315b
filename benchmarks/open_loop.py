"""Send requests at the times at which they are meant to arrive, whether or not earlier ones have been answered.

Latency counts from the intended arrival: a server that falls behind cannot slow its own load down, nor hide what the
requests waited that a busy generator sent late.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import uvloop

CONNECTIONS = 1000
"""Connections at once at most; what finds none free waits, and its wait counts. Fewer than the 1,024 that the front
serves at once: the rest would not be accepted until one of those that stay open has idled for `header_timeout`."""

HEAD = b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it went.

    Attributes:
        at: its intended arrival, in seconds from the begin of the load.
        latency: seconds from that to the last byte of the answer.
        status: 0 where there was no answer.
        body, answer: what was sent, and what came.
        ended: when it was over, as time.monotonic() has it.
    """

    at: float
    latency: float
    status: int
    body: bytes
    answer: bytes
    ended: float


def poisson(rate: float, seconds: float, rng: random.Random) -> Iterator[float]:
    """Yield arrival times of a Poisson process."""
    at = rng.expovariate(rate)
    while at < seconds:
        yield at
        at += rng.expovariate(rate)


def drive(port: int, arrivals: Iterable[tuple[float, bytes]], *, kind: str = OCTETS) -> list[Sent]:
    """Send each body at its time, in seconds from now; return what came of them once all are over.

    `kind` is the content type of the bodies.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Generator(port, kind).run(list(arrivals)))


def closed(port: int, body: bytes, *, connections: int, seconds: float, kind: str = OCTETS) -> float:
    """Return the requests per second that some connections get answered, each sending one after another."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Generator(port, kind).saturate(body, connections, seconds))


class _Generator:
    def __init__(self, port: int, kind: str) -> None:
        self._port = port
        self._kind = kind.encode()
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._places = asyncio.Semaphore(CONNECTIONS)

    async def run(self, arrivals: Sequence[tuple[float, bytes]]) -> list[Sent]:
        start = time.monotonic()
        tasks = []
        for at, body in arrivals:
            wait = start + at - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.ensure_future(self._one(start + at, at, body)))
        done = await asyncio.gather(*tasks)
        self._close()
        return done

    async def saturate(self, body: bytes, connections: int, seconds: float) -> float:
        end = time.monotonic() + seconds

        async def one() -> int:
            count = 0
            while time.monotonic() < end:
                count += (await self._send(body))[0] == 200
            return count

        counts = await asyncio.gather(*(one() for _ in range(connections)))
        self._close()
        return sum(counts) / seconds

    async def _one(self, due: float, at: float, body: bytes) -> Sent:
        async with self._places:
            try:
                async with asyncio.timeout(30):
                    status, answer = await self._send(body)
            except (OSError, EOFError, TimeoutError) as error:
                status, answer = 0, repr(error).encode()
        ended = time.monotonic()
        return Sent(at, ended - due, status, body, answer, ended)

    async def _send(self, body: bytes) -> tuple[int, bytes]:
        reader, writer = (
            self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
        )
        writer.write(HEAD % (self._kind, len(body)) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        answer = await reader.readexactly(length)
        if b"connection: close" in lines:
            writer.close()
        else:
            self._free.append((reader, writer))
        return int(lines[0].split()[1]), answer

    def _close(self) -> None:
        for _, writer in self._free:
            writer.close()
        self._free.clear()
