"""Run parts of the protocol: cells beside each other in processes, rows written as they come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from benchmarks.granularity import days, statics, steady
from benchmarks.granularity import protocol as protocols
from benchmarks.granularity.cells import Cell, cells, mixed
from benchmarks.granularity.judge import Judge
from benchmarks.granularity.pipelines import Setting, World
from benchmarks.granularity.policies import Mind
from benchmarks.granularity.protocol import Protocol
from benchmarks.granularity.rows import Row, Rows, key
from regrain.plan import Plan

RESULTS = Path(__file__).parent.parent / "results" / "granularity"
STEADY = ("core", "mig", "capacity", "traces")
DAYS = ("days", "ablations")
ABLATED = ("pages", "faces")
SIMULATED = ("memory", "load_time", "transfer", "batching", "packing")
"""Ablations that are run; the simulator knows no neighbours that slow each other down."""
Task = TypeVar("Task")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be run. Fewer seeds or days, pipelines or policies than the protocol has are a reduced run.

    `policies` count on days alone.
    """

    part: str
    only: tuple[str, ...]
    seeds: int
    resume: bool
    traces: Path | None
    out: Path
    workers: int
    policies: tuple[str, ...] = ()

    def head(self, protocol: Protocol) -> Row:
        """Return the first line of the results."""
        most = protocol.days.count if self.part in DAYS else protocol.seeds.test
        full = self.seeds >= most and not self.only and not self.policies
        return {
            "granularity": protocol.version,
            "part": self.part,
            "seeds": self.seeds,
            "pipelines": list(self.only) or "all",
            "policies": list(self.policies) or "all",
            "reduced": not full,
        }


@dataclass(frozen=True, slots=True)
class _Static:
    pipeline: str
    shares: str
    cards: int
    label: str


@dataclass(frozen=True, slots=True)
class _Steady:
    cell: Cell
    seeds: int
    traces: Path | None
    static: tuple[tuple[str, Plan | None], ...]
    done: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Day:
    pipeline: str
    ablation: str
    day: int
    policy: str
    static: tuple[tuple[str, Plan | None], ...]


def run(order: Order) -> None:
    """Run a part."""
    (run_days if order.part in DAYS else run_steady)(order)


def run_days(order: Order) -> None:
    """Run days, each policy of each by itself; ablations are days in another setting."""
    protocol = protocols.read()
    rows = Rows(order.out / f"{order.part}.jsonl")
    rows.begin(resume=order.resume, head=order.head(protocol))
    names = order.only or (
        ABLATED if order.part == "ablations" else tuple(one.name for one in protocol.pipeline)
    )
    cards = protocol.days.cards
    static = {}  # a plan that was made for another setting says nothing of an ablated one
    if order.part == "days":
        static = _statics(order, [(name, "free", cards) for name in names])
    done = rows.done()
    tasks = [
        _Day(name, ablation, day, policy, static.get((name, "free", cards), ()))
        for day in range(protocol.seeds.first, protocol.seeds.first + order.seeds)
        for ablation in (SIMULATED if order.part == "ablations" else ("",))
        for name in names
        for policy in days.policies(
            world(name, Setting.of(protocol, cards=cards)),
            steady.Statics(dict(static.get((name, "free", cards), ()))),
        )
        if (not order.policies or policy in order.policies)
        and policy not in done.get(key(_day_key(order.part, name, ablation, day)), ())
    ]
    for made in beside(_run_day, tasks, order.workers, order.part):
        rows.add(made)


def _day_key(part: str, pipeline: str, ablation: str, day: int) -> Row:
    return {"part": part, "pipeline": pipeline, "day": day, **({"ablation": ablation} if ablation else {})}


def _run_day(task: _Day) -> list[Row]:
    protocol = protocols.read()
    setting = Setting.of(protocol, cards=protocol.days.cards)
    if task.ablation:
        setting = setting.ablated(protocol, protocol.ablations[task.ablation])
    here = world(task.pipeline, setting)
    policy = days.policies(here, steady.Statics(dict(task.static)))[task.policy]
    head = _day_key("ablations" if task.ablation else "days", task.pipeline, task.ablation, task.day)
    return [{**head, "policy": task.policy, **days.run(here, policy, task.day)}]


