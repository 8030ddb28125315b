"""P1 on a DAG: Lagrangian bounds over all grains at once, and designs that are made to fit the deadline.

Each path p of stages from a root to a leaf gets a price m(p) >= 0 for its ticks beyond the deadline D. The relaxed
problem falls apart into groups,

    L(m) = min over grains, sum over groups g of min over c (cost(g, c) + y(g) ticks(g, c))  -  D sum m(p),

with y(g) the sum of m(p) over the paths that touch g, so a shortest way through the ideals solves it for all grains at
once. L(m) never exceeds the optimum; m moves along the subgradient (ticks of each path - D) in Polyak's steps. Each
grain that comes up is made a design: groups on the longest path are made faster where that is cheapest for a tick,
then every group as cheap as its slack allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.search.partition import Dag, Lattice, bits, recuts
from regrain_watchdog.policy.search.table import Design, Table, finishes, sources

Floats = NDArray[np.float64]
MOST_PATHS = 128
"""Paths that are priced; the bound stays one with fewer."""
CLOSE = 0.005
"""Gap between a design's cost and the bound at which it is left at that."""
WIDE = 0.02
"""Gap above which another solver is asked, where there is one."""
MOST_RECUTS = 200
"""Partitions near the best one that are tried."""
PATIENCE = 5
"""Steps without a better bound after which steps are halved."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for one deadline: a design (None where none was) and what no design can cost less than."""

    design: Design | None
    bound: float

    @property
    def gap(self) -> float:
        """How much dearer than the bound the design may be, as a share of its cost."""
        if self.design is None:
            return np.inf
        return 1 - self.bound / self.design.cost if self.design.cost > 0 else 0.0


class Finisher(Protocol):
    """A solver that goes on from a design (control/cpsat.py); it may take its time, and so is no part of this room."""

    def __call__(self, table: Table, ways: Lattice, deadline: int, start: Design) -> Answer:
        """Return the best design within a deadline that it finds, and the bound."""
        ...


