"""Which living replicas serve which group of the next plan, and which stages a replica keeps loaded.

A replica can serve every group whose stages it has loaded (its resident set). So a change of grain first hands living
replicas over, and starts processes only for what is missing after that. A group that got none of its own is served by
others that are able to (its guests) until it has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from regrain.errors import SpecError
from regrain.plan import Group

ALL, PLAN = "all", "plan"
"""Keep every stage of the app; keep the stages of the replica's group."""


@dataclass(frozen=True, slots=True)
class Living:
    """A warm replica: its number, the group that it serves now, the stages that it has loaded.

    share: what it has of a GPU until its process ends, 0 to 1; None where it follows the group that it serves.
    """

    number: int
    group: str
    resident: frozenset[str]
    share: float | None = None

    def can_serve(self, group: Group) -> bool:
        """Whether it has all stages of a group loaded."""
        return self.resident.issuperset(group.stages)

    def is_of(self, group: Group) -> bool:
        """Whether it is as if it had begun for a group."""
        if self.share is not None and group.gpu is not None and group.gpu.fraction != self.share:
            return False
        return self.can_serve(group)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who serves what.

    homes: the group of each replica that goes on. guests: for groups that got none, those that can stand in.
    missing: by group, the replicas to be started.
    """

    homes: Mapping[int, str]
    guests: Mapping[str, tuple[int, ...]]
    missing: Mapping[str, int]

    @property
    def is_covered(self) -> bool:
        """Whether every group has somebody who serves it at once."""
        return all(self.guests.values())

    def is_free(self, *, regroups: bool) -> bool:
        """Whether the route may swap at once. Where only numbers of replicas change, there is nothing to swap for."""
        return not self.missing or (regroups and self.is_covered)


def cast(living: Sequence[Living], groups: Sequence[Group]) -> Cast:
    """Hand living replicas over to the groups of a plan.

    As many groups as can be get one of their own; then as many replicas as can be are used. Who served a group of the
    same name stays with it where that costs neither. (Maximum bipartite matching by augmenting paths.)
    A group that is to have none is served elsewhere, and gets nobody.
    """
    able = {one.number: [group.name for group in groups if one.is_of(group)] for one in living}
    before = {one.number: one.group for one in living}
    held: dict[str, list[int]] = {group.name: [] for group in groups}
    wanted = {group.name: group.replicas for group in groups}
    for room in ({name: min(1, count) for name, count in wanted.items()}, wanted):
        free = [number for number in able if not any(number in numbers for numbers in held.values())]
        moves = []
        for number in free:
            name = before[number]
            if name in able[number] and len(held[name]) < room[name]:
                held[name].append(number)
            else:
                moves.append(number)
        for number in moves:
            _place(number, able, held, room, set())
    return Cast(
        homes={number: name for name, numbers in held.items() for number in numbers},
        guests={
            group.name: tuple(one.number for one in living if one.can_serve(group))
            for group in groups
            if group.replicas and not held[group.name]
        },
        missing={
            group.name: group.replicas - len(held[group.name])
            for group in groups
            if group.replicas > len(held[group.name])
        },
    )


def _place(
    number: int,
    able: Mapping[int, Sequence[str]],
    held: Mapping[str, list[int]],
    room: Mapping[str, int],
    seen: set[str],
) -> bool:
    """Find a replica a group, moving others on where that helps; return whether one was found."""
    for name in able[number]:
        if name in seen:
            continue
        seen.add(name)
        if len(held[name]) < room[name]:
            held[name].append(number)
            return True
        for other in held[name]:
            if _place(other, able, held, room, seen):
                held[name].remove(other)
                held[name].append(number)
                return True
    return False


def kept(setting: str, stages: Collection[str], order: Sequence[str]) -> tuple[str, ...]:
    """Return the stages that a replica of a group keeps loaded, in the app's order.

    setting: ALL, PLAN, or stages to be kept beside those of the group, such as "detect,recognise".
    """
    if setting == ALL:
        return tuple(order)
    further = () if setting == PLAN else _names(setting)
    return tuple(name for name in order if name in stages or name in further)


def check(setting: str, order: Sequence[str]) -> None:
    """Refuse (SpecError) a setting that names stages which the app does not have."""
    if setting in (ALL, PLAN):
        return
    unknown = [name for name in _names(setting) if name not in order]
    if unknown or not _names(setting):
        allowed = f"{ALL!r}, {PLAN!r}, or stages with commas between: {', '.join(order)}"
        raise SpecError(f"resident was {setting!r}; allowed are {allowed}")


def _names(setting: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in setting.split(",") if name.strip())
