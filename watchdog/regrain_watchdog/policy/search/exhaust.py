"""Every plan, where they can be counted: what proves a choice, and what finds the plans that P1 has misjudged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.search.dag import paths
from regrain_watchdog.policy.search.options import configurations
from regrain_watchdog.policy.search.partition import Lattice
from regrain_watchdog.policy.search.problem import STABLE
from regrain_watchdog.policy.search.proposals import Proposer, Sketch

Floats = NDArray[np.float64]
MOST = 200_000
"""Plans that are counted at most."""


def cheaper_plans(proposer: Proposer, below: float) -> tuple[Iterator[Sketch], bool]:
    """Return plans that cost less than a bound, those with the fewest ticks first, and whether they are all there are.

    They are those of the grains that have fewest, as many grains as can be counted. With a finite bound there are plans
    that meet the objective, and so those that cannot bear the load are left out.
    """
    if any(len(way.steps) != way.ideals - 1 for way in proposer.ways):  # a way of many grains
        return iter(()), False
    groups = _Groups(proposer, below)
    counts = [groups.count(way) for way in proposer.ways]
    order = sorted(range(len(counts)), key=counts.__getitem__)
    sums = accumulate(counts[place] for place in order)
    able = [place for place, so_far in zip(order, sums, strict=True) if so_far <= MOST]
    some = [proposer.ways[place] for place in able if counts[place]]
    return groups.cheapest(some, below), len(able) == len(order)


class _Groups:
    """The configurations of each group that cost less than a bound and, where it is finite, are not too busy."""

    def __init__(self, proposer: Proposer, below: float) -> None:
        self._proposer = proposer
        space, surrogate = proposer.space, proposer.surrogate
        busy = STABLE if np.isfinite(below) else np.inf
        replicas = range(1, space.problem.limits.replicas + 1)
        kinds = [(mask, space.kind(mask)) for mask in surrogate.groups]
        self._keys = [
            [(mask, option) for option in configurations(kind, replicas)] if kind is not None else []
            for mask, kind in kinds
        ]
        self._cost: list[Floats] = []
        self._ticks: list[Floats] = []
        for place, keys in enumerate(self._keys):
            estimate = surrogate.estimate(surrogate.flat(keys))
            able = np.flatnonzero((estimate.busy <= busy) & (estimate.cost < below))
            self._keys[place] = [keys[at] for at in able]
            self._cost.append(estimate.cost[able])
            self._ticks.append(estimate.latency[proposer.level][able] / proposer.tick)

    def count(self, way: Lattice) -> int:
        """Return how many plans there are of one grain."""
        total = 1
        for mask in way.groups:
            total *= len(self._keys[self._proposer.surrogate.number[mask]])
        return total

    def cheapest(self, ways: Sequence[Lattice], below: float) -> Iterator[Sketch]:
        """Return the plans of some grains that cost less than a bound, those with the fewest ticks first."""
        rows: list[tuple[float, int, int]] = []
        for number, way in enumerate(ways):
            cost, ticks = self._tabulated(way)
            able = np.flatnonzero(cost < below * (1 - 1e-9))
            rows += [(float(ticks[at]), number, int(at)) for at in able]
        for _, number, at in sorted(rows):
            way = ways[number]
            places = [self._proposer.surrogate.number[mask] for mask in way.groups]
            picks = np.unravel_index(at, [len(self._keys[place]) for place in places])
            yield tuple(self._keys[place][int(pick)] for place, pick in zip(places, picks, strict=True))

    def _tabulated(self, way: Lattice) -> tuple[Floats, Floats]:
        """Return the costs of all plans of a grain, and their ticks along the longest path of stages."""
        places = [self._proposer.surrogate.number[mask] for mask in way.groups]
        cost = _summed([self._cost[place] for place in places])
        longest = np.zeros(1)
        for path in [way.dag.all] if way.is_serial else paths(way.dag):
            ticks = [
                self._ticks[place] if mask & path else np.zeros(len(self._ticks[place]))
                for place, mask in zip(places, way.groups, strict=True)
            ]
            longest = np.maximum(longest, _summed(ticks))
        return cost, longest


def _summed(parts: list[Floats]) -> Floats:
    """Return the sums of one entry of each part, for all ways to take them, in the order of unravel_index."""
    total = np.zeros(1)
    for part in parts:
        total = (total[:, None] + part[None, :]).reshape(-1)
    return total
