"""ESG-like: each stage a function of its own; the configurations of a path are found by A* with two cuts.

A path's cost is the sum over its stages of time x (cores x price + share x price) / batch, its time the sum of the
stages' times. A partial path is cut where its time and the least of what remains exceed the deadline, or where its cost
and the least of what remains exceed the best finish known (cost so far, and the rest at its fastest).

What is ours: ESG looks for a configuration anew at every dispatch with what is left of the deadline, and starts a
container for it; here a path holds for a load, replicas are as many as the predictor that every policy has asks for,
and the deadline is that of 0.4 to 1 times the objective under which that comes cheapest. On a DAG the deadline is split
over the stages by their time along the longest path through each.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.granularity.pipelines import Offer, Times
from benchmarks.granularity.sizing import staffed
from regrain.plan import GpuShare, Group, Plan
from regrain_watchdog.policy.cost import gpu_memory, gpu_weights, rate
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import lists
from regrain_watchdog.policy.predict.predictor import Prediction, Predictor

FACTORS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)


@dataclass(frozen=True, slots=True)
class Step:
    """A configuration of one stage: what it takes of the deadline, and what it costs for one request."""

    share: float
    batch: int
    seconds: float
    cost: float


@dataclass(frozen=True, slots=True)
class Found:
    """The cheapest path within a deadline (none: ()), its cost, and how many partial paths were looked at."""

    path: tuple[Step, ...]
    cost: float
    visited: int


def cheapest(stages: Sequence[Sequence[Step]], deadline: float) -> Found:
    """Return the cheapest path within a deadline."""
    fastest, least, finish = [0.0], [0.0], [0.0]
    for steps in reversed(stages):
        quick = min(steps, key=lambda step: (step.seconds, step.cost))
        fastest.append(fastest[-1] + quick.seconds)
        least.append(least[-1] + min(step.cost for step in steps))
        finish.append(finish[-1] + quick.cost)
    fastest, least, finish = fastest[::-1], least[::-1], finish[::-1]
    kept = [_undominated(steps) for steps in stages]
    bound = finish[0] if fastest[0] <= deadline else math.inf
    line: list[tuple[float, int, float, float, tuple[int, ...]]] = [(least[0], 0, 0.0, 0.0, ())]
    visited = 0
    while line:
        _, depth, cost, seconds, places = heapq.heappop(line)
        depth = -depth
        if depth == len(stages):
            return Found(tuple(kept[at][place] for at, place in enumerate(places)), cost, visited)
        for place, step in enumerate(kept[depth]):
            after, spent = seconds + step.seconds, cost + step.cost
            if after + fastest[depth + 1] > deadline or spent + least[depth + 1] > bound * (1 + 1e-12):
                continue
            visited += 1
            bound = min(bound, spent + finish[depth + 1])
            heapq.heappush(line, (spent + least[depth + 1], -(depth + 1), spent, after, (*places, place)))
    return Found((), math.inf, visited)


def plan(offer: Offer, times: Times, load: Arrivals, predictor: Predictor) -> tuple[Plan, Prediction] | None:
    """Return the plan and what is expected of it; None where none fits."""
    best: tuple[Plan, Prediction] | None = None
    for factor in FACTORS:
        path = _path(offer, times, load, factor * offer.app.slo.latency)
        found = staffed(offer, _planned(offer, path), times, load, predictor) if path else None
        if found is not None and (best is None or _better(offer, found, best)):
            best = found
    return best


def _better(offer: Offer, one: tuple[Plan, Prediction], other: tuple[Plan, Prediction]) -> bool:
    def worth(of: tuple[Plan, Prediction]) -> tuple[bool, float]:
        met = of[1].hit_rate >= offer.app.slo.attainment
        cost = rate(of[0], offer.app.profile, offer.prices, offer.node.cards[0])
        return met, -cost if met else of[1].hit_rate

    return worth(one) > worth(other)


def _path(offer: Offer, times: Times, load: Arrivals, deadline: float) -> tuple[Step, ...]:
    graph = offer.app.graph
    steps = [_steps(offer, times, load, name) for name in graph.stages]
    if all(len(graph.parents(name)) <= 1 for name in graph.stages) and _is_chain(offer):
        return cheapest(steps, deadline).path
    usual = [sum(step.seconds for step in one) / len(one) for one in steps]
    through = _through(offer, usual)
    found = [
        cheapest([one], deadline * mine / whole).path
        for one, mine, whole in zip(steps, usual, through, strict=True)
    ]
    return tuple(path[0] for path in found) if all(found) else ()


def _steps(offer: Offer, times: Times, load: Arrivals, name: str) -> list[Step]:
    graph, profile, prices = offer.app.graph, offer.app.profile, offer.prices
    scope = graph.scope(name)
    units = float(load.widths[:, lists(graph).index(scope)].mean()) if scope else 1.0
    if not profile.stages[name].on_gpu:
        seconds = float(times[name].call(1, 1.0)[0])
        return [Step(0.0, 1, seconds, units * seconds * prices.core)]
    found = []
    for share in offer.limits.shares:
        for batch in offer.limits.sizes:
            seconds = float(times[name].call(batch, share)[0])
            price = prices.core + share * prices.gpu
            found.append(Step(share, batch, seconds, units * seconds * price / batch))
    return found


def _planned(offer: Offer, path: tuple[Step, ...]) -> Plan:
    groups = []
    for name, step in zip(offer.app.graph.stages, path, strict=True):
        bare = Group(stages=(name,), max_size=step.batch)
        if step.share:
            held = gpu_memory(bare, offer.app.profile) + gpu_weights(bare, offer.app.profile)
            share = GpuShare(fraction=step.share, memory=held, floor=step.share)
            bare = Group(stages=(name,), max_size=step.batch, gpu=share)
        groups.append(bare)
    return Plan(tuple(groups))


def _undominated(steps: Sequence[Step]) -> list[Step]:
    """Return those that no other is at least as fast and as cheap as, the cheapest first."""
    kept: list[Step] = []
    for step in sorted(steps, key=lambda one: (one.cost, one.seconds)):
        if not kept or step.seconds < kept[-1].seconds:
            kept.append(step)
    return kept


def _is_chain(offer: Offer) -> bool:
    graph = offer.app.graph
    taken = [one for name in graph.stages for one in graph.parents(name)]
    return len(taken) == len(set(taken)) == len(graph.stages) - 1


def _through(offer: Offer, usual: Sequence[float]) -> list[float]:
    """Return the seconds of the longest path through each stage."""
    graph = offer.app.graph
    place = {name: at for at, name in enumerate(graph.stages)}
    ends, rests = [0.0] * len(usual), [0.0] * len(usual)
    for name in graph.stages:
        ends[place[name]] = usual[place[name]] + max(
            (ends[place[one]] for one in graph.parents(name)), default=0.0
        )
    for name in reversed(graph.stages):
        for one in graph.parents(name):
            rests[place[one]] = max(rests[place[one]], rests[place[name]] + usual[place[name]])
    return [end + rest for end, rest in zip(ends, rests, strict=True)]
