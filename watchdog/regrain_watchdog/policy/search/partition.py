"""Every way to cut a flow into groups: convex ones that can run one after another.

Sets of stages are bit masks over the graph's order. A partition into groups that can be ordered is a way from nothing
to everything through sets that are closed under what comes before (ideals); each step of the way is a group. So the
ideals hold all partitions in a fraction of their number: a chain of 12 stages has 2,048 partitions and 13 ideals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from regrain.errors import SpecError
from regrain.grain import Groups
from regrain.graph import Graph

MOST_STEPS = 50_000
"""Steps between ideals that are looked at; flows wider than that are cut into connected groups alone, see `lattice`."""
MOST_STAGES = 62
"""Stages that fit into a mask of 64 bits with a sign."""


@dataclass(frozen=True, slots=True)
class Dag:
    """A flow's stages as bits, in topological order.

    Attributes:
        stages: their names; the first is bit 0.
        parents: by stage, those whose results it takes.
        before, after: by stage, those that it is reachable from, and those that are reachable from it.
    """

    stages: tuple[str, ...]
    parents: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, graph: Graph) -> Dag:
        """Take it from a graph; SpecError where it has more stages than can be planned."""
        names = graph.stages
        if len(names) > MOST_STAGES:
            raise SpecError(f"plans are made for up to {MOST_STAGES} stages, the app has {len(names)}")
        bit = {name: place for place, name in enumerate(names)}
        return cls.made(names, [sum(1 << bit[parent] for parent in graph.parents(name)) for name in names])

    @classmethod
    def made(cls, stages: Sequence[str], parents: Sequence[int]) -> Dag:
        """Make one of masks of parents, each of which holds earlier stages alone."""
        before: list[int] = []
        for mask in parents:
            before.append(mask)
            for parent in bits(mask):
                before[-1] |= before[parent]
        after = [
            sum(1 << later for later in range(len(stages)) if before[later] >> place & 1)
            for place in range(len(stages))
        ]
        return cls(tuple(stages), tuple(parents), tuple(before), tuple(after))

    @property
    def all(self) -> int:
        """Every stage."""
        return (1 << len(self.stages)) - 1

    @property
    def is_chain(self) -> bool:
        """Whether the stages can run in one order only, so that the times of all groups add up."""
        return all(mask == (1 << place) - 1 for place, mask in enumerate(self.before))

    def needs(self, group: int) -> int:
        """Return the stages outside of a group that it takes results from."""
        found = 0
        for stage in bits(group):
            found |= self.parents[stage]
        return found & ~group

    def is_convex(self, group: int) -> bool:
        """Whether no path leaves a group and comes back into it."""
        above = below = 0
        for stage in bits(group):
            above |= self.before[stage]
            below |= self.after[stage]
        return not above & below & ~group

    def is_connected(self, group: int) -> bool:
        """Whether the group holds together by what its stages hand to each other."""
        reached = group & -group
        while True:
            wider = reached
            for stage in bits(group):
                near = (self.parents[stage] | 1 << stage) & group
                wider |= near if near & wider else 0
            if wider == reached:
                return reached == group
            reached = wider

    def order(self, groups: Sequence[int]) -> tuple[int, ...] | None:
        """Return groups so that each comes after those it takes from; None where two wait for each other."""
        waiting = sorted(groups, key=lambda group: group & -group)
        ordered: list[int] = []
        done = 0
        while waiting:
            ready = next((group for group in waiting if not self.needs(group) & ~done), None)
            if ready is None:
                return None
            waiting.remove(ready)
            ordered.append(ready)
            done |= ready
        return tuple(ordered)

    def mask(self, stages: Sequence[str]) -> int:
        """Return stages as a mask."""
        return sum(1 << self.stages.index(stage) for stage in stages)

    def names(self, group: int) -> tuple[str, ...]:
        """Return the stages of a mask, in topological order."""
        return tuple(self.stages[stage] for stage in bits(group))

    def masks(self, groups: Groups) -> tuple[int, ...]:
        """Return a grain's groups as masks."""
        return tuple(self.mask(group) for group in groups)


