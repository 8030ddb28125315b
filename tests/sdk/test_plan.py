"""Steps: what each group takes and gives, for apps and grains of every shape."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regrain import testing
from regrain.app import App
from regrain.grain import format as written
from regrain.grain import parse
from regrain.graph import Graph, Node, Pack, Ref, refs
from regrain.plan import Group, Input, Output, Plan, Step, steps

KINDS = ("chain", "join", "spread", "walk", "batch", "broadcast", "listed", "gather")


@st.composite
def apps(draw):
    """An app of up to seven stages, each taking what was made before it, and its flow."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=7))
    picks = [draw(st.lists(st.integers(0, 99), min_size=3, max_size=3)) for _ in kinds]
    app = App("random")
    stages = [_declare(app, kind, index) for index, kind in enumerate(kinds)]

    @app.flow
    def flow(x: int, items: list[int]):
        numbers, lists, results = [x], [items], []
        for kind, stage, pick in zip(kinds, stages, picks, strict=True):
            result = _call(kind, stage, numbers, lists, pick)
            (numbers if kind in ("chain", "join", "gather") else lists).append(result)
            results.append(result)
        return results

    return app, flow


def _declare(app: App, kind: str, index: int):
    name = f"{kind}{index}"
    if kind == "batch":

        @app.batched(name=name, max_size=2)
        def batch(values: list[int], by: list[int]) -> list[int]:
            return [value * 3 + more + index for value, more in zip(values, by, strict=True)]

        return batch
    if kind == "spread":

        @app.stage(name=name)
        def spread(value: int) -> list[int]:
            return [value + place for place in range(abs(value) % 4)]

        return spread
    if kind == "gather":

        @app.stage(name=name)
        def gather(values: list[int]) -> int:
            return sum(values) + len(values) * index

        return gather

    @app.stage(name=name)
    def plain(value: int, more=0) -> int:
        return value * 2 + (sum(more) if isinstance(more, list) else more) + index

    return plain


def _call(kind: str, stage, numbers, lists, pick):
    """Call a stage in the flow on what its kind takes, picked from what there is."""
    number, other = (numbers[place % len(numbers)] for place in pick[:2])
    items, more = (lists[place % len(lists)] for place in pick[1:])
    calls = {
        "chain": lambda: stage(number),
        "join": lambda: stage(number, more=other),
        "spread": lambda: stage(number),
        "walk": lambda: stage.map(items),
        "batch": lambda: stage.map(items, by=number),
        "broadcast": lambda: stage.map(items, more=more),
        "listed": lambda: stage.map([number, other, 5]),
        "gather": lambda: stage(items),
    }
    return calls[kind]()


@st.composite
def cut(draw, graph: Graph) -> tuple[tuple[str, ...], ...]:
    """Any runnable partition: the stages in some order in which they can run, cut into runs."""
    order: list[str] = []
    while len(order) < len(graph.stages):
        ready = [stage for stage in graph.stages if stage not in order and graph.parents(stage) <= set(order)]
        order.append(draw(st.sampled_from(ready)))
    groups = [[order[0]]]
    for stage in order[1:]:
        if draw(st.booleans()):
            groups.append([])
        groups[-1].append(stage)
    return parse(written(groups), graph)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_what_a_step_takes_is_what_exactly_one_other_step_gives(data):
    graph = data.draw(apps())[0].graph
    groups = data.draw(cut(graph))

    made = steps(graph, groups)

    assert [step.stages for step in made] == list(groups)
    given_by: dict[Ref, Step] = {}
    for step in made:
        for output in step.outputs:
            assert output.ref.node in step.stages
            assert output.ref not in given_by
            given_by[output.ref] = step
    for at, step in enumerate(made):
        for entry in step.inputs:
            if entry.ref.is_input:
                assert entry.each or not entry.ref.path
                continue
            giver = given_by[entry.ref]
            assert made.index(giver) < at
            if entry.each:
                assert step.per_item
                assert giver.per_item or Output(entry.ref, True) in giver.outputs
    assert {ref for ref in refs(graph.output) if not ref.is_input} <= set(given_by)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_a_step_works_by_item_only_over_one_list_whose_items_travel_apart(data):
    graph = data.draw(apps())[0].graph

    for step in steps(graph, data.draw(cut(graph))):
        walked = [arg for stage in step.stages for arg in graph.node(stage).args]
        if step.per_item:
            assert all(graph.node(stage).mapped for stage in step.stages)
            assert len({graph.scope(stage) for stage in step.stages}) == 1
            assert all(isinstance(arg, Ref) for arg in walked)
            assert any(entry.each for entry in step.inputs)
        else:
            assert not any(entry.each for entry in step.inputs)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data(), st.integers(-9, 9), st.lists(st.integers(-9, 9), max_size=5))
def test_every_grain_gives_what_the_flow_gives_as_plain_python(data, x, items):
    app, flow = data.draw(apps())
    expected = flow(x, items)

    for grain in ("fine", "coarse", written(data.draw(cut(app.graph)))):
        assert testing.run(app, x, items, grain=grain) == expected, grain


OCR = Graph(
    ("image", "mode"),
    (
        Node("decode", (Ref("$image"),)),
        Node("crop", (Ref("decode", ("pixels",)),)),
        Node("orient", (Ref("crop"),), {"mode": Ref("$mode", ("name",))}, True),
        Node("recognise", (Ref("orient"),), {}, True),
        Node("assemble", (Ref("recognise"), Ref("crop")), {"size": Ref("decode", ("size",))}),
    ),
    Pack("dict", (Ref("assemble"), Ref("orient")), ("page", "crops")),
)


def test_groups_of_a_map_take_items_and_others_whole_requests():
    made = steps(OCR, parse("decode+crop | orient | recognise | assemble", OCR))

    assert made == (
        Step(
            stages=("decode", "crop"),
            inputs=(Input(Ref("$image")),),
            outputs=(Output(Ref("crop"), True), Output(Ref("decode", ("size",)))),
        ),
        Step(
            stages=("orient",),
            inputs=(Input(Ref("crop"), True), Input(Ref("$mode"))),
            outputs=(Output(Ref("orient")),),
            per_item=True,
        ),
        Step(
            stages=("recognise",),
            inputs=(Input(Ref("orient"), True),),
            outputs=(Output(Ref("recognise")),),
            per_item=True,
        ),
        Step(
            stages=("assemble",),
            inputs=(Input(Ref("recognise")), Input(Ref("crop")), Input(Ref("decode", ("size",)))),
            outputs=(Output(Ref("assemble")),),
        ),
    )


def test_a_map_among_whole_requests_runs_inside_its_group():
    (made,) = steps(OCR, parse("coarse", OCR))

    assert made == Step(
        stages=OCR.stages,
        inputs=(Input(Ref("$image")), Input(Ref("$mode"))),
        outputs=(Output(Ref("assemble")), Output(Ref("orient"))),
    )


def test_a_plan_and_its_groups_are_called_by_their_grain():
    plan = Plan((Group(stages=("decode", "crop")), Group(stages=("assemble",))))

    assert plan.grain == "decode+crop | assemble"
    assert [group.name for group in plan.groups] == ["decode+crop", "assemble"]
