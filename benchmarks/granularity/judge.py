"""What becomes of a plan in truth: the same requests, drift and jitter for every plan, by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.granularity import loads
from benchmarks.granularity.cells import Cell
from benchmarks.granularity.pipelines import Times, World
from regrain.plan import Plan
from regrain_watchdog.policy.cost import rate
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Application, make_model
from regrain_watchdog.simulate.engine import IN_TIME, Run

DRAW = 1
"""The calibration seed that steady cells are planned on."""
LASTING, LEAST_REQUESTS, MOST_REQUESTS = 600.0, 4000, 30_000
"""Seconds that a draw for planning is to last, within so many requests."""


@dataclass(frozen=True, slots=True)
class Score:
    """A plan in one seed: the share of the judged requests that were answered in time, and dollars for each."""

    hit_rate: float
    cost: float


class Judge:
    """Runs plans of one cell under the truth, each (plan, seed) once."""

    def __init__(self, world: World, cell: Cell, seeds: Sequence[int], traces: Path | None = None) -> None:
        self.world, self.cell, self.seeds = world, cell, tuple(seeds)
        self.slo = cell.slo * world.warm_latency()
        self.rate = world.protocol.load.part(cell.load) * world.capacity()
        self._app: Application = world.offer(self.slo).app
        self._traces = traces
        self._scores: dict[tuple[Plan, int], Score] = {}

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
    def _tests(self) -> dict[int, tuple[Arrivals, Times]]:
        return {seed: (self.draw(seed), self.world.truth(seed)) for seed in self.seeds}

    def truth(self, seed: int) -> tuple[Arrivals, Times]:
        """Return what comes and what is, of a seed."""
        return self._tests[seed]

    def score(self, plan: Plan, seed: int) -> Score:
        """Return what becomes of a plan in one seed."""
        if (plan, seed) not in self._scores:
            arrivals, times = self._tests[seed]
            run = Run(make_model(self._app, plan, times), arrivals, seed=seed)
            run.advance()
            begin = int(self.world.protocol.cell.warm_up * len(arrivals))
            judged = run.result().outcome[begin:]
            seconds = arrivals.span - float(arrivals.at[begin])
            spent = self.dollars(plan) * seconds / len(judged) + self.world.protocol.prices.request
            self._scores[plan, seed] = Score(float((judged == IN_TIME).mean()), spent)
        return self._scores[plan, seed]

    def scores(self, plan: Plan) -> list[Score]:
        """Return what becomes of a plan in every seed."""
        return [self.score(plan, seed) for seed in self.seeds]

    def dollars(self, plan: Plan) -> float:
        """Return the dollars a second that a plan costs."""
        offer = self.world.offer(self.slo)
        return rate(plan, offer.app.profile, offer.prices, self.world.card)


def planning(world: World, arrivals: str, rate: float, *, traces: Path | None = None) -> Arrivals:
    """Return a calibration draw, of a process long enough to have all of its states many times."""
    protocol = world.protocol
    if protocol.arrivals[arrivals].file:
        return loads.requests(protocol, world.pipeline, arrivals, rate, seed=DRAW, traces=traces)
    count = int(max(LEAST_REQUESTS, min(MOST_REQUESTS, LASTING * rate)))
    return loads.requests(protocol, world.pipeline, arrivals, rate, seed=DRAW, count=count)