def bits(mask: int) -> Iterator[int]:
    """Return the places of the bits of a mask, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def partitions(dag: Dag) -> Iterator[tuple[int, ...]]:
    """Return every partition into groups that can run one after another, each once and in such an order.

    They come lazily, a group with the first stage that is left being chosen at each step, larger ones first. What can
    no more be ordered is given up at once: of groups that wait for each other, and of a convex group that was cut in
    two by them, some have been chosen before.
    """
    yield from _rest(dag, dag.all, [])


def _rest(dag: Dag, left: int, chosen: list[int]) -> Iterator[tuple[int, ...]]:
    if not left:
        ordered = dag.order(chosen)
        if ordered is not None:
            yield ordered
        return
    first = left & -left
    rest = left ^ first
    further = rest
    while True:
        group = first | further
        if dag.is_convex(group) and not _waits(dag, [*chosen, group]):
            yield from _rest(dag, left & ~group, [*chosen, group])
        if not further:
            return
        further = (further - 1) & rest


def _waits(dag: Dag, chosen: Sequence[int]) -> bool:
    """Whether the newest of some groups waits for itself through the others."""
    newest = chosen[-1]
    above = reached = 0
    for stage in bits(newest):
        above |= dag.before[stage]
    while reached != above:
        reached = above
        for group in chosen[:-1]:
            if group & above:
                for stage in bits(group):
                    above |= dag.before[stage]
    below = 0
    for stage in bits(newest):
        below |= dag.after[stage]
    return any(group & above and group & below for group in chosen[:-1])


def recuts(dag: Dag, groups: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Return the partitions next to one, in orders in which they can run: two groups merged, or one split in two."""
    for one, other in combinations(groups, 2):
        rest = [group for group in groups if group not in (one, other)]
        merged = dag.order([*rest, one | other]) if dag.is_convex(one | other) else None
        if merged is not None:
            yield merged
    for group in groups:
        rest = [other for other in groups if other != group]
        for part in _beginnings(dag, group):
            split = dag.order([*rest, part, group & ~part])
            if split is not None:
                yield split


def _beginnings(dag: Dag, group: int) -> list[int]:
    """Return the parts of a group that can run before its rest."""
    found = {0}
    for stage in bits(group):
        needed = dag.before[stage] & group
        found |= {part | 1 << stage for part in found if not needed & ~part}
    return sorted(found - {0, group})


@dataclass(frozen=True, slots=True)
class Lattice:
    """The ways from nothing to everything: each step adds a group to what has run before it.

    Attributes:
        dag: of which.
        groups: that occur, as masks.
        steps: (from, to, group) as numbers of ideals and of groups, ascending by `to`; ideal 0 is nothing and the last
            one everything.
        ideals: how many there are.
        is_serial: whether on each way each group waits for the one before, so that all latencies add up.
    """

    dag: Dag
    groups: tuple[int, ...]
    steps: tuple[tuple[int, int, int], ...]
    ideals: int
    is_serial: bool


def lattice(dag: Dag) -> Lattice:
    """Return the ways of all partitions; of very wide flows those whose groups are connected.

    Raises:
        SpecError: it is too wide even so.
    """
    ideals = _ideals(dag)
    pairs = [
        (low, high)
        for high in range(len(ideals))
        for low in range(high)
        if ideals[low] & ideals[high] == ideals[low]
    ]
    if len(pairs) > MOST_STEPS:
        pairs = [(low, high) for low, high in pairs if dag.is_connected(ideals[high] & ~ideals[low])]
    if len(pairs) > MOST_STEPS:
        raise _too_wide(dag)
    number: dict[int, int] = {}
    steps = tuple(
        (low, high, number.setdefault(ideals[high] & ~ideals[low], len(number))) for low, high in pairs
    )
    return Lattice(dag, tuple(number), steps, len(ideals), dag.is_chain)


def path(dag: Dag, groups: Sequence[int]) -> Lattice:
    """Return the one way of one partition; its groups in an order in which they can run."""
    steps = tuple((place, place + 1, place) for place in range(len(groups)))
    serial = all(dag.needs(group) & before for before, group in pairwise(groups))
    return Lattice(dag, tuple(groups), steps, len(groups) + 1, serial)


def _ideals(dag: Dag) -> list[int]:
    """Return every set of stages that holds what its members need, smaller ones first."""
    found = {0}
    newest = [0]
    while newest:
        grown = {
            ideal | 1 << stage
            for ideal in newest
            for stage in range(len(dag.stages))
            if not ideal >> stage & 1 and not dag.parents[stage] & ~ideal
        }
        newest = sorted(grown)
        found |= grown
        if len(found) ** 2 > 200 * MOST_STEPS:
            raise _too_wide(dag)
    return sorted(found, key=lambda ideal: (ideal.bit_count(), ideal))


def _too_wide(dag: Dag) -> SpecError:
    return SpecError(
        f"the flow of {len(dag.stages)} stages has too many that could run beside each other to search all of its "
        f"grains; name the grain that is to be kept"
    )
