"""Which plans a node has no room to go over to, as was learnt from those that were refused.

Once a plan was refused for want of room, only such are asked for to which a way leads by what is known of the node:
directly, or over smaller ones (policy/staged.py). Where that does not explain the refusal there is less room than is
known, nobody says of what: then what is to be started must need four tenths less of all together, which comes to a plan
that fits in a few steps. From that one on there are other ways.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import structs

from regrain.plan import Group, Plan
from regrain_watchdog.policy.cost import memory
from regrain_watchdog.policy.resident import Living, cast
from regrain_watchdog.policy.search.packing import gpu_parts, pack_together
from regrain_watchdog.policy.search.problem import Problem
from regrain_watchdog.policy.staged import path

LASTS = 300.0
"""Seconds for which it counts that there was no room: others may have made some since."""
LESS = 0.6
"""Of what a refused plan needed, that another one may need at most."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Until when it counts, and what was needed; infinite where it was known that no way led there."""

    until: float
    needs: float


class Refused:
    """The refusals since the plan in force came into force."""

    def __init__(self) -> None:
        self._present: Plan | None = None
        self._refusals: list[_Refusal] = []

    def add(self, plan: Plan, present: Plan, living: Sequence[Living], problem: Problem, now: float) -> None:
        """Learn that a plan was refused while another one was in force, with its living replicas.

        Where it needed nothing that there was not, it was refused for another reason, of which others learn nothing.
        """
        if present != self._present:
            self._present, self._refusals = present, []
        has_way = _has_way(plan, present, living, problem)
        needs = _needs(plan, living, problem) if has_way else math.inf
        if needs > 0:
            self._refusals.append(_Refusal(now + LASTS, needs))

    def leads(
        self, plan: Plan, present: Plan, living: Sequence[Living], problem: Problem, now: float
    ) -> bool:
        """Whether a plan may be asked for; any may until one is refused."""
        if present != self._present or plan == present:
            return True
        counting = [one.needs for one in self._refusals if now < one.until]
        if not counting:
            return True
        is_less = _needs(plan, living, problem) <= LESS * min(counting)
        return is_less and _has_way(plan, present, living, problem)


def _needs(plan: Plan, living: Sequence[Living], problem: Problem) -> float:
    """Return the parts of the node that what has to be started needs: of memory, of GPUs and of theirs, added up."""
    profile, node = problem.app.profile, problem.node
    groups = _missing(plan, living)
    held = sum(group.replicas * memory(group, profile) for group in groups) / node.memory
    parts = [part for group in groups for part in gpu_parts(group, profile)]
    if not parts:
        return held
    on_gpus = sum(part.memory for part in parts) / sum(card.memory for card in node.cards)
    return held + on_gpus + sum(part.floor for part in parts) / len(node.cards)


def _missing(plan: Plan, living: Sequence[Living]) -> tuple[Group, ...]:
    """Return the groups with as many replicas as no living one can stand for."""
    missing = cast(living, plan.groups).missing
    return tuple(
        structs.replace(group, replicas=missing[group.name]) for group in plan.groups if group.name in missing
    )


def _has_way(plan: Plan, present: Plan, living: Sequence[Living], problem: Problem) -> bool:
    """Whether a way leads to a plan, by what its replicas are known to need."""

    def fit(*plans: Plan) -> bool:
        held = [(one, problem.app.profile) for one in plans]
        return pack_together([*held, *problem.beside], problem.node) is not None

    missing = _missing(plan, living)
    fits = not missing or fit(present, Plan(missing))
    return bool(path(present, plan, fits=fits, beside=fit, alone=fit))