def run_steady(order: Order) -> None:
    """Run a part of the grid."""
    protocol = protocols.read()
    rows = Rows(order.out / f"{order.part}.jsonl")
    rows.begin(resume=order.resume, head=order.head(protocol))
    todo = mixed(protocol, list(cells(protocol, order.part, order.only)))
    if order.part == "traces" and order.traces is None:
        told = [
            {**cell.key, "policy": "none", "infeasible": "not run: no traces (--traces DIR)"} for cell in todo
        ]
        rows.add(row for row in told if "none" not in rows.done().get(key(row), ()))
        return
    static = _statics(order, [(cell.pipeline, cell.shares, cell.cards) for cell in todo])
    done = rows.done()
    tasks = [
        _Steady(
            cell,
            order.seeds,
            order.traces,
            static[cell.pipeline, cell.shares, cell.cards],
            frozenset(done.get(key(cell.key), ())),
        )
        for cell in todo
    ]
    for made in beside(_run_cell, tasks, order.workers, order.part):
        rows.add(made)


def beside(
    work: Callable[[Task], list[Row]], tasks: Sequence[Task], workers: int, what: str
) -> Iterator[list[Row]]:
    """Do tasks in processes, yield what each gives as it ends, and tell how far they are."""
    begin = time.monotonic()
    with ProcessPoolExecutor(workers) as pool:
        running = [pool.submit(work, task) for task in tasks]
        for number, one in enumerate(as_completed(running), start=1):
            yield one.result()
            passed = time.monotonic() - begin
            left = passed / number * (len(tasks) - number)
            sys.stderr.write(f"\r{what}: {number} of {len(tasks)}, {passed:.0f} s, about {left:.0f} s left ")
            sys.stderr.flush()
    sys.stderr.write("\n")


@cache
def world(pipeline: str, setting: Setting) -> World:
    """Return a pipeline in a setting, made once in each process."""
    return World(protocols.read(), pipeline, setting)


def _statics(
    order: Order, nodes: Iterable[tuple[str, str, int]]
) -> dict[tuple[str, str, int], tuple[tuple[str, Plan | None], ...]]:
    """Return the static plans of each pipeline and node; those found before are read."""
    rows = Rows(order.out / "static.jsonl")
    rows.begin(resume=True, head={"granularity": 1, "part": "static"})
    wanted = dict.fromkeys(nodes)
    known = {(*_node(row), row["policy"]) for row in rows.rows if "policy" in row}
    tasks = [
        _Static(*node, label)
        for node in wanted
        for label in statics.LABELS
        if (*node, f"static-{label}") not in known
    ]
    for made in beside(_run_static, tasks, order.workers, "static plans") if tasks else ():
        rows.add(made)
    return {
        node: tuple(
            (str(row["policy"]).removeprefix("static-"), statics.plan_of(row))
            for row in rows.rows
            if "policy" in row and _node(row) == node
        )
        for node in wanted
    }


def _node(row: Row) -> tuple[object, object, object]:
    return row["pipeline"], row["shares"], row["cards"]


def _run_static(task: _Static) -> list[Row]:
    setting = Setting.of(protocols.read(), shares=task.shares, cards=task.cards)
    head: Row = {"part": "static", "pipeline": task.pipeline, "shares": task.shares, "cards": task.cards}
    return [{**head, **statics.row(world(task.pipeline, setting), task.label)}]


def _run_cell(task: _Steady) -> list[Row]:
    protocol, cell = protocols.read(), task.cell
    here = world(cell.pipeline, Setting.of(protocol, shares=cell.shares, cards=cell.cards))
    seeds = range(protocol.seeds.first, protocol.seeds.first + task.seeds)
    judge = Judge(here, cell, seeds, task.traces)
    mind = Mind(here.offer(judge.slo))
    return list(steady.rows(judge, mind, steady.Statics(dict(task.static)), set(task.done)))
