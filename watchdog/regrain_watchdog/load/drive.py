"""Send requests at the times at which they are meant to arrive, whether or not earlier ones have been answered.

Latency counts from the intended arrival. So a server that falls behind cannot slow its own load down, nor hide what the
requests waited that were sent late (coordinated omission, Tene). How late this generator itself was is told apart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import uvloop

from regrain_watchdog.load.client import Answer, Client, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request to send: to which target, by its place, at which second from the begin, and what.

    `content` makes body and content type when it is sent, so that a long load need not be in memory at once.
    """

    at: float
    target: int
    content: Callable[[], tuple[bytes, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What came of a request.

    Attributes:
        number: its place among the jobs.
        at, target: its intended arrival, in seconds from the begin, and where it went.
        latency: seconds from then until the answer was whole, or there was none to be had.
        late: seconds from then until this generator took it up.
        status: of the answer; 0 without one.
        error: why there was none: "" with an answer, "timeout", "interrupted", or what went wrong.
    """

    number: int
    at: float
    target: int
    latency: float
    late: float
    status: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a load may go.

    Attributes:
        connections: at once, for each target.
        timeout: seconds from a request's intended arrival.
        headers: that every request has.
    """

    connections: int = 1000
    timeout: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict)


TIMEOUT, INTERRUPTED = "timeout", "interrupted"
NONE = Answer(0, b"")


Done = Callable[[Sent, bytes], None]


def run(
    jobs: Sequence[Job],
    targets: Sequence[Target],
    limits: Limits,
    done: Done,
    beside: Callable[[], Awaitable[None]] | None = None,
) -> bool:
    """Send every job at its time, and tell each as it is done; return whether all were sent.

    Ctrl-C ends it early: what is in flight then is interrupted, what was to come is left out.

    Args:
        jobs: ascending in time.
        targets: that they go to.
        limits: of connections and time.
        done: called for each that was sent, with the body of its answer (b"" without one).
        beside: runs until all is over, and is cancelled then.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Generator(targets, limits, done).run(jobs, beside))


class _Generator:
    def __init__(self, targets: Sequence[Target], limits: Limits, done: Done) -> None:
        self._clients = [
            Client(target, connections=limits.connections, headers=limits.headers) for target in targets
        ]
        self._timeout = limits.timeout
        self._done = done
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, jobs: Sequence[Job], beside: Callable[[], Awaitable[None]] | None) -> bool:
        side = asyncio.ensure_future(beside()) if beside is not None else None
        try:
            await self._send_all(jobs)
            while self._tasks:
                await asyncio.wait(self._tasks)
        except asyncio.CancelledError:
            await _cancelled(self._tasks)
            return False
        else:
            return True
        finally:
            if side is not None:
                await _cancelled([side])
            for client in self._clients:
                client.close()

    async def _send_all(self, jobs: Sequence[Job]) -> None:
        loop = asyncio.get_running_loop()
        begin = time.monotonic()
        for number, job in enumerate(jobs):
            due = begin + job.at
            await asyncio.sleep(0.0)  # so that answers are taken even when this generator is behind
            while (
                wait := due - time.monotonic()
            ) > 0:  # again, since the loop's timers are good to a millisecond
                await asyncio.sleep(wait)
            task = loop.create_task(self._one(number, job, due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, number: int, job: Job, due: float) -> None:
        late = time.monotonic() - due
        answer, error = NONE, ""
        limit = asyncio.timeout(self._timeout - late)
        try:
            async with limit:
                answer = await self._clients[job.target].send(*job.content())
        except asyncio.CancelledError:
            error = INTERRUPTED
        except Exception as caught:  # whatever it is, the request is one that was offered
            error = TIMEOUT if limit.expired() else _reason(caught)
        sent = Sent(
            number=number,
            at=job.at,
            target=job.target,
            latency=time.monotonic() - due,
            late=late,
            status=answer.status,
            error=error,
        )
        self._done(sent, answer.body)


def _reason(error: Exception) -> str:
    """Say why there was no answer."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


async def _cancelled(tasks: Sequence[asyncio.Future[None]] | set[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have ended."""
    waited = list(tasks)
    for task in waited:
        task.cancel()
    await asyncio.gather(*waited, return_exceptions=True)
