import itertools
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain.graph import Arg, Graph, Node, Pack, Ref, refs
from regrain.plan import Group, Input, Plan, Step
from regrain.wire.frames import Answered, Leaf, Parts, Value
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.flight import WHOLE, Flight, Job, LengthError, leaves
from regrain_watchdog.front.route import make_route

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode


class UnequalError(Exception):
    """The reference found lists of different lengths."""


@dataclass
class Flow:
    """A graph, what each stage gives ("item", "record", or the length of a list), inputs, and groups."""

    graph: Graph
    shapes: dict[str, int | str]
    inputs: dict[str, object]
    groups: tuple[tuple[str, ...], ...]


def lookup(ref: Ref, value: object) -> object:
    for key in ref.path:
        value = value[key]
    return value


def resolve(arg: Arg, find) -> object:
    return find(arg) if isinstance(arg, Ref) else [resolve(item, find) for item in arg.items]


def give(node: Node, shape: int | str, *args: object) -> object:
    """What a stage's body gives: text that tells what it was called with."""
    text = f"{node.stage}{args!r}"
    if shape == "record":
        return {"a": f"{text}.a", "b": [f"{text}.b{n}" for n in range(2)]}
    return text if shape == "item" else [f"{text}[{n}]" for n in range(shape)]


def run_stage(node: Node, shape: int | str, find) -> object:
    """A stage over whole values, a map included."""
    keywords = [resolve(arg, find) for arg in node.kwargs.values()]
    args = [resolve(arg, find) for arg in node.args]
    if not node.mapped:
        return give(node, shape, *args, *keywords)
    if len({len(arg) for arg in args}) > 1:
        raise UnequalError
    return [give(node, "item", *items, *keywords) for items in zip(*args, strict=True)]


def plainly(flow: Flow) -> object:
    """The answer of the flow, stage after stage."""
    results: dict[str, object] = {f"${name}": value for name, value in flow.inputs.items()}

    def find(ref: Ref) -> object:
        return lookup(ref, results[ref.node])

    for node in flow.graph.nodes:
        results[node.stage] = run_stage(node, flow.shapes[node.stage], find)
    return resolve(flow.graph.output, find)


@dataclass
class World:
    """Replicas that run one step at a time, and the books of every value."""

    flow: Flow
    calls: Counter = field(default_factory=Counter)
    given: Counter = field(default_factory=Counter)
    numbers: itertools.count = field(default_factory=itertools.count)

    def parts(self, content: object, *, split: bool) -> Parts:
        return Parts(
            [self._value(item) for item in content] if split else [self._value(content)], split=split
        )

    def _value(self, content: object) -> Value:
        number = next(self.numbers)
        self.given[number] += 1
        return Value(encode(content), (Leaf("bytes", (0,), (), 1, 0, 0, number),))

    def run(self, step: Step, job: Job) -> list[Parts]:
        brought = {entry: whole(parts) for entry, parts in zip(step.inputs, job.values, strict=True)}
        results: dict[str, object] = {}

        def find(ref: Ref, *, each: bool = False) -> object:
            if ref.node in results:
                return lookup(ref, results[ref.node])
            if ref.is_input and not each:
                return lookup(ref, brought[Input(Ref(ref.node))])
            return brought[Input(ref, each)]

        for name in step.stages:
            node = self.flow.graph.node(name)
            self.calls[name, job.item] += 1
            if step.per_item:
                args = [find(arg, each=True) for arg in node.args]
                results[name] = give(
                    node, "item", *args, *(resolve(arg, find) for arg in node.kwargs.values())
                )
            else:
                results[name] = run_stage(node, self.flow.shapes[name], find)
        return [self.parts(lookup(out.ref, results[out.ref.node]), split=out.split) for out in step.outputs]


def whole(parts: Parts) -> object:
    items = [decode(value.skeleton) for value in parts.values]
    return items if parts.split else items[0]


def generations(values) -> Counter:
    return Counter(leaf.generation for leaf in leaves(values))


