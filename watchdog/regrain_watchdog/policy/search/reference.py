"""Every plan within the limits, without any wit: what planners are held against where it can be afforded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from regrain.grain import parse
from regrain.plan import Plan
from regrain_watchdog.policy.search.options import Space, configurations
from regrain_watchdog.policy.search.partition import partitions


def every_plan(space: Space) -> Iterator[Plan]:
    """Return every plan of an app within its limits but for fluid ones, whether it fits on the node or not."""
    limits = space.problem.limits
    replicas = range(1, limits.replicas + 1)
    kept = limits.grain and space.dag.masks(parse(limits.grain, space.problem.app.graph))
    for groups in [kept] if kept else partitions(space.dag):
        kinds = [space.kind(mask) for mask in groups]
        choices = [list(configurations(kind, replicas)) if kind is not None else [] for kind in kinds]
        for options in product(*choices):
            yield Plan(tuple(space.group(mask, option) for mask, option in zip(groups, options, strict=True)))
