"""Send malformed HTTP requests, calls over gRPC and wire frames, each from a seed: nothing may crash, hang or grow.

A real `regrain run` each: `shapes` for callers that are hostile, `hostile` and `flowing` for replicas that are. Its
limits in time are set to a second or so, and whatever is sent must have come to an end within BOUND. Growth is counted
from a tenth of the messages on, when everything has been through once, to the end; both once all connections are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPException
from importlib import metadata

import psutil

from benchmarks import processes, product
from benchmarks.malformed import BOUND, HUNG, grpc, http, wire
from benchmarks.record import Record, Results, arguments, table

COUNT, SHORT = 10_000, 200
KINDS = {"http": 1, "grpc": 1, "wire": 1, "wire of a stream": 10}
"""What is sent, and of how many messages one is sent: of a stream's frames most are those of any other run."""
APPS = {"wire": "hostile.py:app", "wire of a stream": "hostile.py:flowing"}
AT_ONCE = {"http": 32, "grpc": 32, "wire": 1, "wire of a stream": 1}
"""Messages under way at once; a replica that answers nobody else says whose fault what is."""
FLAGS = ("--header-timeout", "1s", "--body-timeout", "1s", "--hang-timeout", "1s", "--max-body", "1Mi")
BUGS = re.compile(
    r"Exception in callback|was never retrieved|was never awaited|failed unexpectedly"
    r"|Unexpected \[(?!UnicodeDecodeError)"  # of a path that is no UTF-8 grpc says this before any code of ours
)
"""What a front prints when it met something that its code did not foresee."""
SETTLE = 3.0
"""Seconds after which no connection is left that its caller left half open."""
SLACK_DESCRIPTORS = 4
SLACK_MIB = 32.0
"""Of memory (PSS) of the front: a heap keeps what it once needed, such as the largest of the malformed values."""
MEBIBYTE = 1 << 20

