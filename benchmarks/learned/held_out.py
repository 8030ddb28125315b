"""Plans of pipelines and stretches of traces that the learned predictor was never trained on.

The pipelines are the protocol's of benchmarks/granularity, with all that it puts between predictors and truth: a
profile of noisy calls, and a drift that no profile saw. The traces are recorded ones where their folder is given.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.granularity import loads
from benchmarks.granularity.pipelines import Offer, Setting, World
from benchmarks.granularity.protocol import read
from benchmarks.learned.draw import UNSEEN, Drawn, capacity, drawn
from regrain.plan import Fluid, GpuShare, Group, Lane, Plan
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Model, make_model
from regrain_watchdog.policy.service import ServiceTime

REQUESTS = 2000
"""Of each window."""
CUT, FLUID = 0.5, 0.15
"""Chance of a cut between two stages, and of a plan to be one fluid group."""
TRACES = 0.4
"""Share of the loads that are recorded, where the folder of traces is given."""
DRAWN = 4000
"""Requests from which the mean widths are told."""


@dataclass(frozen=True, slots=True, eq=False)
class Unseen:
    """A plan in truth and as a profile has it, and a load; `of`: the pipeline, and what kind of load."""

    of: str
    process: str
    truth: Drawn
    believed: Model


def unseen(count: int, seed: int, traces: Path | None) -> Iterator[Unseen]:
    """Draw plans and loads of the protocol's pipelines in turn, then of shapes that are not trained on."""
    protocol = read()
    worlds = [World(protocol, one.name, Setting.of(protocol)) for one in protocol.pipeline]
    for number, world in zip(range(count), itertools.cycle(worlds), strict=False):
        yield _of_protocol(world, np.random.default_rng((seed, number)), traces)
    for number in range(count // 2):
        one = drawn(seed, number, UNSEEN)
        yield Unseen(one.shape, one.process, one, one.model)


def _of_protocol(world: World, rng: np.random.Generator, traces: Path | None) -> Unseen:
    protocol = world.protocol
    synthetic = [name for name, law in protocol.arrivals.items() if not law.file]
    recorded = [name for name, law in protocol.arrivals.items() if law.file]
    kind = str(rng.choice(recorded if traces and rng.random() < TRACES else synthetic))
    offer = world.offer(world.warm_latency() * float(np.exp(rng.uniform(np.log(0.6), np.log(4.0)))))
    plan = _plan(offer, rng)
    times = {name: ServiceTime.of(name, one) for name, one in offer.app.profile.stages.items()}
    believed = make_model(offer.app, plan, times)
    truth = make_model(offer.app, plan, world.truth(int(rng.integers(1000))))
    usual = loads.requests(
        protocol, world.pipeline, "poisson", 1.0, seed=int(rng.integers(1000)), count=DRAWN
    )
    rate = capacity(believed, usual.widths) * float(rng.uniform(0.2, 1.2))
    load = _window(world, kind, rate, rng, traces)
    return Unseen(world.pipeline.name, kind, Drawn(world.pipeline.name, kind, truth, load), believed)


def _window(world: World, kind: str, rate: float, rng: np.random.Generator, traces: Path | None) -> Arrivals:
    """Return REQUESTS of a load, of a trace any that follow each other, brought to the rate."""
    protocol = world.protocol
    seed = protocol.seeds.first + int(rng.integers(protocol.seeds.test))
    if not protocol.arrivals[kind].file:
        return loads.requests(protocol, world.pipeline, kind, rate, seed=seed, count=REQUESTS)
    whole = loads.requests(protocol, world.pipeline, kind, rate, seed=seed, traces=traces)
    first = int(rng.integers(max(1, len(whole) - REQUESTS)))
    last = min(first + REQUESTS, len(whole) - 1)
    return whole.between(float(whole.at[first]), float(whole.at[last])).scaled(rate)


def _plan(offer: Offer, rng: np.random.Generator) -> Plan:
    """Draw a plan: cuts between stages in topological order, each group with any configuration."""
    stages = offer.app.graph.stages
    if rng.random() < FLUID:
        return Plan((_fluid(offer, stages, rng),))
    cuts = [0, *(place for place in range(1, len(stages)) if rng.random() < CUT), len(stages)]
    return Plan(tuple(_group(offer, stages[begin:end], rng) for begin, end in itertools.pairwise(cuts)))


def _group(offer: Offer, stages: tuple[str, ...], rng: np.random.Generator) -> Group:
    on_gpu = any(offer.app.profile.stages[stage].on_gpu for stage in stages)
    return Group(
        stages=stages,
        replicas=int(rng.integers(1, 9)),
        max_size=_size(offer, stages, rng),
        max_wait=float(rng.choice(offer.limits.waits)),
        gpu=GpuShare(fraction=_share(offer, rng)) if on_gpu else None,
    )


def _fluid(offer: Offer, stages: tuple[str, ...], rng: np.random.Generator) -> Group:
    lanes = tuple(
        Lane(
            stage=stage,
            fraction=_share(offer, rng) if offer.app.profile.stages[stage].on_gpu else 0.0,
            max_size=_size(offer, (stage,), rng),
        )
        for stage in stages
    )
    fluid = Fluid(share=float(rng.integers(1, 4)), lanes=lanes)
    return Group(stages=stages, replicas=int(rng.integers(2, 12)), gpu=GpuShare(fraction=1.0), fluid=fluid)


def _size(offer: Offer, stages: tuple[str, ...], rng: np.random.Generator) -> int:
    if not any(offer.app.profile.stages[stage].on_gpu for stage in stages):
        return 1
    return int(rng.choice(offer.limits.sizes or (1,)))


def _share(offer: Offer, rng: np.random.Generator) -> float:
    return float(rng.choice([share for share in offer.limits.shares or (1.0,) if share <= 0.6]))