class Search:
    """Solves P1 on one lattice, deadline after deadline; prices go on from one to the next."""

    def __init__(self, table: Table, ways: Lattice) -> None:
        self._table, self._ways = table, ways
        cost, ticks = table.padded
        self._cost, self._ticks = cost, ticks
        ways_through = paths(ways.dag)
        self._hits = np.array([[bool(mask & path) for path in ways_through] for mask in ways.groups], float)
        self._price = np.zeros(len(ways_through))
        self._steps = _by_target(ways)
        self._number = {mask: place for place, mask in enumerate(ways.groups)}
        self._after: dict[tuple[int, ...], list[list[int]]] = {}
        self.found: dict[tuple[tuple[int, ...], tuple[int, ...]], Design] = {}

    def solve(self, deadline: int, steps: int) -> Answer:
        """Return the best design within a deadline (ticks) that so many steps find, and the bound."""
        best: Design | None = None
        bound, step, stale = 0.0, 1.0, 0
        for _ in range(steps):
            value, way = self._relaxed(deadline)
            if not way:
                return Answer(None, np.inf)
            stale = 0 if value > bound else stale + 1
            bound = max(bound, value)
            step = step / 2 if stale and stale % PATIENCE == 0 else step
            groups, configs = tuple(group for group, _ in way), [config for _, config in way]
            best = _cheaper(best, self._fitted(groups, configs, deadline))
            if best is not None and best.cost * (1 - CLOSE) <= bound:
                break
            self._move(groups, configs, deadline, step * ((best.cost if best else 2 * bound + 1e-9) - value))
        best = self._recut(best, deadline) if best is not None else None
        return Answer(best, min(bound, best.cost) if best else bound)

    def _relaxed(self, deadline: int) -> tuple[float, list[tuple[int, int]]]:
        """Return L at the prices in force, and the groups and configurations that attain it."""
        weighed = self._cost + (self._hits @ self._price)[:, None] * self._ticks
        config = weighed.argmin(axis=1)
        value = weighed[np.arange(len(weighed)), config]
        best = np.full(self._ways.ideals, np.inf)
        best[0] = 0.0
        came = np.zeros(self._ways.ideals, np.intp)
        for high, (lows, groups) in self._steps:
            reached = best[lows] + value[groups]
            at = int(reached.argmin())
            best[high], came[high] = reached[at], at
        if not np.isfinite(best[-1]):
            return np.inf, []
        way: list[tuple[int, int]] = []
        steps = dict(self._steps)
        ideal = self._ways.ideals - 1
        while ideal:
            lows, groups = steps[ideal]
            group = int(groups[came[ideal]])
            way.append((group, int(config[group])))
            ideal = int(lows[came[ideal]])
        return float(best[-1] - deadline * self._price.sum()), way[::-1]

    def _recut(self, best: Design, deadline: int) -> Design:
        """Merge and split groups of a design for as long as that makes it cheaper, at the prices in force."""
        config = (self._cost + (self._hits @ self._price)[:, None] * self._ticks).argmin(axis=1)
        tried: set[tuple[int, ...]] = set()
        while len(tried) < MOST_RECUTS:
            before = best
            for masks in recuts(self._ways.dag, [self._ways.groups[group] for group in best.groups]):
                if masks in tried or not all(mask in self._number for mask in masks):
                    continue
                tried.add(masks)
                groups = tuple(self._number[mask] for mask in masks)
                if not all(len(self._table.cost[group]) for group in groups):
                    continue  # one of them is never in time
                kept = dict(zip(best.groups, best.configs, strict=True))
                other = self._fitted(
                    groups, [kept.get(group, int(config[group])) for group in groups], deadline
                )
                best = _cheaper(best, other) or best
            if best is before:
                break
        return best

    def _move(self, groups: Sequence[int], configs: Sequence[int], deadline: int, length: float) -> None:
        taken = np.array([self._ticks[group, config] for group, config in zip(groups, configs, strict=True)])
        over = self._hits[list(groups)].T @ taken - deadline
        norm = float(over @ over)
        if norm > 0:
            self._price = np.maximum(0.0, self._price + length / norm * over)

    def _fitted(self, groups: tuple[int, ...], configs: list[int], deadline: int) -> Design | None:
        """Make a design of a grain: faster until it is in time, then cheaper where there is slack."""
        configs = list(configs)
        while True:
            ticks = [int(self._ticks[group, config]) for group, config in zip(groups, configs, strict=True)]
            slack, end = _slack(self._sources(groups), ticks, deadline)
            if end <= deadline:
                break
            if not self._quicken(groups, configs, slack):
                return None
        self._cheapen(groups, configs, deadline)
        return self._keep(groups, configs)

    def _quicken(self, groups: Sequence[int], configs: list[int], slack: Sequence[int]) -> bool:
        """Take a faster configuration of a group that is late: the one that costs least for a tick that it saves."""
        least, chosen = np.inf, None
        for place, (group, config) in enumerate(zip(groups, configs, strict=True)):
            if slack[place] >= 0:
                continue
            costs, times = self._table.cost[group], self._table.ticks[group]
            if config + 1 >= len(costs):
                continue
            saved = np.minimum(times[config] - times[config + 1 :], -slack[place])
            price = (costs[config + 1 :] - costs[config]) / saved
            at = int(price.argmin())
            if price[at] < least:
                least, chosen = float(price[at]), (place, config + 1 + at)
        if chosen is not None:
            configs[chosen[0]] = chosen[1]
        return chosen is not None

    def _cheapen(self, groups: tuple[int, ...], configs: list[int], deadline: int) -> None:
        """Take the cheapest configuration that its slack allows, of the group first that saves most by it."""
        while True:
            ticks = [int(self._ticks[group, config]) for group, config in zip(groups, configs, strict=True)]
            slack, _ = _slack(self._sources(groups), ticks, deadline)
            most, chosen = 1e-15, None
            for place, (group, config) in enumerate(zip(groups, configs, strict=True)):
                allowed = self._table.ticks[group] <= ticks[place] + slack[place]
                first = int(allowed.argmax())
                saved = float(self._table.cost[group][config] - self._table.cost[group][first])
                if saved > most:
                    most, chosen = saved, (place, first)
            if chosen is None:
                return
            configs[chosen[0]] = chosen[1]

    def _sources(self, groups: tuple[int, ...]) -> list[list[int]]:
        if groups not in self._after:
            self._after[groups] = sources(self._ways.dag, [self._ways.groups[group] for group in groups])
        return self._after[groups]

    def _keep(self, groups: tuple[int, ...], configs: list[int]) -> Design:
        key = (groups, tuple(configs))
        if key not in self.found:
            ticks = [int(self._ticks[group, config]) for group, config in zip(groups, configs, strict=True)]
            cost = sum(self._table.cost[group][config] for group, config in zip(groups, configs, strict=True))
            self.found[key] = Design(*key, float(cost), max(finishes(self._sources(groups), ticks)))
        return self.found[key]


