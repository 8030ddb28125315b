"""The route in force: how a request goes through the groups of a plan. One immutable value, made once per plan."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from regrain.graph import Graph, Ref, refs
from regrain.plan import Plan, Step, steps
from regrain_watchdog.policy.model import lists


@dataclass(frozen=True, slots=True)
class Consumer:
    """A step that takes a value: whole, or (`each`) item by item."""

    step: int
    each: bool


@dataclass(frozen=True, slots=True)
class Route:
    """Steps by place, and for each value who takes it.

    consumers: by the value's ref. uses: how many steps take a value, plus one if the answer does.
    wholes, eaches: by step, how many values it takes whole and item by item.
    answer: the refs that the answer is put together from; of an input it is the whole.
    lists: by stage that is mapped, the list that it walks (policy.model.lists).
    """

    plan: Plan
    graph: Graph
    steps: tuple[Step, ...]
    consumers: dict[Ref, tuple[Consumer, ...]]
    uses: dict[Ref, int]
    wholes: tuple[int, ...]
    eaches: tuple[int, ...]
    answer: frozenset[Ref]
    lists: dict[str, int]


def make_route(graph: Graph, plan: Plan) -> Route:
    """Work out the route of a plan."""
    walked = lists(graph)
    cut = steps(graph, tuple(queue.stages for queue in plan.queues))
    consumers: dict[Ref, list[Consumer]] = {}
    uses: Counter[Ref] = Counter()
    for place, step in enumerate(cut):
        for entry in step.inputs:
            consumers.setdefault(entry.ref, []).append(Consumer(place, entry.each))
        uses.update({entry.ref for entry in step.inputs})
    answer = frozenset(Ref(ref.node) if ref.is_input else ref for ref in refs(graph.output))
    uses.update(answer)
    return Route(
        plan=plan,
        graph=graph,
        steps=cut,
        consumers={ref: tuple(found) for ref, found in consumers.items()},
        uses=dict(uses),
        wholes=tuple(sum(not entry.each for entry in step.inputs) for step in cut),
        eaches=tuple(sum(entry.each for entry in step.inputs) for step in cut),
        answer=answer,
        lists={stage: walked.index(graph.scope(stage)) for stage in graph.stages if graph.scope(stage)},
    )
