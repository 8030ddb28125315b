"""What becomes of a plan in truth: the same requests and jitter for every plan, by seed; a cell has one drift."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.granularity import loads
from benchmarks.granularity.cells import Cell
from benchmarks.granularity.pipelines import World
from regrain.plan import Plan
from regrain_watchdog.control.closed import World as Real
from regrain_watchdog.control.closed import drive
from regrain_watchdog.control.observation import Observation
from regrain_watchdog.policy.cost import rate
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Application, make_model
from regrain_watchdog.policy.profile import Profile
from regrain_watchdog.policy.refine import Refined
from regrain_watchdog.simulate.engine import IN_TIME, Run

Floats = NDArray[np.float64]
DRAW = 1
"""The calibration seed that steady cells are planned on."""
LOOK, LOOKS = 60.0, 20
"""Seconds between two looks of who only learns, at most, and looks, at least: what comes after the last but one is
lost."""
LASTING, LEAST_REQUESTS, MOST_REQUESTS = 6000.0, 6000, 200_000
"""Seconds that a draw for planning is to last, within so many requests."""
LESSON = 10_000
"""Requests by whose calls it is learned what stages take: a stage's last 400 calls count."""


@dataclass(frozen=True, slots=True)
class Score:
    """A plan in one seed.

    Attributes:
        hit_rate: share of the judged requests that were answered in time. cost: dollars for each.
        offered, hits: requests of each block of the protocol's length, of a trace.
    """

    hit_rate: float
    cost: float
    offered: tuple[int, ...] = ()
    hits: tuple[int, ...] = ()


class Judge:
    """Runs plans of one cell under the truth, each (plan, seed) once."""

    def __init__(self, world: World, cell: Cell, seeds: Sequence[int], traces: Path | None = None) -> None:
        self.world, self.cell, self.seeds = world, cell, tuple(seeds)
        self.slo = cell.slo * world.warm_latency()
        self.rate = world.protocol.load.part(cell.load) * world.capacity()
        self._app: Application = world.offer(self.slo).app
        self._times = world.truth(zlib.crc32(str(cell).encode()))
        self._traces = traces
        self._scores: dict[tuple[Plan, int], Score] = {}
        self._learned: dict[tuple[Plan, ...], Refined] = {}

    def draw(self, seed: int) -> Arrivals:
        """Return the requests of a seed."""
        return loads.requests(
            self.world.protocol,
            self.world.pipeline,
            self.cell.arrivals,
            self.rate,
            seed=seed,
            traces=self._traces,
        )

    @cached_property
    def calibration(self) -> Arrivals:
        """Requests that may be planned on."""
        return planning(self.world, self.cell.arrivals, self.rate, traces=self._traces)

    @cached_property
    def _lesson(self) -> Arrivals:
        """The begin of the calibration draw, that plans are served for to learn what their stages take."""
        load = self.calibration
        return load if len(load) <= LESSON else load.between(0.0, float(load.at[LESSON]))

    @cached_property
    def _tests(self) -> dict[int, Arrivals]:
        return {seed: self.draw(seed) for seed in self.seeds}

    def learned(self, plans: tuple[Plan, ...]) -> Profile:
        """Return the profile as a controller has it that has seen plans serve the calibration draw, in this order."""
        return self._refined(plans).profile()

    def _refined(self, plans: tuple[Plan, ...]) -> Refined:
        if not plans:
            return self.world.refined()
        if plans not in self._learned:
            refined = deepcopy(self._refined(plans[:-1]))
            true = self.world.true(self.slo, self._times)
            drive(
                _Listener(refined),
                Real(problem=true, step=min(LOOK, self._lesson.span / LOOKS)),
                self._lesson,
                plans[-1],
                seed=DRAW,
            )
            self._learned[plans] = refined
        return self._learned[plans]

    def score(self, plan: Plan, seed: int) -> Score:
        """Return what becomes of a plan in one seed."""
        if (plan, seed) not in self._scores:
            arrivals = self._tests[seed]
            run = Run(make_model(self._app, plan, self._times), arrivals, seed=seed)
            run.advance()
            begin = int(self.world.protocol.cell.warm_up * len(arrivals))
            judged = run.result().outcome[begin:]
            seconds = arrivals.span - float(arrivals.at[begin])
            spent = self.dollars(plan) * seconds / len(judged) + self.world.protocol.prices.request
            self._scores[plan, seed] = Score(
                float((judged == IN_TIME).mean()),
                spent,
                *(self._blocks(arrivals.at[begin:], judged == IN_TIME) if self.is_trace else ()),
            )
        return self._scores[plan, seed]

    @property
    def is_trace(self) -> bool:
        """Whether there is one sequence of arrivals, so that blocks of it are compared and not seeds."""
        return bool(self.world.protocol.arrivals[self.cell.arrivals].file)

    def _blocks(self, at: Floats, is_hit: NDArray[np.bool_]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        block = ((at - at[0]) // self.world.protocol.wins.block).astype(int)
        return tuple(np.bincount(block).tolist()), tuple(np.bincount(block, is_hit).astype(int).tolist())

    def scores(self, plan: Plan) -> list[Score]:
        """Return what becomes of a plan in every seed."""
        return [self.score(plan, seed) for seed in self.seeds]

    def dollars(self, plan: Plan) -> float:
        """Return the dollars a second that a plan costs."""
        offer = self.world.offer(self.slo)
        return rate(plan, offer.app.profile, offer.prices, self.world.card)


@dataclass(frozen=True, slots=True)
class _Listener:
    """Learns from what it observes, and decides nothing."""

    refined: Refined

    def observe(self, seen: Observation) -> None:
        for calls in seen.seen:
            self.refined.take(calls)


def planning(world: World, arrivals: str, rate: float, *, traces: Path | None = None) -> Arrivals:
    """Return a calibration draw, of a process long enough to have all of its states many times."""
    protocol = world.protocol
    if protocol.arrivals[arrivals].file:
        return loads.requests(protocol, world.pipeline, arrivals, rate, seed=DRAW, traces=traces)
    count = int(max(LEAST_REQUESTS, min(MOST_REQUESTS, LASTING * rate)))
    return loads.requests(protocol, world.pipeline, arrivals, rate, seed=DRAW, count=count)