@st.composite
def flows(draw, *, unequal: bool = False) -> Flow:
    """Random DAGs of plain stages and maps, cut anywhere into groups that can run in order."""
    widths = st.integers(0, 3)
    inputs: dict[str, object] = {"s": "s"}
    lists: dict[Ref, int] = {}
    for name in ("l", "m")[: draw(st.integers(0, 2))]:
        width = draw(widths)
        inputs[name] = [f"{name}{n}" for n in range(width)]
        lists[Ref(f"${name}")] = width
    known = [Ref(f"${name}") for name in inputs]
    nodes, shapes = [], {}
    for number in range(draw(st.integers(1, 6))):
        name = f"t{number}"
        keywords = {"k": draw(st.sampled_from(known))} if draw(st.booleans()) else {}
        if lists and draw(st.booleans()):
            first = draw(st.sampled_from(list(lists)))
            like = [ref for ref in lists if unequal or lists[ref] == lists[first]]
            args = (first, *draw(st.lists(st.sampled_from(like), max_size=1)))
            nodes.append(Node(name, args, keywords, mapped=True))
            shapes[name] = "item"
            lists[Ref(name)] = lists[first]
        else:
            args = tuple(draw(st.lists(st.sampled_from(known), max_size=3)))
            if args and draw(st.booleans()):
                args = (Pack("list", args),)
            nodes.append(Node(name, args, keywords))
            shapes[name] = shape = draw(st.one_of(st.just("item"), st.just("record"), widths))
            if shape == "record":
                known.append(Ref(name, ("a",)))
                known.append(Ref(name, ("b",)))
                lists[Ref(name, ("b",))] = 2
            elif shape != "item":
                lists[Ref(name)] = shape
        known.append(Ref(name))
    taken = {ref.node for node in nodes for arg in (*node.args, *node.kwargs.values()) for ref in refs(arg)}
    last = [Ref(node.stage) for node in nodes if node.stage not in taken]
    graph = Graph(
        tuple(inputs),
        tuple(nodes),
        Pack("list", (*last, *draw(st.lists(st.sampled_from(known), max_size=2)))),
    )
    return Flow(graph, shapes, inputs, draw(cuts(graph)))


@st.composite
def cuts(draw, graph: Graph) -> tuple[tuple[str, ...], ...]:
    waiting, order = list(graph.stages), []
    while waiting:
        ready = [stage for stage in waiting if graph.parents(stage) <= set(order)]
        order.append(draw(st.sampled_from(ready)))
        waiting.remove(order[-1])
    ends = sorted(draw(st.sets(st.integers(1, len(order)))) | {len(order)})
    groups = [order[start:end] for start, end in itertools.pairwise((0, *ends))]
    return tuple(tuple(sorted(group, key=graph.stages.index)) for group in groups)


def flight_of(flow: Flow) -> Flight:
    plan = Plan(tuple(Group(stages=group) for group in flow.groups))
    return Flight(make_route(flow.graph, plan), Call(id="test", values={}, headers=b"", arrived=0.0))


def begin(flight: Flight, world: World) -> list[Job]:
    walked = {ref for ref, takers in flight.route.consumers.items() if any(taker.each for taker in takers)}
    return flight.start(
        {
            (ref := Ref(f"${name}")): world.parts(value, split=ref in walked)
            for name, value in world.flow.inputs.items()
        }
    )


def fly(flight: Flight, world: World, choose) -> None:
    """Run every job, in whatever order; what is let go of must not be needed again."""
    jobs = begin(flight, world)
    while jobs:
        job = jobs.pop(choose(len(jobs)))
        free = generations(flight.released)
        assert not any(free[number] for parts in job.values for number in generations(parts.values))
        jobs += flight.finish(job, world.run(flight.route.steps[job.step], job))


def check_books(flight: Flight, world: World) -> None:
    assert generations(flight.released) + generations(flight.held()) == world.given


@settings(max_examples=300, deadline=None)
@given(flows(), st.data())
def test_any_flow_in_any_groups_and_any_order_gives_the_answer_of_its_stages_in_turn(flow, data):
    flight, world = flight_of(flow), World(flow)

    fly(flight, world, lambda count: data.draw(st.integers(0, count - 1)))

    assert flight.is_answered()
    answer = resolve(
        flow.graph.output,
        lambda ref: (
            lookup(ref, whole(flight.values[Ref(ref.node)])) if ref.is_input else whole(flight.values[ref])
        ),
    )
    assert answer == plainly(flow)
    check_books(flight, world)


