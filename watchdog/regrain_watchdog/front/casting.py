"""Which living replicas a plan takes over, where what some have of a GPU stays as it is until their process ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from regrain.plan import Group
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.policy import resident
from regrain_watchdog.policy.resident import Cast, Living


def cast(living: Sequence[Living], groups: Sequence[Group], gpus: Gpus | None) -> Cast:
    """Hand living replicas over to the groups of a plan (policy/resident.py), each with what is fixed of its share.

    A replica whose share is fixed gets a home in groups that it has enough for, for which others are started else. As a
    guest it serves any whose stages it has, as what it is.
    """
    if gpus is None:
        return resident.cast(living, groups)
    found = resident.cast([_at_home(one, groups, gpus) for one in living], groups)
    stages = {group.name: group.stages for group in groups}
    guests = {
        name: tuple(one.number for one in living if one.resident.issuperset(stages[name]))
        for name in found.guests
    }
    return replace(found, guests=guests)


def _at_home(one: Living, groups: Sequence[Group], gpus: Gpus) -> Living:
    """Return a replica with only the stages of groups that its share is enough for; no stage is in two groups."""
    able = [group for group in groups if gpus.is_enough(one.number, group)]
    return replace(one, resident=one.resident.intersection(stage for group in able for stage in group.stages))
