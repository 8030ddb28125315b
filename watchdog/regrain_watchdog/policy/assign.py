"""Which living replicas serve which groups of a plan, and how many must be started.

A replica can serve every group whose stages it has resident. That is what makes a change of grain free: the groups of
the new plan are handed replicas that exist, and only what is missing is started.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A group as the plan wants it: its name, its stages, and its number of replicas."""

    name: str
    stages: frozenset[str]
    replicas: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who serves what.

    serving: by group, the replicas (by number) that serve it from the moment the route swaps.
    missing: by group, how many replicas are to be started; nothing for a group that has what it wants.
    """

    serving: Mapping[str, tuple[int, ...]]
    missing: Mapping[str, int]

    @property
    def is_free(self) -> bool:
        """Whether every group is served by replicas that exist, so that the route may swap at once."""
        return all(self.serving.values())

    @property
    def used(self) -> frozenset[int]:
        """The replicas that serve any group."""
        return frozenset(number for numbers in self.serving.values() for number in numbers)


def assign(groups: Iterable[Wanted], resident: Mapping[int, frozenset[str]]) -> Assignment:
    """Hand out living replicas to groups.

    Args:
        groups: the plan's groups.
        resident: by replica, the stages that it has loaded.

    Each replica goes to one group, those with the fewest further stages first, so that specialists are used before
    all-rounders. A group that would have none shares the least shared replica that could serve it, until its own have
    been started.
    """
    wanted = list(groups)
    free = dict(resident)
    serving: dict[str, list[int]] = {group.name: [] for group in wanted}
    for group in wanted:
        able = sorted((len(stages), number) for number, stages in free.items() if group.stages <= stages)
        for _, number in able[: group.replicas]:
            serving[group.name].append(number)
            del free[number]
    missing = {
        group.name: group.replicas - len(serving[group.name])
        for group in wanted
        if len(serving[group.name]) < group.replicas
    }
    for group in wanted:
        if not serving[group.name]:
            serving[group.name].extend(_shared(group, resident, serving))
    return Assignment({name: tuple(numbers) for name, numbers in serving.items()}, missing)


def _shared(
    group: Wanted, resident: Mapping[int, frozenset[str]], serving: Mapping[str, list[int]]
) -> list[int]:
    shares = [number for numbers in serving.values() for number in numbers]
    able = [number for number, stages in resident.items() if group.stages <= stages]
    return [min(able, key=lambda number: (shares.count(number), number))] if able else []
