"""Plans that P1 proposes: for each grain (or over all of them) and quantile, the cheapest for each latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from regrain import grain
from regrain.plan import Plan
from regrain_watchdog.policy.cost import Prices
from regrain_watchdog.policy.search import chain, dag
from regrain_watchdog.policy.search.demand import LEVELS, Calls, Demand
from regrain_watchdog.policy.search.options import Option, Space
from regrain_watchdog.policy.search.partition import Lattice, lattice, partitions, path
from regrain_watchdog.policy.search.surrogate import Surrogate
from regrain_watchdog.policy.search.table import HORIZON, TICKS, Design, Table, finishes, sources, tabulate

MANY = 32
"""Grains up to which each is searched by itself; of more, all are searched at once."""
DEADLINES = (0.6, 0.85, 1.15, 1.6)
"""Times the objective, for which P1 is solved on DAGs."""
STEPS = 12
"""Steps of the Lagrangian search for each."""

Sketch = tuple[tuple[int, Option], ...]
"""A plan as masks and configurations, in an order in which the groups can run."""


@dataclass(frozen=True, slots=True)
class Front:
    """Plans of one quantile, each cheaper and slower than the one before; `ticks` as P1 sees them."""

    sketches: tuple[Sketch, ...]
    ticks: tuple[int, ...]


class Proposer:
    """P1 for one app under one load."""

    def __init__(
        self,
        space: Space,
        ways: Sequence[Lattice],
        demand: Demand,
        tables: tuple[list[Calls], list[Calls]],
        prices: Prices,
        *,
        finish: dag.Finisher | None = None,
    ) -> None:
        self.space = space
        self._finish = finish
        self.ways = ways
        groups = tuple(dict.fromkeys(mask for way in ways for mask in way.groups))
        self.surrogate = Surrogate(space, groups, demand, tables, prices)
        self.tick = space.problem.app.slo.latency / TICKS
        self.options = self.surrogate.proposals()
        self.estimate = self.surrogate.estimate(self.options)
        attainment = space.problem.app.slo.attainment
        self.level = int(np.argmin([abs(level - attainment) for level in LEVELS]))

    def fronts(self) -> list[Front]:
        """Return the proposals; those whose plan for the objective is cheapest come first."""
        found: list[tuple[float, Front]] = []
        for level in range(len(LEVELS)):
            table = self.table(level)
            for way in self.ways:
                designs = self._solve(table.of(way), way)
                if designs:
                    inside = [design.cost for design in designs if design.ticks <= TICKS]
                    sketches = tuple(self._sketch(table.of(way), way, design) for design in designs)
                    front = Front(sketches, tuple(design.ticks for design in designs))
                    found.append((min(inside, default=np.inf), front))
        return [front for _, front in sorted(found, key=lambda one: one[0])]

    def table(self, level: int) -> Table:
        """Return the table of one quantile, over all groups."""
        return tabulate(self.surrogate.groups, self.options, self.estimate, level, self.tick)

    def sketch(self, options: Sequence[tuple[int, Option]]) -> Sketch | None:
        """Return groups in an order in which they can run; None where there is none."""
        order = self.space.dag.order([mask for mask, _ in options])
        given = dict(options)
        return tuple((mask, given[mask]) for mask in order) if order is not None else None

    def ticks(self, sketch: Sketch, taken: dict[tuple[int, Option], int]) -> int:
        """Return the ticks of a plan's longest path, given those of its groups."""
        masks = [mask for mask, _ in sketch]
        each = [taken[group] for group in sketch]
        if self.space.dag.is_chain:
            return sum(each)
        return max(finishes(sources(self.space.dag, masks), each))

    def _solve(self, table: Table, way: Lattice) -> list[Design]:
        if way.is_serial:
            return chain.frontier(table, way, round(HORIZON * TICKS))
        deadlines = [round(factor * TICKS) for factor in DEADLINES]
        return dag.frontier(table, way, deadlines, STEPS, self._finish)

    def _sketch(self, table: Table, way: Lattice, design: Design) -> Sketch:
        chosen = [
            self.surrogate.option(self.options, int(table.pick[group][config]))
            for group, config in zip(design.groups, design.configs, strict=True)
        ]
        found = self.sketch(chosen)
        if found is None:
            raise AssertionError(f"the ways of {way.dag.stages} hold one that cannot run")
        return found


def ways(space: Space) -> list[Lattice]:
    """Return what P1 is solved on: each grain by itself where they are few, all of them at once, or the one to keep."""
    kept = space.problem.limits.grain
    if kept:
        return [path(space.dag, space.dag.masks(grain.parse(kept, space.problem.app.graph)))]
    few = list(islice(partitions(space.dag), MANY + 1))
    if len(few) <= MANY:
        return [path(space.dag, groups) for groups in few]
    return [lattice(space.dag)]


def build(space: Space, sketch: Sketch) -> Plan:
    """Return a sketch as a plan."""
    return Plan(tuple(space.group(mask, option) for mask, option in sketch))
