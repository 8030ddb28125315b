"""What it takes to get from the plan in force to another one, and which second plan can be kept ready for nothing.

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
from regrain_watchdog.policy.search.packing import pack
from regrain_watchdog.policy.search.problem import Candidate, Problem


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

    def pays(self, saving: float, dwell: float) -> bool:
        """Whether it earns itself back, saving so many dollars a second for the `dwell` seconds that it is to last.

        Nothing is saved before the replicas serve.
        """
        return saving * max(0.0, dwell - self.seconds) > self.dollars


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Spare:
    """A second plan that can be reached by a swap of the route.

    Attributes:
        candidate: the plan.
        resident: by group of the plan in force, the stages that its replicas keep loaded for that.
    """

    candidate: Candidate
    resident: Mapping[str, tuple[str, ...]]


def spare(chosen: Plan, candidates: Sequence[Candidate], problem: Problem) -> Spare | None:
    """Return the best second plan of another grain that fits into memory beside the one chosen; None where none does.

    The best is the cheapest of those that are expected to meet the objective; of the others, none is worth it.
    """
    attainment = problem.app.slo.attainment
    ranked = sorted(
        (
            one
            for one in candidates
            if one.plan.grain != chosen.grain
            and one.prediction.hit_rate >= attainment
            and not any(group.fluid for group in (*one.plan.groups, *chosen.groups))
        ),
        key=lambda one: one.cost,
    )
    for candidate in ranked:
        resident = _resident(chosen, candidate.plan, problem)
        if pack(_with(chosen, resident), problem.app.profile, problem.node) is None:
            continue
        if _serves(chosen, resident, candidate.plan):
            return Spare(candidate=candidate, resident=resident)
    return None


def _resident(chosen: Plan, other: Plan, problem: Problem) -> dict[str, tuple[str, ...]]:
    """Return the stages that each group keeps: of each other group, so many replicas of those most alike to it do."""
    kept = {group.name: set(group.stages) for group in chosen.groups}
    left = {group.name: group.replicas for group in chosen.groups}
    for group in sorted(other.groups, key=lambda one: -len(one.stages)):
        needed = group.replicas
        for host in sorted(chosen.groups, key=lambda one: -len(set(one.stages) & set(group.stages))):
            taken = min(needed, left[host.name])
            if taken:
                kept[host.name] |= set(group.stages)
                left[host.name] -= taken
                needed -= taken
    order = problem.app.graph.stages
    return {name: tuple(stage for stage in order if stage in stages) for name, stages in kept.items()}


def _serves(chosen: Plan, resident: Mapping[str, Sequence[str]], other: Plan) -> bool:
    """Whether replicas that keep these stages can serve every group of a plan with all of its replicas."""
    living = [
        Living(number, name, frozenset(resident[name]))
        for number, name in enumerate(group.name for group in chosen.groups for _ in range(group.replicas))
    ]
    return not cast(living, other.groups).missing


def _with(chosen: Plan, resident: Mapping[str, Sequence[str]]) -> Plan:
    """Return a plan whose groups hold further stages, as far as memory goes."""
    return Plan(tuple(structs.replace(group, stages=tuple(resident[group.name])) for group in chosen.groups))
