"""Hold the planner against brute force on small apps, and P1 against CP-SAT on flows of twelve stages.

P2: random apps of one to four stages (chains and DAGs, with and without GPUs, some mapped), of up to eight
configurations a group, on nodes that are roomy, tight or too small, under loads that are light, heavy or too heavy.
All plans are judged by the analytic predictor; the planner may ask it about 400. P1: random DAGs of twelve stages;
tables and search are timed together, on what does not change with the load worked out before, the best of three. CP-SAT
begins with our design, so that it is as good as ours at least; `--alone` has it begin with nothing as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.record import Results, arguments, progress
from regrain.cards import GIB, Card
from regrain.graph import Graph, Node, Ref
from regrain.manifest import GPUSpec, Manifest, Parameter, SLOSpec, StageSpec
from regrain_watchdog.control import cpsat
from regrain_watchdog.policy.cost import Node as Machine
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Application, lists
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.predict.predictor import Predictor
from regrain_watchdog.policy.profile import Point, Profile, StageProfile
from regrain_watchdog.policy.search.dag import Answer, Search
from regrain_watchdog.policy.search.demand import Demand, calls
from regrain_watchdog.policy.search.judge import Judge
from regrain_watchdog.policy.search.options import Space
from regrain_watchdog.policy.search.planner import Planner
from regrain_watchdog.policy.search.problem import Limits, NoPlanError, Problem
from regrain_watchdog.policy.search.proposals import Proposer, ways
from regrain_watchdog.policy.search.reference import every_plan
from regrain_watchdog.policy.search.table import TICKS, Design

SHARES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
BATCHES = (1, 2, 4, 8)
TWELVE, DAGS = 12, 20
STEPS, REPEATS = 40, 3
NEAR = 1e-9
HOPELESS = 0.01
"""Hit rate that a plan may have that was refused since nothing could be in time: analytic tails end nowhere."""


def main() -> None:
    parser = arguments("planner", __doc__ or "", rounds=200, seconds=60.0)
    parser.add_argument("--alone", action="store_true", help="P1 also by CP-SAT that begins with nothing")
    options = parser.parse_args()
    results = Results.open("planner", options, free=("alone",))
    dags = 1 if options.short else DAGS
    for number in range(options.rounds):
        if not results.has(kind="p2", instance=number):
            progress(f"P2 {number + 1} of {options.rounds}")
            results.add({"kind": "p2", "instance": number, **_small(options.seed, number)})
    for number in range(dags):
        if not results.has(kind="p1", instance=number):
            progress(f"P1 {number + 1} of {dags}")
            results.add({"kind": "p1", "instance": number, **_large(options.seed, number, options.seconds)})
        if options.alone and not results.has(kind="p1-alone", instance=number):
            progress(f"P1 {number + 1} of {dags}, CP-SAT alone")
            results.add(
                {"kind": "p1-alone", "instance": number, **alone(options.seed, number, options.seconds)}
            )
    bars(results)


def bars(results: Results) -> None:
    """Hold what was measured to the bars; of CP-SAT that began with nothing, say also who was better."""
    off = results.values("off", kind="p2")
    if off:
        results.bar(
            "P2: share of instances with the optimum",
            float(np.mean([one <= NEAR for one in off])),
            at_least=0.9,
        )
        results.bar("P2: worst distance from the optimum", max(off), at_most=0.05)
    if results.values("off", kind="p1"):
        results.bar("P1: worst distance from CP-SAT", max(results.values("off", kind="p1")), at_most=0.02)
    off = results.values("off", kind="p1-alone")
    if off:
        found = {
            "ours": sum(one < -NEAR for one in off),
            "CP-SAT's": sum(one > NEAR for one in off),
            "neither": sum(abs(one) <= NEAR for one in off),
        }
        results.add({"kind": "note", "name": "P1, CP-SAT alone: cheaper in instances", "value": found})
        results.bar("P1: worst distance from CP-SAT alone", max(off), at_most=0.02)
    results.bar("P1: median milliseconds of twelve stages", results.median("ms", kind="p1"), at_most=100)


def _small(seed: int, number: int) -> dict[str, object]:
    """Plan one small instance and judge all of its plans; `off` is how far the choice is from the best, as a share."""
    rng = np.random.default_rng((seed, number, 2))
    count = int(rng.integers(1, 5))
    problem, load = _instance(rng, count, limits=_few(rng), tight=True)
    shape = {"stages": count, "gpus": len(problem.node.cards), "rate": round(load.rate, 2)}
    predictor: Predictor = Analytic()
    begin = time.perf_counter()
    try:
        choice = Planner(problem).plan(load, predictor)
    except NoPlanError as error:
        chosen, why = None, str(error)
    else:
        chosen, why = choice, ""
    taken = time.perf_counter() - begin
    everything = replace(problem, limits=replace(problem.limits, nodes=10**9))
    judge = Judge(everything, predictor, load, 0)
    plans = 0
    for plan in every_plan(Space(problem)):
        plans += 1
        judge.judge(plan)
    best = judge.best
    ms = round(1e3 * taken, 1)
    if chosen is None or best is None:
        hit = best.prediction.hit_rate if best else 0.0
        return {**shape, "plans": plans, "off": hit if hit > HOPELESS else 0.0, "ms": ms, "refused": why}
    if judge.has_met:
        met = judge.meets(chosen)
        off = chosen.cost / best.cost - 1 if met else math.inf
    else:
        off = 1 - (chosen.prediction.hit_rate + NEAR) / (best.prediction.hit_rate + NEAR)
    figures = {"met": judge.has_met, "hit_rate": round(best.prediction.hit_rate, 4), "proven": chosen.proven}
    return {**shape, "plans": plans, "off": max(0.0, off), **figures, "nodes": chosen.nodes, "ms": ms}


def _few(rng: np.random.Generator) -> Limits:
    """Return limits that leave a group up to eight configurations."""
    shares = tuple(sorted(float(one) for one in rng.choice(SHARES, int(rng.integers(1, 5)), replace=False)))
    room = 8 // len(shares)
    sizes = (1, int(rng.choice(BATCHES[1:]))) if room >= 2 and rng.random() < 0.6 else (1,)
    waits = (0.0, 0.01) if len(sizes) == 2 and room >= 3 and rng.random() < 0.3 else (0.0,)
    each = len(shares) * (1 if len(sizes) == 1 else 1 + len(waits))
    return Limits(shares=shares, sizes=sizes, waits=waits, replicas=max(1, 8 // each))


def _large(seed: int, number: int, seconds: float) -> dict[str, object]:
    """Solve P1 for a DAG of twelve stages, ours and, beginning with it, CP-SAT's."""
    space, load = _dozen(seed, number)
    tables = calls(space)
    every = ways(space)
    _ours(space, every, tables, load)
    taken, cpu = math.inf, math.inf
    for _ in range(REPEATS):
        begin, worked = time.perf_counter(), time.process_time()
        proposer, ours = _ours(space, every, tables, load)
        taken = min(taken, time.perf_counter() - begin)
        cpu = min(cpu, time.process_time() - worked)
    way = proposer.ways[0]
    theirs = _theirs(proposer, seconds, ours.design)
    figures = {
        "steps": len(way.steps),
        "groups": len(way.groups),
        "ms": round(1e3 * taken, 1),
        "cpu_ms": round(1e3 * cpu, 1),
        "gap": round(ours.gap, 4),
    }
    if ours.design is None or theirs.design is None:
        lost = math.inf if theirs.design is not None else None  # nothing to hold ours against
        return {**figures, "off": lost, "solved": False}
    off = max(0.0, ours.design.cost / theirs.design.cost - 1)
    return {**figures, "off": off, "solved": True, "cpsat_gap": round(theirs.gap, 4)}


