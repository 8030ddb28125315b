"""How to get from one plan to the next where both at once do not fit on the node: over smaller ones.

What fits is up to the caller, who knows of main memory and of GPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec import structs

from regrain.plan import Plan


@dataclass(frozen=True, slots=True)
class Leg:
    """A plan to be put in force on the way; `is_new`: of the version that is wanted, which may be another one."""

    plan: Plan
    is_new: bool


def path(
    old: Plan,
    new: Plan,
    *,
    fits: bool,
    beside: Callable[[Plan, Plan], bool],
    alone: Callable[[Plan], bool],
) -> list[Leg]:
    """Return what to put in force one after the other, at last the new plan; nothing where no way fits.

    Directly where that fits. Else the old one gives up all but one replica of each group, the new one comes with one of
    each, and gets the rest once the old one has gone.

    Args:
        old: the plan in force.
        new: the plan wanted.
        fits: whether the replicas that no living one can stand for fit beside what serves now.
        beside: whether all replicas of a plan in force and of one that is wanted fit on the node together.
        alone: whether all replicas of one that is wanted fit on it once the old plan has gone.
    """
    if fits:
        return [Leg(new, is_new=True)]
    small_old, small_new = _least(old), _least(new)
    if not beside(small_old, small_new) or not alone(new):
        return []
    legs = [] if small_old == old else [Leg(small_old, is_new=False)]
    legs.append(Leg(small_new, is_new=True))
    return legs if small_new == new else [*legs, Leg(new, is_new=True)]


def _least(plan: Plan) -> Plan:
    """The same grain with one replica of each group, and still none of those that other pods run."""
    return Plan(tuple(structs.replace(group, replicas=min(1, group.replicas)) for group in plan.groups))
