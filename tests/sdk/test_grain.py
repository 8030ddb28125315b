"""Grain notation, and the plan that a fixed grain makes."""

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from regrain import grain
from regrain.errors import GrainError, SpecError
from regrain.graph import Graph, Node, Pack, Ref
from regrain.manifest import GPUSpec, Manifest, Parameter, StageSpec
from regrain.plan import Group

CHAIN = Graph(
    ("image",),
    (
        Node("decode", (Ref("$image"),)),
        Node("detect", (Ref("decode"),)),
        Node("crop", (Ref("decode"), Ref("detect"))),
        Node("orient", (Ref("crop"),), {}, True),
        Node("recognise", (Ref("orient"),), {}, True),
        Node("assemble", (Ref("recognise"),)),
    ),
    Ref("assemble"),
)


@st.composite
def partitions(draw) -> tuple[Graph, list[list[str]]]:
    """A DAG of up to six stages, and any partition of them, shuffled."""
    names = [f"s{index}" for index in range(draw(st.integers(1, 6)))]
    nodes = [
        Node(
            name,
            tuple(map(Ref, draw(st.lists(st.sampled_from(names[:index]), unique=True)))) if index else (),
        )
        for index, name in enumerate(names)
    ]
    owners = [draw(st.integers(0, 3)) for _ in names]
    groups = [[name for name, at in zip(names, owners, strict=True) if at == owner] for owner in set(owners)]
    shuffled = [draw(st.permutations(group)) for group in draw(st.permutations(groups))]
    return Graph((), tuple(nodes), Pack("list", tuple(map(Ref, names)))), shuffled


def can_run(graph: Graph, order) -> bool:
    """Whether each group finds all that it takes, in this order."""
    done: set[str] = set()
    for group in order:
        if any(graph.parents(stage) - done - set(group) for stage in group):
            return False
        done |= set(group)
    return True


@given(partitions())
def test_a_partition_is_a_grain_just_if_its_groups_can_run_one_after_another(drawn):
    graph, groups = drawn
    possible = any(can_run(graph, order) for order in itertools.permutations(groups))

    try:
        parsed = grain.parse(grain.format(groups), graph)
    except GrainError:
        assert not possible
    else:
        assert can_run(graph, parsed)
        assert sorted(map(sorted, parsed)) == sorted(map(sorted, groups))


@given(partitions())
def test_what_is_parsed_is_formatted_and_parsed_again_as_it_was(drawn):
    graph, groups = drawn
    try:
        parsed = grain.parse(grain.format(groups), graph)
    except GrainError:
        assume(False)

    assert grain.parse(grain.format(parsed), graph) == parsed
    for group in parsed:
        assert list(group) == sorted(group, key=graph.stages.index)


def test_fine_is_one_stage_each_and_coarse_one_group():
    assert grain.parse("fine", CHAIN) == tuple((stage,) for stage in CHAIN.stages)
    assert grain.parse(" coarse ", CHAIN) == (CHAIN.stages,)


def test_spaces_and_order_do_not_matter():
    groups = (("decode", "detect"), ("crop",), ("orient", "recognise"), ("assemble",))

    assert grain.parse("assemble|orient + recognise |detect+decode| crop ", CHAIN) == groups
    assert grain.format(groups) == "decode+detect | crop | orient+recognise | assemble"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("decode+nonsense", "there is no stage 'nonsense'; allowed are", id="unknown"),
        pytest.param("", "a group is empty", id="nothing"),
        pytest.param("decode | | detect", "a group is empty", id="empty group"),
        pytest.param("decode+", "a group is empty", id="dangling plus"),
        pytest.param(
            "decode+detect+crop+orient+recognise+assemble | decode",
            "stage 'decode' is in it 2 times",
            id="twice",
        ),
        pytest.param("decode+detect", "crop, orient, recognise, assemble left out; allowed", id="left out"),
        pytest.param(
            "Fine",
            r'there is no stage .Fine.; allowed are "fine", "coarse", "fluid", or each of decode,',
            id="case",
        ),
        pytest.param(
            "decode+crop | detect | orient | recognise | assemble",
            r"group decode\+crop is left and entered again, through detect; take that in, or split the group",
            id="not convex",
        ),
        pytest.param(
            "decode+assemble | detect+crop+orient | recognise",
            "through detect, crop, orient, recognise;",
            id="not convex by far",
        ),
    ],
)
def test_what_is_no_grain_is_refused_with_what_is_allowed(text, says):
    with pytest.raises(GrainError, match=says) as caught:
        grain.parse(text, CHAIN)

    assert str(caught.value).startswith(f"grain {text!r}: ")


def test_two_groups_that_wait_for_each_other_are_refused_though_each_is_convex():
    nodes = (Node("a"), Node("b", (Ref("a"),)), Node("c"), Node("d", (Ref("c"),)))
    crossed = Graph((), nodes, Pack("list", (Ref("b"), Ref("d"))))

    with pytest.raises(GrainError, match=r"groups a\+d \| b\+c wait for each other; split one of them"):
        grain.parse("a+d | b+c", crossed)


def manifest(**options) -> Manifest:
    """The chain's manifest; recognise and orient are batched."""
    batched = {"orient": (16, 0.0), "recognise": (32, 0.005), **options}
    stages = tuple(
        StageSpec(
            name=stage,
            digest="",
            batched=stage in batched,
            max_size=batched.get(stage, (1, 0.0))[0],
            max_wait=batched.get(stage, (1, 0.0))[1],
            cpu=2.0 if stage == "detect" else 1.0,
        )
        for stage in CHAIN.stages
    )
    parameter = Parameter(name="image", kind="bytes")
    return Manifest(app="ocr", stages=stages, graph=CHAIN, parameters=(parameter,), answer=parameter)


