"""INFless-like: each stage a function of its own, in the configuration that gets most from its resources.

A configuration of share s and batch b that takes t seconds is feasible within an objective of D seconds if t <= D for
b = 1 and t <= D/2 for more. It bears at most floor(b/t) units a second, needs floor(b/(D - t)) of them for its batches
to fill in time (1 where b = 1), and waits D - t. One is taken that bears most for a unit of resource, which counts a
core as 64 and a hundredth of a GPU as 142 GFLOPS. Instances beyond r_min + 0.8 (r_max - r_min) each are not retired.

What is ours: where a plan holds for a load the rate is that of its busier intervals, since INFless follows the rate by
the second; the objective of a flow is split by its stages' time; all instances of a function are alike, so that there
is no rest in a smaller configuration; waits are the longest that every policy may have; where a node is too small the
function with the most instances gets one less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from msgspec import structs

from benchmarks.granularity.pipelines import Offer, Times
from regrain.plan import GpuShare, Group, Plan
from regrain_watchdog.policy.cost import gpu_memory, gpu_weights
from regrain_watchdog.policy.load import Arrivals, counts
from regrain_watchdog.policy.model import lists
from regrain_watchdog.policy.search.packing import pack

CORE_GFLOPS, PERCENT_GFLOPS = 64.0, 142.0
ALPHA = 0.8
SHARES = (0.1, 0.5)
FOLLOWED, MET, RATES = 10.0, 0.95, 5
"""Seconds of an interval, part of the intervals whose rates are met, and rates down to the mean that are tried."""
SPLIT_SHARE, SPLIT_BATCH = 0.3, 8
"""At which stages' times are compared to split the objective."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Threads, share of a GPU and batch; `seconds` of one call."""

    threads: float
    share: float
    batch: int
    seconds: float

    def most(self) -> int:
        """Units a second that it bears."""
        return math.floor(self.batch / self.seconds + 1e-9)

    def least(self, slo: float) -> int:
        """Units a second below which its batches do not fill in time."""
        return 1 if self.batch == 1 else math.floor(self.batch / (slo - self.seconds) + 1e-9)

    def is_feasible(self, slo: float) -> bool:
        return self.seconds <= (slo if self.batch == 1 else slo / 2)

    @property
    def efficiency(self) -> float:
        """Units a second for each GFLOPS that it holds."""
        return self.most() / (self.threads * CORE_GFLOPS + 100 * self.share * PERCENT_GFLOPS)


def ranked(configurations: Iterable[Configuration], slo: float, rate: float) -> list[Configuration]:
    """Return those that are feasible at a rate, the most efficient first."""
    able = [
        one for one in configurations if one.is_feasible(slo) and one.most() > 0 and rate >= one.least(slo)
    ]
    return sorted(able, key=lambda one: (-one.efficiency, one.seconds))


def instances(chosen: Configuration, slo: float, rate: float) -> int:
    """Return how many of a configuration are kept at a rate."""
    least = min(chosen.least(slo), chosen.most())
    return max(1, math.ceil(rate / (least + ALPHA * (chosen.most() - least))))


def plan(offer: Offer, times: Times, load: Arrivals) -> Plan | None:
    """Return the plan for the highest rate, down to the mean, for which one fits, or as much of it as does.

    None where not even one instance of each fits.
    """
    wanted = [_wanted(offer, times, load, rate) for rate in np.linspace(busiest(load), load.rate, RATES)]
    whole = (one for one in wanted if pack(one, offer.app.profile, offer.node) is not None)
    return next(whole, None) or fitted(offer, wanted[-1])


def _wanted(offer: Offer, times: Times, load: Arrivals, met: float) -> Plan:
    """Return the plan for a rate of requests, whether it fits or not."""
    graph, profile = offer.app.graph, offer.app.profile
    scopes = lists(graph)
    widths = load.widths.mean(axis=0)
    units = {
        name: float(widths[scopes.index(graph.scope(name))]) if graph.scope(name) else 1.0
        for name in graph.stages
    }
    taken = {name: _usual(offer, times, name) * math.ceil(units[name] / SPLIT_BATCH) for name in graph.stages}
    whole = _longest(offer, taken)
    groups = []
    for name in graph.stages:
        slo = offer.app.slo.latency * taken[name] / whole
        rate = met * units[name]
        every = list(_configurations(offer, times, name))
        able = ranked(every, slo, rate) or ranked(every, slo, math.inf)
        chosen = able[0] if able else min(every, key=lambda one: (one.batch, one.seconds))
        wait = max(
            (one for one in offer.limits.waits if chosen.batch > 1 and one <= slo - chosen.seconds),
            default=0.0,
        )
        group = Group(
            stages=(name,), replicas=instances(chosen, slo, rate), max_size=chosen.batch, max_wait=wait
        )
        if profile.stages[name].on_gpu:
            held = gpu_memory(group, profile) + gpu_weights(group, profile)
            group = structs.replace(
                group, gpu=GpuShare(fraction=chosen.share, memory=held, floor=chosen.share)
            )
        groups.append(group)
    return Plan(tuple(groups))


def busiest(load: Arrivals) -> float:
    """Return the requests a second that are met, as a platform does that scales with what it sees each second.

    A plan that holds for a while has to hold for the rates that come in it: those of all but the busiest few of the
    intervals.
    """
    if load.span < FOLLOWED:
        return load.rate
    return max(load.rate, float(np.quantile(counts(load, FOLLOWED), MET)) / FOLLOWED)


def fitted(offer: Offer, wanted: Plan) -> Plan | None:
    """Return a plan with as many replicas of it as fit; None where not even one of each does."""
    groups = list(wanted.groups)
    while pack(Plan(tuple(groups)), offer.app.profile, offer.node) is None:
        place = max(range(len(groups)), key=lambda at: (groups[at].replicas, groups[at].gpu is not None))
        if groups[place].replicas == 1:
            return None
        groups[place] = structs.replace(groups[place], replicas=groups[place].replicas - 1)
    return Plan(tuple(groups))


def _configurations(offer: Offer, times: Times, name: str) -> Iterable[Configuration]:
    if not offer.app.profile.stages[name].on_gpu:
        yield Configuration(1.0, 0.0, 1, float(times[name].call(1, 1.0)[0]))
        return
    for share in offer.limits.shares:
        if SHARES[0] - 1e-9 <= share <= SHARES[1] + 1e-9:
            for batch in offer.limits.sizes:
                yield Configuration(1.0, share, batch, float(times[name].call(batch, share)[0]))


def _usual(offer: Offer, times: Times, name: str) -> float:
    if not offer.app.profile.stages[name].on_gpu:
        return float(times[name].call(1, 1.0)[0])
    share = min(offer.limits.shares, key=lambda one: abs(one - SPLIT_SHARE))
    return float(times[name].call(1, share)[0])


def _longest(offer: Offer, taken: dict[str, float]) -> float:
    graph = offer.app.graph
    ends: dict[str, float] = {}
    for name in graph.stages:
        ends[name] = taken[name] + max((ends[one] for one in graph.parents(name)), default=0.0)
    return max(ends.values())
