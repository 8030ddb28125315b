"""Run parts of the protocol: cells beside each other in processes, rows written as they come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

from benchmarks.granularity import days, live, statics, steady, together
from benchmarks.granularity import protocol as protocols
from benchmarks.granularity.cells import Cell, cells, mixed
from benchmarks.granularity.judge import Judge
from benchmarks.granularity.pipelines import Setting, World
from benchmarks.granularity.predictors import ADAPTIVE, VERIFIED
from benchmarks.granularity.protocol import Protocol
from benchmarks.granularity.rows import Row, Rows, key
from regrain.errors import SpecError
from regrain.plan import Plan

FOLDER = Path("build/granularity")
RESULTS = Path(__file__).parent.parent / "results" / "granularity"
STEADY = ("core", "mig", "capacity", "traces")
DAYS = ("days", "ablations")
TOGETHER, LIVE = "together", "live"
ABLATED = {"pages": 4, "faces": 5}
"""The pipelines whose days are ablated, and which of the days is the first of each."""
COMPARED = ("replanned-coarse", "replanned-fine", "adaptive", "adaptive-fluid")
"""The policies that are run in ablations."""
SIMULATED = ("memory", "load_time", "transfer", "batching", "packing")
"""Ablations that are run; the simulator knows no neighbours that slow each other down."""
Task = TypeVar("Task")


def seeds(protocol: Protocol, part: str) -> int:
    """Return the seeds of a part, or its days, as the protocol has them; of ablations one of each pipeline."""
    found = {
        "days": protocol.days.count,
        "ablations": 1,
        TOGETHER: protocol.together.days,
        LIVE: 1,
        "traces": protocol.traces.seeds,
    }
    return found.get(part, protocol.seeds.test)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be run. Fewer seeds or days, pipelines or policies than the protocol has are a reduced run.

    `policies` count on days alone. `apps`: folder of those that are run live. `budget`: seconds after which nothing is
    begun.
    """

    part: str
    only: tuple[str, ...]
    seeds: int
    resume: bool
    traces: Path | None
    out: Path
    workers: int
    policies: tuple[str, ...] = ()
    budget: float = float("inf")
    apps: Path = FOLDER

    def head(self, protocol: Protocol) -> Row:
        """Return the first line of the results."""
        full = self.seeds >= seeds(protocol, self.part) and not self.only and not self.policies
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
    if order.part == TOGETHER:
        run_together(order)
    elif order.part == LIVE:
        run_live(order)
    else:
        (run_days if order.part in DAYS else run_steady)(order)


def run_together(order: Order) -> None:
    """Run days of several apps on a node."""
    protocol = protocols.read()
    rows = Rows(order.out / f"{order.part}.jsonl")
    rows.begin(resume=order.resume, head=order.head(protocol))
    done = rows.done()
    tasks = [
        (policy, day)
        for day in range(protocol.seeds.first, protocol.seeds.first + order.seeds)
        for policy in together.POLICIES
        if policy not in done.get(key(_day_key(TOGETHER, "+".join(protocol.together.pipelines), "", day)), ())
    ]
    for made in beside(_run_together, tasks, order):
        rows.add(made)


def run_live(order: Order) -> None:
    """Run the live cells one after the other: each wants the machine for itself."""
    protocol = protocols.read()
    rows = Rows(order.out / f"{LIVE}.jsonl")
    rows.begin(resume=order.resume, head=order.head(protocol))
    sites = cache(lambda name: live.Site(protocol, name, order.apps))
    done = rows.done()
    todo = [
        (cell, policy)
        for cell in live.each(protocol, sites, order.only)
        for policy in live.POLICIES
        if policy not in done.get(key(cell.key), ())
    ]
    begin = time.monotonic()
    for number, (cell, policy) in enumerate(todo):
        left = sum(one.seconds(of) for one, of in todo[number:])
        sys.stderr.write(f"live: {cell.key} {policy}, {number} of {len(todo)}, about {left:.0f} s left\n")
        if time.monotonic() - begin > order.budget:
            sys.stderr.write("the budget is spent; --resume goes on\n")
            return
        rows.add([{**cell.key, **live.row(sites(cell.pipeline), cell, policy)}])


def _run_together(task: tuple[str, int]) -> list[Row]:
    policy, day = task
    head = _day_key(TOGETHER, "+".join(protocols.read().together.pipelines), "", day)
    return [{**head, "policy": policy, **together.run(policy, day)}]


