"""What the controller sees of a system that serves: the live one, or one on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from regrain.plan import Group, Plan
from regrain_watchdog.policy.refine import Seen
from regrain_watchdog.policy.resident import Living


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Observation:
    """What happened since the observation before, about a second ago, and how things stand.

    Attributes:
        now: seconds on a clock that never goes back.
        at: (n,) when requests arrived, on that clock; ascending, none after `now`.
        size: (n,) of each.
        first: the number of the first of them, counting all requests from 0 on.
        widened: (m, 3) widths that have become known: the request's number, the list, its items.
        hits, misses: requests that ended in time, and that did not.
        plan: in force.
        living: its replicas that are warm, and what they have loaded.
        is_changing: whether a change of plan is under way, the end of the old one's calls included.
        is_held: whether an operator holds the plan.
        seen: calls of stages.
    """

    now: float
    at: NDArray[np.float64]
    size: NDArray[np.float64]
    first: int
    widened: NDArray[np.int64]
    hits: int
    misses: int
    plan: Plan
    living: tuple[Living, ...] = ()
    is_changing: bool = False
    is_held: bool = False
    seen: tuple[Seen, ...] = field(default=())


def widened(widths: NDArray[np.int32], first: int) -> NDArray[np.int64]:
    """Return widths that are known as requests arrive, as Observation.widened has them.

    Args:
        widths: (n, lists) of requests in succession.
        first: the number of the first.
    """
    count, lists = widths.shape
    numbers = np.repeat(np.arange(first, first + count), lists)
    places = np.tile(np.arange(lists), count)
    return np.stack([numbers, places, widths.ravel()], axis=1).astype(np.int64)


def living_of(plan: Plan, keeps: Callable[[Group], Iterable[str]] | None = None) -> tuple[Living, ...]:
    """Return a plan's replicas once all are warm, each with its group's stages, or what `keeps` says of a group."""
    groups = [group for group in plan.groups for _ in range(group.replicas)]
    return tuple(
        Living(number, group.name, frozenset(keeps(group) if keeps is not None else group.stages))
        for number, group in enumerate(groups)
    )