Send = Callable[[random.Random], Awaitable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A front, once it has nothing to do: descriptors, MiB of PSS, processes of its own, and those not reaped."""

    descriptors: int
    mib: float
    family: int
    zombies: int


def main() -> None:
    parser = arguments("fuzz", __doc__ or "", rounds=1, seconds=1.0)
    parser.add_argument(
        "--count", type=int, help=f"messages of each kind, default {COUNT}, {SHORT} if --short"
    )
    options = parser.parse_args()
    count = options.count = options.count or (SHORT if options.short else COUNT)
    results = Results.open("fuzz", options)
    for kind, share in KINDS.items():
        if not results.has(kind="fuzz", messages=kind):
            results.add(_visit(kind, count // share, options.seed))
    visits = [line for line in results.lines if line["kind"] == "fuzz"]
    fields = ("messages", "sent", "hung", "bugs", "good_failed", "descriptors_grown", "mib_grown", "zombies")
    print(table(fields, [[visit[field] for field in fields] for visit in visits]))
    for name, field, limit in (
        ("fronts that ended", "front_ended", 0.0),
        ("messages that hung", "hung", 0.0),
        ("errors that nobody foresaw", "bugs", 0.0),
        ("good requests that failed", "good_failed", 0.0),
        ("replicas not reaped", "zombies", 0.0),
        ("descriptors more", "descriptors_grown", SLACK_DESCRIPTORS),
        ("MiB more", "mib_grown", SLACK_MIB),
    ):
        results.bar(name, max(results.values(field, kind="fuzz")), at_most=limit)


def _visit(kind: str, count: int, seed: int) -> Record:
    """Start a server, send it `count` messages of a kind and return what came of them."""
    port = processes.free_ports(2, 18500)
    target = product.APPS / APPS.get(kind, "shapes.py:app")
    command = [*product.command(target, port=port, grain="fine"), "--grpc-port", str(port + 1), *FLAGS]
    with processes.Served([command], port=port, name=f"fuzz-{kind.replace(' ', '-')}") as served:
        served.wait(_good(kind), lambda _: True)
        asyncio.run(_until_served(kind, port))
        began = time.monotonic()
        outcomes, looks, failed = asyncio.run(_send_all(kind, served, count, seed))
        seconds = time.monotonic() - began
        ended = not _lives(served.front)
        log = served.log.read_text(encoding="utf-8", errors="replace")
    begin, warm, end = looks
    return {
        "kind": "fuzz",
        "messages": kind,
        "sent": count,
        "grpcio": metadata.version("grpcio"),
        "seconds": round(seconds, 1),
        "outcomes": dict(outcomes.most_common()),
        "hung": outcomes[HUNG],
        "bugs": len(BUGS.findall(log)),
        "good_failed": failed
        + sum(times for said, times in outcomes.items() if said.startswith("good request")),
        "front_ended": int(ended),
        "zombies": end.zombies,
        "descriptors_grown": end.descriptors - warm.descriptors,
        "family_grown": end.family - begin.family,
        "mib_grown": round(end.mib - warm.mib, 2),
        "looks": [asdict(look) for look in looks],
    }


async def _send_all(
    kind: str, served: processes.Served, count: int, seed: int
) -> tuple[Counter[str], list[Look], int]:
    """Send all messages; return what came of them, looks at the beginning, after a tenth and at the end, and how
    often a good request failed then."""
    outcomes: Counter[str] = Counter()
    looks = [await _look(served.front, None)]
    failed = 0
    tenth = count // 10
    async with _sender(kind, served.port) as send:
        for numbers in (range(tenth), range(tenth, count)):
            places = iter(numbers)
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE[kind]):
                    group.create_task(_send_each(send, f"{seed} {kind}", places, outcomes))
            failed += not await _is_served(kind, served.port)
            if numbers.start == 0:
                looks.append(await _look(served.front, looks[0]))
    looks.append(await _look(served.front, looks[0]))
    return outcomes, looks, failed


async def _send_each(send: Send, seed: str, numbers: Iterator[int], outcomes: Counter[str]) -> None:
    for number in numbers:
        outcomes[await send(random.Random(f"{seed} {number}"))] += 1


@contextlib.asynccontextmanager
async def _sender(kind: str, port: int) -> AsyncIterator[Send]:
    """Give what sends one message of a kind."""
    if kind == "grpc":
        calls = grpc.Calls(port + 1)
        try:
            yield calls.send
        finally:
            await calls.close()
    else:
        send = http.send if kind == "http" else wire.send
        yield lambda rng: send(port, rng)


def _good(kind: str) -> processes.Request:
    if kind in APPS:
        return processes.Request(wire.GOOD)
    return processes.Request(b'{"x": [[1,2,3],[4,5,6]]}', headers={"Content-Type": "application/json"})


async def _is_served(kind: str, port: int) -> bool:
    """Whether good requests are answered, over gRPC too."""
    try:
        status, _ = await asyncio.to_thread(_good(kind).send, port)
    except (OSError, HTTPException):
        return False
    return status == 200 and (kind != "grpc" or await grpc.is_answered(port + 1))


async def _until_served(kind: str, port: int) -> None:
    """Wait for gRPC, which is there a little later."""
    end = time.monotonic() + BOUND
    while not await _is_served(kind, port) and time.monotonic() < end:
        await asyncio.sleep(0.05)


async def _look(front: int, before: Look | None) -> Look:
    """Look at a front, once every connection has run into its limits; after BOUND as it is then."""
    end = time.monotonic() + BOUND
    await asyncio.sleep(SETTLE if before else 0.0)
    while True:
        look = _now(front)
        same = before is None or (look.family == before.family and not look.zombies)
        if same or time.monotonic() > end:
            return look
        await asyncio.sleep(0.05)


def _now(front: int) -> Look:
    children = psutil.Process(front).children(recursive=True) if _lives(front) else []
    states = []
    for child in children:
        with contextlib.suppress(psutil.Error):
            states.append(child.status())
    zombies = states.count(psutil.STATUS_ZOMBIE)
    pss, _ = processes.memory([front])
    return Look(
        descriptors=processes.descriptors([front]),
        mib=round(pss / MEBIBYTE, 2),
        family=len(states) - zombies,
        zombies=zombies,
    )


def _lives(front: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(front).status() != psutil.STATUS_ZOMBIE
    return False


if __name__ == "__main__":
    main()