def frontier(
    table: Table, ways: Lattice, deadlines: Sequence[int], steps: int, finish: Finisher | None = None
) -> list[Design]:
    """Return the designs that were found for some deadlines, without those that others beat; dearest first.

    Where the bound leaves more than WIDE open, `finish` goes on.
    """
    search = Search(table, ways)
    finished: list[Design] = []
    for deadline in deadlines:
        answer = search.solve(deadline, steps)
        if finish is not None and answer.design is not None and answer.gap > WIDE:
            further = finish(table, ways, deadline, answer.design).design
            finished += [further] if further is not None else []
    kept: list[Design] = []
    for design in sorted([*search.found.values(), *finished], key=lambda one: (one.cost, one.ticks)):
        if not kept or design.ticks < kept[-1].ticks:
            kept.append(design)
    return kept[::-1]


def _cheaper(one: Design | None, other: Design | None) -> Design | None:
    if one is None or (other is not None and other.cost < one.cost):
        return other
    return one


def _slack(after: Sequence[Sequence[int]], ticks: Sequence[int], deadline: int) -> tuple[list[int], int]:
    """Return how many ticks longer each group may take before a path through it is late; and the end."""
    ends = finishes(after, ticks)
    latest = [deadline] * len(ticks)
    for place in range(len(ticks) - 1, -1, -1):
        for before in after[place]:
            latest[before] = min(latest[before], latest[place] - ticks[place])
    return [late - end for late, end in zip(latest, ends, strict=True)], max(ends)


def paths(dag: Dag) -> list[int]:
    """Return ways through the stages from one that needs nothing to one nobody needs, as masks; not all of many."""
    children = [
        [later for later in range(len(dag.stages)) if dag.parents[later] >> stage & 1]
        for stage in range(len(dag.stages))
    ]
    found: list[int] = []
    waiting = [(stage, 1 << stage) for stage in bits(dag.all) if not dag.parents[stage]]
    while waiting and len(found) < MOST_PATHS:
        stage, path = waiting.pop()
        waiting += [(child, path | 1 << child) for child in children[stage]]
        if not children[stage]:
            found.append(path)
    return found


Steps = list[tuple[int, tuple[NDArray[np.intp], NDArray[np.intp]]]]


def _by_target(ways: Lattice) -> Steps:
    """Return a lattice's steps by the ideal that they lead to."""
    found: dict[int, list[tuple[int, int]]] = {}
    for low, high, group in ways.steps:
        found.setdefault(high, []).append((low, group))
    return [
        (high, (np.array([low for low, _ in rows], np.intp), np.array([group for _, group in rows], np.intp)))
        for high, rows in found.items()
    ]