def alone(seed: int, number: int, seconds: float) -> dict[str, object]:
    """Solve P1 likewise, CP-SAT beginning with nothing; `off`: by how much ours is dearer, below 0 where cheaper."""
    space, load = _dozen(seed, number)
    proposer, ours = _ours(space, ways(space), calls(space), load)
    theirs = _theirs(proposer, seconds, None)
    if ours.design is None or theirs.design is None:
        return {"off": math.inf if theirs.design is not None else None, "solved": False}
    off = ours.design.cost / theirs.design.cost - 1
    return {"off": off, "solved": True, "cpsat_gap": round(theirs.gap, 4)}


def _dozen(seed: int, number: int) -> tuple[Space, Arrivals]:
    rng = np.random.default_rng((seed, number, 12))
    problem, load = _instance(rng, TWELVE, limits=Limits(), tight=False)
    return Space(problem), load


def _theirs(proposer: Proposer, seconds: float, start: Design | None) -> Answer:
    way = proposer.ways[0]
    return cpsat.solve(proposer.table(proposer.level).of(way), way, TICKS, seconds=seconds, start=start)


def _ours(space, every, tables, load):
    proposer = Proposer(space, every, Demand.of(load, space, tables[0]), tables, space.problem.prices)
    way = proposer.ways[0]
    return proposer, Search(proposer.table(proposer.level).of(way), way).solve(TICKS, STEPS)


