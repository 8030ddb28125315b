"""Better plans near a good one: a group made cheaper, and another one dearer where that pays for it; merged and split.

What lies near is ranked by P1 (fewest ticks first), and only the first few are shown to the predictor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, islice, product
from typing import TypeVar

import numpy as np

from regrain_watchdog.policy.search.judge import Judge
from regrain_watchdog.policy.search.options import Option, Space
from regrain_watchdog.policy.search.partition import recuts
from regrain_watchdog.policy.search.problem import STABLE, Candidate
from regrain_watchdog.policy.search.proposals import Proposer, Sketch, build

BREADTH = 12
"""Neighbours of a plan that are shown to the predictor before it counts as the best of them."""
PAIRS = 400
"""Changes of a group that are combined two by two at most, as a product."""
Key = tuple[int, Option]
Step = TypeVar("Step", int, float)


class Descent:
    """Walks from plans to better ones."""

    def __init__(self, proposer: Proposer, judge: Judge) -> None:
        self._proposer, self._judge = proposer, judge
        self._space: Space = proposer.space
        self._table = proposer.table(proposer.level)
        self._cost: dict[Key, float] = {}
        self._ticks: dict[Key, int] = {}
        self._stable: dict[Key, bool] = {}

    def walk(self, sketch: Sketch, *, recut: bool) -> None:
        """Go on from a plan until none of its neighbours is better, or no more may be asked.

        recut: whether those of other grains are neighbours, too.
        """
        here = self._judge.judge(build(self._space, sketch))
        while here is not None:
            better = self._step(sketch, here, recut=recut)
            if better is None:
                return
            sketch, here = better

    def _step(self, sketch: Sketch, here: Candidate, *, recut: bool) -> tuple[Sketch, Candidate] | None:
        met = self._judge.meets(here)
        near = self._ranked(sketch, here.cost if met else np.inf, recut=recut)
        tried = 0
        for other in near:
            plan = build(self._space, other)
            if self._judge.place(plan) is None:
                continue
            found = self._judge.judge(plan)
            if found is None:
                return None
            if self._judge.is_better(found, here):
                return other, found
            tried += 1
            if tried >= BREADTH:
                return None
        return None

    def _ranked(self, sketch: Sketch, below: float, *, recut: bool) -> list[Sketch]:
        """Return the neighbours that cost less than `below`, those with the fewest ticks first.

        Without a bound the objective is missed as it is, and those that cannot bear the load may be better yet.
        """
        changes = {place: self._changes(*key) for place, key in enumerate(sketch)}
        cuts = list(self._recut(sketch, below)) if recut else []
        self._weigh(
            [key for keys in changes.values() for key in keys]
            + list(sketch)
            + [key for cut in cuts for key in cut]
        )
        able = [
            cut
            for cut in cuts
            if (below == np.inf or all(self._stable[key] for key in cut))
            and self._price(cut) < below * (1 - 1e-9)
        ]
        near = [*self._changed(sketch, changes, below), *able]
        return sorted(near, key=lambda other: (self._proposer.ticks(other, self._ticks), self._price(other)))

    def _price(self, sketch: Iterable[Key]) -> float:
        return sum(self._cost[key] for key in sketch)

    def _changed(self, sketch: Sketch, changes: dict[int, list[Key]], below: float) -> Iterator[Sketch]:
        """Return a plan with one group changed, then with two, as far as it costs less than a bound.

        There are tens of thousands on a flow of twelve stages, so each is priced by what it differs in.
        """
        busy = {place for place, key in enumerate(sketch) if below < np.inf and not self._stable[key]}
        limit = below * (1 - 1e-9) - self._price(sketch)
        more = {
            place: [(key, self._dearer(key, sketch[place], below)) for key in keys]
            for place, keys in changes.items()
        }
        for place, keys in more.items():
            for key, dearer in keys if busy <= {place} else ():
                if dearer < limit:
                    yield (*sketch[:place], key, *sketch[place + 1 :])
        for one, other in combinations(more, 2):
            both = islice(product(more[one], more[other]), PAIRS) if busy <= {one, other} else ()
            for (first, a), (second, b) in both:
                if a + b < limit:
                    changed = list(sketch)
                    changed[one], changed[other] = first, second
                    yield tuple(changed)

    def _dearer(self, key: Key, now: Key, below: float) -> float:
        """Return what a group costs more in another configuration; all there is, where a bound bars it as too busy."""
        able = below == np.inf or self._stable[key]
        return self._cost[key] - self._cost[now] if able else np.inf

    def _changes(self, mask: int, option: Option) -> list[Key]:
        """Return the configurations next to one: a step of each setting, or of level and replicas at once."""
        kind = self._space.kind(mask)
        if kind is None:
            return []
        most = self._space.problem.limits.replicas
        found: dict[Option, None] = {}
        for level in _near(kind.levels, option.level):
            for more in (-2, -1, 0, 1, 2):
                found[Option(level, option.max_size, option.max_wait, option.replicas + more)] = None
        for size in _near(kind.sizes, option.max_size):
            for wait in _near(kind.waits, option.max_wait):
                for more in (-1, 0):
                    waits = wait if size > 1 else 0.0
                    found[Option(option.level, size, waits, option.replicas + more)] = None
        return [(mask, one) for one in found if 1 <= one.replicas <= most and one != option]

    def _recut(self, sketch: Sketch, below: float) -> Iterator[Sketch]:
        """Return the plan with two groups merged, or one split, in the fastest configurations that are cheaper."""
        given = dict(sketch)
        self._weigh(sketch)
        for masks in recuts(self._space.dag, [mask for mask, _ in sketch]):
            kept = [(mask, given[mask]) for mask in masks if mask in given]
            keys = self._fill([mask for mask in masks if mask not in given], below - self._price(kept))
            if keys is not None:
                given_or_new = given | dict(keys)
                yield tuple((mask, given_or_new[mask]) for mask in masks)

    def _fill(self, masks: list[int], budget: float) -> list[Key] | None:
        """Return the fastest configurations of one or two groups that cost less than a budget; None without any."""
        surrogate = self._proposer.surrogate
        if not all(mask in surrogate.number for mask in masks):
            return None
        places = [surrogate.number[mask] for mask in masks]
        total, ticks = np.zeros(1), np.zeros(1)
        for place in places:
            total = (total[:, None] + self._table.cost[place][None, :]).reshape(-1)
            ticks = (ticks[:, None] + self._table.ticks[place][None, :]).reshape(-1)
        able = np.flatnonzero(total < budget)
        if not len(able):
            return None
        best = able[int(ticks[able].argmin())]
        columns = np.unravel_index(best, [len(self._table.cost[place]) for place in places])
        picks = [int(self._table.pick[place][column]) for place, column in zip(places, columns, strict=True)]
        return [surrogate.option(self._proposer.options, pick) for pick in picks]

    def _weigh(self, keys: Iterable[Key]) -> None:
        """Learn from P1 what configurations cost and take."""
        new = list(dict.fromkeys(key for key in keys if key not in self._cost))
        if not new:
            return
        estimate = self._proposer.surrogate.estimate(self._proposer.surrogate.flat(new))
        ticks = np.ceil(estimate.latency[self._proposer.level] / self._proposer.tick)
        for place, key in enumerate(new):
            self._stable[key] = bool(estimate.busy[place] <= STABLE)
            self._cost[key] = float(estimate.cost[place])
            self._ticks[key] = int(ticks[place]) if np.isfinite(ticks[place]) else 1 << 30


def _near(allowed: tuple[Step, ...], value: Step) -> tuple[Step, ...]:
    """Return a value with those next to it."""
    at = allowed.index(value)
    return allowed[max(0, at - 1) : at + 2]
