"""What it takes to get from the plan in force to another one.

A group whose stages a living replica has loaded is served at once, by a swap of the route; every replica that is
missing is started, and reserved, for as long as it loads. Until then the plan in force is paid for as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec import structs

from regrain.plan import Plan
from regrain_watchdog.policy.cost import group_rate
from regrain_watchdog.policy.resident import Living, cast
from regrain_watchdog.policy.search.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """The way from what lives to a plan.

    Attributes:
        missing: replicas to be started, by group.
        seconds: until the last of them serves; they load beside each other.
        dollars: of what is reserved beyond the plan in force meanwhile.
    """

    missing: Mapping[str, int]
    seconds: float
    dollars: float

    @property
    def is_free(self) -> bool:
        """Whether a swap of the route is all."""
        return not self.missing


def switch(living: Sequence[Living], plan: Plan, problem: Problem) -> Switch:
    """Return what it takes to have a plan in force, from the replicas that live."""
    missing = dict(cast(living, plan.groups).missing)
    groups = {group.name: group for group in plan.groups}
    profile = problem.app.profile
    loads = {
        name: profile.start + sum(profile.stages[stage].load for stage in groups[name].stages)
        for name in missing
    }
    dollars = sum(
        loads[name]
        * group_rate(structs.replace(groups[name], replicas=count), profile, problem.prices, problem.card)
        for name, count in missing.items()
    )
    return Switch(missing=missing, seconds=max(loads.values(), default=0.0), dollars=dollars)
