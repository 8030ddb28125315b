"""Change the grain among stages that every replica has resident, under half a load: how soon it is in force.

Plans of three replicas each, so that no process need start or end: fine and half-way with one or two per group, coarse
with three. A change is timed from the command (POST /grain) to the answer, which comes when the new plan is in force;
beside it a GET of the same port, which changes nothing. Each answer tells which processes made it, and so under which
plan: one that met no change must be of the plan in force. Open loop at 50 % of the capacity of fine, the load generator
in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from itertools import cycle, pairwise

from benchmarks import open_loop, processes, product
from benchmarks.admin import Admin, Change
from benchmarks.record import Results, arguments, progress, table

FLAGS = ("--resident", "all")
LOAD = 0.5
CHANGES = 1000
"""Over all rounds."""
PAUSE = 0.02
"""Mean of the seconds between the end of a change and the next, exponential, so that they meet every moment."""
BEYOND = 0.005
"""Seconds that a change may take beyond the batch being served."""
BODY, KIND = b"[]", "application/json"
WARM_UP = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A plan: its grain, its replicas, the stages of each group, and the seconds of its longest dispatch."""

    grain: str
    replicas: str
    groups: tuple[tuple[int, ...], ...]
    longest: float

    def made(self, pids: Sequence[int]) -> bool:
        """Whether an answer, the process of each stage, can be of this plan: one process for each group."""
        return all(len({pids[stage] for stage in group}) == 1 for group in self.groups) and all(
            pids[late[0]] != pids[early[0]] for early, late in pairwise(self.groups)
        )