def run_days(order: Order) -> None:
    """Run days, each policy of each by itself; ablations are days in another setting."""
    protocol = protocols.read()
    rows = Rows(order.out / f"{order.part}.jsonl")
    rows.begin(resume=order.resume, head=order.head(protocol))
    drawn = _drawn(order, protocol)
    cards = protocol.days.cards
    static = {}  # a plan that was made for another setting says nothing of an ablated one
    if order.part == "days":
        static = _statics(order, [(name, "free", cards) for _, name in drawn])
    done = rows.done()
    tasks = [
        _Day(name, ablation, day, policy, static.get((name, "free", cards), ()))
        for day, name in drawn
        for ablation in (SIMULATED if order.part == "ablations" else ("",))
        for policy in days.policies(
            world(name, Setting.of(protocol, cards=cards)),
            steady.Statics(dict(static.get((name, "free", cards), ()))),
        )
        if _is_run(order, protocol, policy, day)
        and policy not in done.get(key(_day_key(order.part, name, ablation, day)), ())
    ]
    tasks.sort(key=lambda task: _has_single(task.policy))  # days are cut short without these first
    for made in beside(_run_day, tasks, order):
        rows.add(made)


def _is_run(order: Order, protocol: Protocol, policy: str, day: int) -> bool:
    """Whether a policy is run on a day: those of a single predictor on the first of each pipeline alone."""
    if order.policies:
        return policy in order.policies
    if order.part == "ablations":
        return policy in COMPARED
    return not _has_single(policy) or day < protocol.seeds.first + len(protocol.pipeline)


def _has_single(policy: str) -> bool:
    """Whether a policy plans by a single predictor, in place of the product's pair."""
    by, _ = ADAPTIVE.get(policy, (VERIFIED, False))
    return by != VERIFIED


def _drawn(order: Order, protocol: Protocol) -> list[tuple[int, str]]:
    """Return the days with the pipeline of each, which take turns; those of the largest come last."""
    names = [one.name for one in protocol.pipeline]
    if order.part == "ablations":
        places = [first + turn * len(names) for turn in range(order.seeds) for first in ABLATED.values()]
    else:
        places = list(range(order.seeds))
    largest = max(protocol.pipeline, key=lambda one: len(one.stages)).name
    found = [(protocol.seeds.first + place, names[place % len(names)]) for place in places]
    return sorted(
        ((day, name) for day, name in found if not order.only or name in order.only),
        key=lambda one: one[1] == largest,
    )


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
    todo = mixed(protocol, list(cells(protocol, order.part, order.only)))
    _require_traces(protocol, {cell.arrivals for cell in todo}, order.traces)
    rows = Rows(order.out / f"{order.part}.jsonl")
    rows.begin(resume=order.resume, head=order.head(protocol))
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
    for made in beside(_run_cell, tasks, order):
        rows.add(made)


def _require_traces(protocol: Protocol, arrivals: Iterable[str], folder: Path | None) -> None:
    """Look for the traces that are replayed, before rows of before are given up for a run that cannot be."""
    files = (protocol.arrivals[kind].file for kind in arrivals)
    lacking = sorted(file for file in files if file and not (folder and (folder / file).is_file()))
    if lacking:
        where = f"not in {folder}, the folder" if folder else "give the folder"
        raise SpecError(f"{', '.join(lacking)}: {where} of traces (--traces)")


def beside(
    work: Callable[[Task], list[Row]], tasks: Sequence[Task], order: Order, what: str = ""
) -> Iterator[list[Row]]:
    """Do tasks in processes, yield what each gives as it ends, and tell how far they are."""
    begin, number = time.monotonic(), 0
    with ProcessPoolExecutor(order.workers) as pool:
        running = [pool.submit(work, task) for task in tasks]
        for one in as_completed(running):
            if one.cancelled():
                continue
            yield one.result()
            number += 1
            passed = time.monotonic() - begin
            left = passed / number * (len(tasks) - number)
            told = f"{what or order.part}: {number} of {len(tasks)}, {passed:.0f} s, about {left:.0f} s left"
            sys.stderr.write(f"\r{told} ")
            sys.stderr.flush()
            if passed > order.budget:
                for other in running:
                    other.cancel()
    sys.stderr.write("\n" if number == len(tasks) else "\nthe budget is spent; --resume goes on\n")


@cache
def world(pipeline: str, setting: Setting) -> World:
    """Return a pipeline in a setting, made once in each process."""
    return World(protocols.read(), pipeline, setting)


def _statics(
    order: Order, nodes: Iterable[tuple[str, str, int]]
) -> dict[tuple[str, str, int], tuple[tuple[str, Plan | None], ...]]:
    """Return the static plans of each pipeline and node; those found before are read."""
    rows = Rows(order.out / "static.jsonl")
    head: Row = {"granularity": protocols.read().version, "part": "static"}
    rows.begin(resume=rows.rows[:1] == [head], head=head)
    wanted = dict.fromkeys(nodes)
    known = {(*_node(row), row["policy"]) for row in rows.rows if "policy" in row}
    tasks = [
        _Static(*node, label)
        for node in wanted
        for label in statics.LABELS
        if (*node, f"static-{label}") not in known
    ]
    for made in beside(_run_static, tasks, replace(order, budget=float("inf")), "static plans"):
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
    return list(steady.rows(judge, steady.Statics(dict(task.static)), set(task.done)))