@settings(max_examples=150, deadline=None)
@given(flows(), st.data())
def test_each_stage_runs_once_for_the_request_or_once_for_each_item(flow, data):
    flight, world = flight_of(flow), World(flow)

    fly(flight, world, lambda count: data.draw(st.integers(0, count - 1)))

    assert set(world.calls.values()) <= {1}
    for step in flight.route.steps:
        runs = {item for stage, item in world.calls if stage in step.stages}
        assert runs == (set(range(len(runs))) if step.per_item else {WHOLE})


@settings(max_examples=300, deadline=None)
@given(flows(unequal=True), st.data())
def test_lists_of_different_lengths_fail_if_and_only_if_they_do_so_in_turn_and_nothing_is_lost(flow, data):
    flight, world = flight_of(flow), World(flow)
    try:
        plainly(flow)
        unequal = False
    except UnequalError:
        unequal = True

    try:
        fly(flight, world, lambda count: data.draw(st.integers(0, count - 1)))
        failed = False
    except (LengthError, UnequalError):
        failed = True

    assert failed is unequal
    check_books(flight, world)


def mapped(*groups: tuple[str, ...]) -> Flow:
    """a.map(l), b.map(a): two maps that follow each other."""
    nodes = (Node("a", (Ref("$l"),), {}, mapped=True), Node("b", (Ref("a"),), {}, mapped=True))
    return Flow(Graph(("l",), nodes, Ref("b")), {"a": "item", "b": "item"}, {"l": ["x", "y"]}, groups)


def test_an_item_goes_on_to_the_next_map_before_its_siblings_are_through():
    flow = mapped(("a",), ("b",))
    flight, world = flight_of(flow), World(flow)
    first, _ = begin(flight, world)

    [onward] = flight.finish(first, world.run(flight.route.steps[0], first))

    assert (onward.step, onward.item) == (1, 0)
    assert not flight.is_answered()


def test_an_empty_map_is_answered_without_a_job():
    flow = mapped(("a",), ("b",))
    flow.inputs["l"] = []
    flight = flight_of(flow)

    jobs = begin(flight, World(flow))

    assert jobs == []
    assert flight.is_answered()


def test_an_input_that_only_the_answer_takes_is_held():
    graph = Graph(("s",), (Node("a"),), Pack("list", (Ref("a"), Ref("$s"))))
    flow = Flow(graph, {"a": "item"}, {"s": "s"}, (("a",),))
    flight, world = flight_of(flow), World(flow)

    fly(flight, world, lambda _: 0)

    assert flight.is_answered()
    check_books(flight, world)


def test_an_input_that_nobody_takes_is_let_go_of_at_once():
    flow = Flow(Graph(("s",), (Node("a"),), Ref("a")), {"a": "item"}, {"s": "s"}, (("a",),))
    flight, world = flight_of(flow), World(flow)

    begin(flight, world)

    assert generations(flight.released) == world.given


def test_an_early_answer_is_held_until_the_flight_is_cleared():
    flow = mapped(("a", "b"))
    flight, world = flight_of(flow), World(flow)
    begin(flight, world)
    [value] = world.parts("early", split=False).values

    flight.early = Answered(200, {}, value)

    check_books(flight, world)
    flight.clear()
    assert list(flight.held()) == []


def test_lists_of_different_lengths_name_the_stage_and_both_lengths():
    node = Node("a", (Ref("$l"), Ref("$m")), {}, mapped=True)
    flow = Flow(Graph(("l", "m"), (node,), Ref("a")), {"a": "item"}, {"l": ["x"], "m": []}, (("a",),))

    with pytest.raises(
        LengthError, match="stage 'a' is mapped over lists of different lengths: 1 and 0"
    ) as caught:
        begin(flight_of(flow), World(flow))

    assert caught.value.stage == "a"
