"""Which living replicas a plan takes over, where what some have of a GPU stays as it is until their process ends."""

from __future__ import annotations

from collections.abc import Sequence

from regrain.plan import Group
from regrain_watchdog.front.gpus import Fixed, Gpus
from regrain_watchdog.policy import resident
from regrain_watchdog.policy.resident import Cast, Living


def cast(living: Sequence[Living], groups: Sequence[Group], gpus: Gpus | None) -> Cast:
    """Hand living replicas over to the groups of a plan (policy/resident.py), each with what is fixed of its share.

    A replica whose share is fixed gets a home in groups of just that share, for which others are started else. As a
    guest it serves any whose stages it has, as what it is.
    """
    if gpus is None:
        return resident.cast(living, groups)
    by_share: dict[Fixed, list[Group]] = {}
    for group in groups:
        by_share.setdefault(gpus.fixed_for(group), []).append(group)
    casts = [
        resident.cast([one for one in living if gpus.fixed(one.number) == fixed], alike)
        for fixed, alike in by_share.items()
    ]
    homes = {number: name for part in casts for number, name in part.homes.items()}
    return Cast(
        homes=homes,
        guests={
            group.name: tuple(one.number for one in living if one.resident.issuperset(group.stages))
            for group in groups
            if group.replicas and group.name not in homes.values()
        },
        missing={name: count for part in casts for name, count in part.missing.items()},
    )
