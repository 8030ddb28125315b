"""Send requests at the times at which they are meant to arrive, as `regrain load` does, and keep what was answered."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import uvloop

from regrain_watchdog.load import drive as product
from regrain_watchdog.load.client import Client, Target

LIMITS = product.Limits()
"""Fewer connections at once than the 1,024 that the front serves at once: the rest would not be accepted until one of
those that stay open has idled for `header_timeout`."""
OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it went.

    Attributes:
        at: its intended arrival, in seconds from the begin of the load.
        latency: seconds from that to the last byte of the answer.
        status: 0 where there was no answer.
        body, answer: what was sent, and what came; where nothing did, why.
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
    planned = list(arrivals)
    jobs = [product.Job(at=at, target=0, content=partial(_content, body, kind)) for at, body in planned]
    done: dict[int, Sent] = {}

    def keep(sent: product.Sent, answer: bytes) -> None:
        said = answer if sent.status else sent.error.encode()
        body = planned[sent.number][1]
        done[sent.number] = Sent(sent.at, sent.latency, sent.status, body, said, time.monotonic())

    if not product.run(jobs, [_target(port)], LIMITS, keep):
        raise KeyboardInterrupt
    return [done[number] for number in range(len(jobs))]


def closed(port: int, body: bytes, *, connections: int, seconds: float, kind: str = OCTETS) -> float:
    """Return the requests per second that some connections get answered, each sending one after another."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_saturate(port, (body, kind), connections, seconds))


async def _saturate(port: int, content: tuple[bytes, str], connections: int, seconds: float) -> float:
    client = Client(_target(port), connections=connections, headers={})
    end = time.monotonic() + seconds

    async def one() -> int:
        count = 0
        while time.monotonic() < end:
            count += (await client.send(*content)).status == 200
        return count

    try:
        return sum(await asyncio.gather(*(one() for _ in range(connections)))) / seconds
    finally:
        client.close()


def _target(port: int) -> Target:
    return Target(host="127.0.0.1", port=port, path="/", tls=False)


def _content(body: bytes, kind: str) -> tuple[bytes, str]:
    return body, kind
