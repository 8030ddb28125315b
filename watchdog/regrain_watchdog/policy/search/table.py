"""P1: the cheapest grain and configurations with which no path takes longer than a deadline.

Separable: costs add up over groups, and latencies add up along paths, in ticks that are rounded up; so what P1 calls
feasible stays feasible with exact times. Latencies are those of one quantile. `chain` solves it exactly where groups
run one after another, `dag` closely with a bound elsewhere, and CP-SAT in control/cpsat.py for as long as one lets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.search.partition import Dag, Lattice
from regrain_watchdog.policy.search.surrogate import Estimate, Options

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
TICKS = 200
"""Ticks of the objective's latency."""
HORIZON = 2.0
"""Times the objective that a design may take: its latencies are rough, so what is late here may be in time."""


@dataclass(frozen=True, slots=True)
class Design:
    """A solution of P1.

    Attributes:
        groups: as places in the table, in an order in which they can run.
        configs: of each, its column in the table.
        cost: dollars a second.
        ticks: of the longest path.
    """

    groups: tuple[int, ...]
    configs: tuple[int, ...]
    cost: float
    ticks: int


@dataclass(frozen=True, eq=False)
class Table:
    """The configurations that P1 chooses from; those of a group that are neither cheapest nor fastest are left out.

    Attributes:
        masks: of the groups.
        cost: by group, ascending dollars a second.
        ticks: by group, descending.
        pick: by group, places in the configurations that it was made of.
    """

    masks: tuple[int, ...]
    cost: tuple[Floats, ...]
    ticks: tuple[Ints, ...]
    pick: tuple[Ints, ...]

    @cached_property
    def padded(self) -> tuple[Floats, Floats]:
        """(groups, most configurations) of costs and ticks; infinite cost and no ticks where there are fewer."""
        width = max((len(one) for one in self.cost), default=0) or 1
        cost = np.full((len(self.masks), width), np.inf)
        ticks = np.zeros((len(self.masks), width))
        for place, (costs, times) in enumerate(zip(self.cost, self.ticks, strict=True)):
            cost[place, : len(costs)] = costs
            ticks[place, : len(times)] = times
        return cost, ticks

    def of(self, ways: Lattice) -> Table:
        """Return the part for the groups of a lattice, in its order; a group without configurations has none there."""
        number = {mask: place for place, mask in enumerate(self.masks)}
        places = [number[mask] for mask in ways.groups]
        return Table(
            ways.groups,
            tuple(self.cost[place] for place in places),
            tuple(self.ticks[place] for place in places),
            tuple(self.pick[place] for place in places),
        )


def tabulate(masks: tuple[int, ...], options: Options, estimate: Estimate, level: int, tick: float) -> Table:
    """Make the table of one quantile.

    Args:
        masks: the groups that options count by.
        options: configurations of them, by group.
        estimate: what is expected of those.
        level: which of the quantiles.
        tick: seconds.
    """
    able = np.flatnonzero(estimate.latency[level] <= HORIZON * TICKS * tick)
    ticks = np.maximum(np.ceil(estimate.latency[level] / tick - 1e-9), 1)
    begins = np.searchsorted(options.group[able], np.arange(len(masks) + 1))
    cost, times, pick = [], [], []
    for low, high in pairwise(begins):
        mine = able[low:high]
        mine = mine[np.lexsort((ticks[mine], estimate.cost[mine]))]
        least = np.minimum.accumulate(ticks[mine])
        better = np.ones(len(mine), bool)
        better[1:] = least[1:] < least[:-1]
        kept = mine[better]
        cost.append(estimate.cost[kept])
        times.append(ticks[kept].astype(np.int64))
        pick.append(kept.astype(np.int64))
    return Table(masks, tuple(cost), tuple(times), tuple(pick))


def sources(dag: Dag, masks: Sequence[int]) -> list[list[int]]:
    """Return, for each of some groups in an order in which they can run, the places of those that it takes from."""
    found = []
    for place, mask in enumerate(masks):
        needed = dag.needs(mask)
        found.append([before for before in range(place) if masks[before] & needed])
    return found


def finishes(after: Sequence[Sequence[int]], ticks: Sequence[int]) -> list[int]:
    """Return when each group ends that takes so many ticks, after those that it takes from."""
    ends: list[int] = []
    for before, taken in zip(after, ticks, strict=True):
        begin = 0
        for place in before:
            begin = max(begin, ends[place])
        ends.append(begin + taken)
    return ends