def _instance(
    rng: np.random.Generator, count: int, *, limits: Limits, tight: bool
) -> tuple[Problem, Arrivals]:
    """Return a random app on a random node, and a load for it; `tight`: also such that cannot be borne."""
    parents = _chain(count) if rng.random() < 0.5 and tight else _dag(rng, count)
    gpu = [bool(rng.random() < 0.75) for _ in range(count)]
    mapped = {count - 1} if count > 1 and len(parents[-1]) == 1 and rng.random() < 0.4 else set()
    work = rng.uniform(0.004, 0.04, count)
    knees = rng.choice([0.05, 0.1, 0.2, 0.4, 0.8], count)
    manifest, profile = _app(parents, gpu, mapped, work, knees, weights=int(rng.uniform(0.1, 3) * GIB))
    width = float(rng.uniform(2, 8)) if mapped else 1.0
    slo = float(rng.uniform(0.8 if tight else 1.8, 4.0) * work.sum() * (1 + 0.3 * (width - 1)))
    app = Application(manifest=manifest, profile=profile, slo=SLOSpec(latency=slo, attainment=0.95))
    cards = int(rng.integers(1, 4)) if tight else 8
    cores = float(rng.integers(2, 12)) if tight else 64.0
    card = Card(name="v100", sms=80, memory=16 * GIB, price=3.06)
    node = Machine(cards=(card,) * cards, cores=cores, memory=64 * GIB)
    rate = float(rng.choice([2, 8, 20, 60] if tight else [10, 40]))
    return Problem.of(app, node, limits=limits), _load(rng, rate, len(lists(manifest.graph)), width)


def _chain(count: int) -> list[list[int]]:
    return [[place - 1] if place else [] for place in range(count)]


def _dag(rng: np.random.Generator, count: int) -> list[list[int]]:
    """Return layers of one to three stages, each taking from some of the layer before; one stage ends it."""
    parents: list[list[int]] = []
    before: Sequence[int] = []
    while len(parents) < count - 1:
        layer = range(len(parents), min(count - 1, len(parents) + int(rng.choice([1, 1, 2, 3]))))
        for _ in layer:
            some = rng.choice(before, int(rng.integers(1, len(before) + 1)), replace=False) if before else []
            parents.append(sorted(int(one) for one in some))
        before = layer
    taken = {one for above in parents for one in above}
    return [*parents, [place for place in range(count - 1) if place not in taken]]


def _app(parents, gpu, mapped, work, knees, *, weights: int) -> tuple[Manifest, Profile]:
    nodes, specs, stages = [], [], {}
    for place, above in enumerate(parents):
        name = f"s{place}"
        args = [Ref(f"s{one}") for one in above] or [Ref("$x")]
        nodes.append(
            Node(name, tuple(args[:1]), {f"k{i}": ref for i, ref in enumerate(args[1:])}, place in mapped)
        )
        on_gpu = gpu[place]
        need = GPUSpec(memory=GIB) if on_gpu else None
        specs.append(
            StageSpec(name=name, digest="", batched=on_gpu, max_size=BATCHES[-1] if on_gpu else 1, gpu=need)
        )
        stages[name] = StageProfile(
            digest="",
            on_gpu=on_gpu,
            points=_points(work[place], knees[place], on_gpu=on_gpu),
            load=1.0,
            weights=weights if on_gpu else 0,
            activation=GIB // 20,
        )
    graph = Graph(("x",), tuple(nodes), Ref(f"s{len(parents) - 1}"))
    answer = Parameter(name="", kind="json")
    manifest = Manifest(
        app="made",
        stages=tuple(specs),
        graph=graph,
        parameters=(Parameter(name="x", kind="json"),),
        answer=answer,
    )
    return manifest, Profile(app="made", stages=stages, context=GIB // 2, resident=GIB // 16)


def _points(seconds: float, knee: float, *, on_gpu: bool) -> tuple[Point, ...]:
    if not on_gpu:
        return (Point(1, 0.0, 1.0, float(seconds), 0.05),)
    return tuple(
        Point(batch, 0.0, share, float(seconds * (0.5 + 0.5 * batch) * max(1.0, knee / share)), 0.05)
        for share in SHARES
        for batch in BATCHES
    )


def _load(rng: np.random.Generator, rate: float, count: int, width: float) -> Arrivals:
    span = 60.0
    at = np.sort(rng.uniform(0, span, rng.poisson(rate * span)))
    widths = 1 + rng.poisson(width - 1, (len(at), count))
    return Arrivals(at, np.zeros(len(at)), widths.astype(np.int32), span)


if __name__ == "__main__":
    main()
