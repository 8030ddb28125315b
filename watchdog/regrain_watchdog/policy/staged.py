"""How to get from one plan to the next where both at once do not fit into memory: over smaller ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec import structs

from regrain.plan import Plan

Needs = Callable[[Plan], int]
"""Bytes that a plan's replicas need."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A plan to be put in force on the way; `is_new`: of the version that is wanted, which may be another one."""

    plan: Plan
    is_new: bool


def path(old: Plan, new: Plan, *, missing: int, old_needs: Needs, new_needs: Needs, free: int) -> list[Leg]:
    """Return what to put in force one after the other, at last the new plan; nothing where no way fits.

    Directly where what is missing fits beside the old plan. Else the old one gives up all but one replica of each
    group, the new one comes with one of each, and gets the rest once the old one has gone.

    Args:
        old: the plan in force.
        new: the plan wanted.
        missing: bytes of the replicas that no living one can stand for.
        old_needs: by the stages of the version in force.
        new_needs: by the stages of the version wanted.
        free: bytes that are free while the old plan serves.
    """
    if missing <= free:
        return [Leg(new, is_new=True)]
    small_old, small_new = _least(old), _least(new)
    room = free + old_needs(old)
    if old_needs(small_old) + new_needs(small_new) > room or new_needs(new) > room:
        return []
    legs = [] if small_old == old else [Leg(small_old, is_new=False)]
    legs.append(Leg(small_new, is_new=True))
    return legs if small_new == new else [*legs, Leg(new, is_new=True)]


def _least(plan: Plan) -> Plan:
    """The same grain with one replica of each group."""
    return Plan(tuple(structs.replace(group, replicas=1) for group in plan.groups))
