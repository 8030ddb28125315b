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

from benchmarks.granularity import protocol as protocols
from benchmarks.granularity import statics, steady
from benchmarks.granularity.cells import Cell, cells
from benchmarks.granularity.judge import Judge
from benchmarks.granularity.pipelines import Setting, World
from benchmarks.granularity.policies import Mind
from benchmarks.granularity.protocol import Protocol
from benchmarks.granularity.rows import Row, Rows, key
from regrain.plan import Plan

RESULTS = Path(__file__).parent.parent / "results" / "granularity"
STEADY = ("core", "mig", "capacity", "traces")
Task = TypeVar("Task")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be run. `seeds` fewer than the protocol's are a reduced run, and its rows say so."""

    part: str
    only: tuple[str, ...]
    seeds: int
    resume: bool
    traces: Path | None
    out: Path
    workers: int

    def head(self, protocol: Protocol) -> Row:
        """Return the first line of the results."""
        full = self.seeds == protocol.seeds.test and not self.only
        return {
            "granularity": protocol.version,
            "part": self.part,
            "seeds": self.seeds,
            "pipelines": list(self.only) or "all",
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


def run(order: Order) -> None:
    """Run a steady part."""
    protocol = protocols.read()
    rows = Rows(order.out / f"{order.part}.jsonl")
    rows.begin(resume=order.resume, head=order.head(protocol))
    todo = list(cells(protocol, order.part, order.only))
    if order.part == "traces" and order.traces is None:
        told = [
            {**cell.key, "policy": "none", "infeasible": "not run: no traces (--traces DIR)"} for cell in todo
        ]
        rows.add(row for row in told if "none" not in rows.done().get(key(row), ()))
        return
    static = _statics(order, todo)
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
    order: Order, todo: Iterable[Cell]
) -> dict[tuple[str, str, int], tuple[tuple[str, Plan | None], ...]]:
    """Return the static plans of each pipeline and node; those found before are read."""
    rows = Rows(order.out / "static.jsonl")
    rows.begin(resume=True, head={"granularity": 1, "part": "static"})
    wanted = dict.fromkeys((cell.pipeline, cell.shares, cell.cards) for cell in todo)
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
