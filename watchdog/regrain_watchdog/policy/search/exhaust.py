"""Every plan, where they can be counted: what proves a choice, and what finds the plans that P1 has misjudged."""

from __future__ import annotations

from collections.abc import Iterator

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


def cheaper_plans(proposer: Proposer, below: float) -> Iterator[Sketch] | None:
    """Return every plan that costs less than a bound, those with the fewest ticks first; None where they are too many.

    With a finite bound there are plans that meet the objective, and so those that cannot bear the load are left out.
    """
    if any(len(way.steps) != len(way.groups) for way in proposer.ways):
        return None
    groups = _Groups(proposer, busy=STABLE if np.isfinite(below) else np.inf)
    if sum(groups.count(way) for way in proposer.ways) > MOST:
        return None
    return groups.cheapest(below)


class _Groups:
    """The configurations of each group that are not too busy, with what they cost and take."""

    def __init__(self, proposer: Proposer, *, busy: float) -> None:
        self._proposer = proposer
        space, surrogate = proposer.space, proposer.surrogate
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
            stable = np.flatnonzero(estimate.busy <= busy)
            self._keys[place] = [keys[at] for at in stable]
            self._cost.append(estimate.cost[stable])
            self._ticks.append(estimate.latency[proposer.level][stable] / proposer.tick)

    def count(self, way: Lattice) -> int:
        """Return how many plans there are of one grain."""
        total = 1
        for mask in way.groups:
            total *= len(self._keys[self._proposer.surrogate.number[mask]])
        return total

    def cheapest(self, below: float) -> Iterator[Sketch]:
        """Return the plans of all grains that cost less than a bound, those with the fewest ticks first."""
        rows: list[tuple[float, int, int]] = []
        for number, way in enumerate(self._proposer.ways):
            cost, ticks = self._tabulated(way)
            able = np.flatnonzero(cost < below * (1 - 1e-9))
            rows += [(float(ticks[at]), number, int(at)) for at in able]
        for _, number, at in sorted(rows):
            way = self._proposer.ways[number]
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