SHAPES = (
    Shape(grain="fine", replicas="1", groups=((0,), (1,), (2,)), longest=0.004),
    Shape(grain="coarse", replicas="3", groups=((0, 1, 2),), longest=0.009),
    Shape(grain="one+two | three", replicas="one=2,three=1", groups=((0, 1), (2,)), longest=0.005),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A change, what it came from and led to, a GET's round trip before it, and the processes after it."""

    change: Change
    old: Shape
    new: Shape
    looked: float
    pids: frozenset[int]


def main() -> None:
    options = arguments("resident", __doc__ or "", rounds=4, seconds=25.0).parse_args()
    results = Results.open("resident", options)
    if options.short:
        options.seconds = 3.0
    changes = 30 if options.short else CHANGES // options.rounds
    with _serve() as (served, admin_port):
        open_loop.closed(served.port, BODY, connections=8, seconds=WARM_UP, kind=KIND)
        seconds = max(1.0, options.seconds / 10)
        capacity = open_loop.closed(served.port, BODY, connections=8, seconds=seconds, kind=KIND)
        for turn in range(options.rounds):
            if not results.has(kind="load", round=turn):
                progress(f"round {turn}: {changes} changes at {capacity * LOAD:.0f} requests/s")
                rng = random.Random(f"{options.seed} {turn}")
                arrivals = [(at, BODY) for at in open_loop.poisson(capacity * LOAD, options.seconds, rng)]
                visit = _visit(served, admin_port, arrivals, changes, rng)
                results.add({"kind": "load", "round": turn, "capacity": capacity, **visit})
    _report(results, changes * options.rounds)


@contextlib.contextmanager
def _serve() -> Iterator[tuple[processes.Served, int]]:
    port = processes.free_ports(2)
    command = product.command(product.APPS / "resident.py", port=port, grain=SHAPES[0].grain)
    flags = ["--admin-port", str(port + 1), "--replicas", SHAPES[0].replicas, "--grpc-port", "off", *FLAGS]
    with processes.Served([[*command, *flags]], port=port, name="resident") as served:
        request = processes.Request(BODY, headers={"Content-Type": KIND})
        served.wait(request, lambda data: SHAPES[0].made(json.loads(data)))
        yield served, port + 1


def _visit(
    served: processes.Served,
    admin_port: int,
    arrivals: Sequence[tuple[float, bytes]],
    most: int,
    rng: random.Random,
) -> dict[str, object]:
    before = set(served.pids())
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        pool.submit(time.monotonic).result()  # it has started
        load = pool.submit(open_loop.drive, served.port, arrivals, kind=KIND)
        turns = _change(served, admin_port, time.monotonic() + arrivals[-1][0], most, rng)
        sent = load.result()
    moved = [turn for turn in turns if turn.pids != turns[0].pids]
    others = set(served.pids()) ^ before
    return {**_told(sent, turns), **_times(turns), "processes_moved": len(moved) + len(others)}


def _change(served: processes.Served, port: int, end: float, most: int, rng: random.Random) -> list[Turn]:
    """Change the grain over and over, from the first shape on and back to it at the end."""
    turns: list[Turn] = []
    with contextlib.closing(Admin(port)) as admin:
        shapes = cycle((*SHAPES[1:], SHAPES[0]))
        old = SHAPES[0]
        while (time.monotonic() < end and len(turns) < most) or old is not SHAPES[0]:
            time.sleep(rng.expovariate(1 / PAUSE))
            began = time.monotonic()
            admin.status()
            looked = time.monotonic() - began
            new = next(shapes)
            change = admin.regrain(new.grain, new.replicas)
            admin.settle()
            pids = frozenset(processes.children(served.front))
            turns.append(Turn(change=change, old=old, new=new, looked=looked, pids=pids))
            if not change.is_made:
                raise SystemExit(f"{new.grain} with {new.replicas} replicas was refused: {change.said}")
            old = new
    return turns


def _told(sent: Sequence[open_loop.Sent], turns: Sequence[Turn]) -> dict[str, object]:
    """Say what became of the requests: those that failed, and those made under a plan that was not in force."""
    latencies = sorted(one.latency for one in sent)
    good = [one for one in sent if one.status == HTTPStatus.OK]
    expected = [(_expected(one, turns), json.loads(one.answer)) for one in good]
    checked = [shape.made(pids) for shape, pids in expected if shape is not None]
    failures = sorted({f"{one.status} {one.answer[:200]!r}" for one in sent if one.status != HTTPStatus.OK})
    return {
        "requests": len(sent),
        "failed": len(sent) - len(good),
        "failures": failures[:3],
        "checked": len(checked),
        "misplaced": len(checked) - sum(checked),
        "p50": latencies[len(latencies) // 2] * 1e3,
        "p99": latencies[len(latencies) * 99 // 100] * 1e3,
    }


def _expected(one: open_loop.Sent, turns: Sequence[Turn]) -> Shape | None:
    """The plan that was in force from a request's arrival to its end; None where it met a change."""
    asked = one.ended - one.latency
    if any(turn.change.sent < one.ended and turn.change.answered > asked for turn in turns):
        return None
    before = [turn.new for turn in turns if turn.change.answered <= asked]
    return before[-1] if before else turns[0].old


def _times(turns: Sequence[Turn]) -> dict[str, float]:
    """Return the times of changes, in ms; `beyond`: what they took beyond the old plan's longest dispatch."""
    took = sorted(turn.change.took for turn in turns)
    looked = sorted(turn.looked for turn in turns)
    beyond = sorted(turn.change.took - turn.old.longest for turn in turns)
    middle, most = len(turns) // 2, len(turns) * 99 // 100
    return {
        "changes": len(turns),
        "in_force": took[middle] * 1e3,
        "in_force_p99": took[most] * 1e3,
        "looked": looked[middle] * 1e3,
        "beyond": beyond[middle] * 1e3,
        "beyond_looked": sorted(turn.change.took - turn.looked for turn in turns)[middle] * 1e3,
    }


def _report(results: Results, changes: int) -> None:
    fields = (
        "requests",
        "failed",
        "p50",
        "p99",
        "changes",
        "in_force",
        "in_force_p99",
        "looked",
        "beyond_looked",
    )
    heads = [
        "requests",
        "failed",
        "p50 ms",
        "p99 ms",
        "changes",
        "in force ms",
        "p99",
        "GET ms",
        "less GET ms",
    ]
    rounds = sorted({int(turn) for turn in results.values("round", kind="load")})
    rows = [[turn, *(results.median(field, kind="load", round=turn) for field in fields)] for turn in rounds]
    print(table(["round", *heads], rows))
    for name, field in (
        ("requests that failed", "failed"),
        ("answers that met no change, of a plan that was not in force", "misplaced"),
        ("processes that started or ended", "processes_moved"),
    ):
        results.bar(name, sum(results.values(field, kind="load")), at_most=0)
    results.bar("answers whose plan was checked", sum(results.values("checked", kind="load")), at_least=1)
    results.bar("changes", sum(results.values("changes", kind="load")), at_least=changes)
    name = "ms that a change takes beyond the longest batch of the old plan, p50"
    results.bar(name, results.median("beyond", kind="load"), at_most=BEYOND * 1e3)


if __name__ == "__main__":
    main()