def test_a_plan_batches_each_group_as_its_batched_stages_do():
    plan = grain.make_plan(manifest(), "decode+detect | crop | orient+recognise | assemble")

    assert plan.groups == (
        Group(stages=("decode", "detect"), cpu=2.0),
        Group(stages=("crop",)),
        Group(stages=("orient", "recognise"), max_size=32, max_wait=0.005),
        Group(stages=("assemble",)),
    )
    assert plan.grain == "decode+detect | crop | orient+recognise | assemble"


def test_a_group_of_whole_requests_batches_by_what_is_not_mapped():
    """Requests that wait for each other gain nothing from a map inside, whose items are batched anyway."""
    assert grain.make_plan(manifest(), "coarse").groups[0].max_size == 1
    assert grain.make_plan(manifest(detect=(4, 0.1)), "coarse").groups[0].max_size == 4
    assert grain.make_plan(manifest(detect=(4, 0.1)), "coarse").groups[0].max_wait == 0.1


@pytest.mark.parametrize(
    ("replicas", "counts"),
    [
        pytest.param("", [1, 1, 1], id="one each"),
        pytest.param("3", [3, 3, 3], id="for all"),
        pytest.param("recognise=4", [1, 4, 1], id="by a stage"),
        pytest.param("orient+recognise = 4, assemble=2", [1, 4, 2], id="by the group"),
        pytest.param("recognise+orient=4", [1, 4, 1], id="in any order"),
        pytest.param("orient=4,recognise=4", [1, 4, 1], id="twice the same"),
    ],
)
def test_replicas_go_to_all_groups_or_by_the_name_of_a_stage_or_group(replicas, counts):
    plan = grain.make_plan(manifest(), "decode+detect+crop | orient+recognise | assemble", replicas)

    assert [group.replicas for group in plan.groups] == counts


@pytest.mark.parametrize(
    ("replicas", "says"),
    [
        pytest.param("0", 'replicas must be 1 to 1024 for all groups, such as "2", or by group', id="none"),
        pytest.param("-1", "was '-1'", id="negative"),
        pytest.param("many", "was 'many'", id="a word"),
        pytest.param("2,3", "there is no group '2'", id="two numbers"),
        pytest.param("decode=", "was 'decode='", id="no number"),
        pytest.param("decode=9999", "replicas must be 1 to 1024", id="too many"),
        pytest.param(
            "read=2", r"there is no group 'read'; groups are decode\+detect\+crop \| orient", id="unknown"
        ),
        pytest.param("crop+orient=2", r"there is no group 'crop\+orient'", id="no such group"),
        pytest.param("decode=2,crop=3", r"group decode\+detect\+crop is given both 2 and 3", id="both"),
    ],
)
def test_replicas_that_are_none_are_refused(replicas, says):
    with pytest.raises(SpecError, match=says):
        grain.make_plan(manifest(), "decode+detect+crop | orient+recognise | assemble", replicas)


def fluid_app(**gpus) -> Manifest:
    stages = tuple(
        StageSpec(
            name=name,
            digest="",
            batched=name == "recognise",
            max_size=8 if name == "recognise" else 1,
            gpu=GPUSpec(memory=1, share=gpus[name]) if name in gpus else None,
        )
        for name in CHAIN.stages
    )
    return Manifest(
        app="pages", stages=stages, graph=CHAIN, parameters=(), answer=Parameter(name="", kind="json")
    )


def test_a_group_after_a_tilde_is_fluid_with_a_lane_for_each_stage():
    plan = grain.make_plan(
        fluid_app(detect=0.4, recognise=0.1), "decode | ~detect+crop+recognise+orient | assemble"
    )
    assert plan.grain == "decode | ~detect+crop+orient+recognise | assemble"
    fluid = plan.groups[1].fluid
    assert fluid.share == 1.0
    assert [(lane.stage, lane.fraction, lane.max_size) for lane in fluid.lanes] == [
        ("detect", 0.4, 1),
        ("crop", 0.0, 1),
        ("orient", 0.0, 1),
        ("recognise", 0.1, 8),
    ]
    assert plan.groups[1].gpu.fraction == 0.4
    assert [queue.name for queue in plan.queues] == list(CHAIN.stages)


def test_shares_of_a_fluid_group_are_said_by_stage_and_for_the_pool():
    app = fluid_app(detect=None, recognise=None)
    said = "detect=0.3, recognise=0.05 weight=2, decode+detect+crop+orient+recognise+assemble=0.6"
    (group,) = grain.make_plan(app, "fluid", shares=said).groups
    assert group.fluid.share == 0.6
    assert [lane.fraction for lane in group.fluid.lanes] == [0.0, 0.3, 0.0, 0.0, 0.05, 0.0]
    assert (group.gpu.fraction, group.gpu.weight) == (0.3, 2.0)


def test_replicas_of_a_fluid_group_are_said_by_its_name():
    plan = grain.make_plan(fluid_app(), "decode | ~detect+crop | orient+recognise+assemble", "~detect+crop=3")
    assert [group.replicas for group in plan.groups] == [1, 3, 1]


def test_a_stage_that_streams_is_in_no_fluid_group():
    nodes = (Node("tell", (Ref("$image"),), {}, False, True),)
    graph = Graph(("image",), nodes, Ref("tell"))
    app = Manifest(
        app="tells",
        stages=(StageSpec(name="tell", digest="", streams=True),),
        graph=graph,
        parameters=(),
        answer=Parameter(name="", kind="json"),
    )
    with pytest.raises(GrainError, match="stage 'tell' streams, so that it cannot be in a fluid group"):
        grain.make_plan(app, "fluid")
