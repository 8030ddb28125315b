"""The DAG as a value, held against brute force."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.graph import Const, Graph, Node, Pack, Ref, refs


def graph_of(parents: dict[str, list[str]]) -> Graph:
    """A graph without maps, from the parents of each stage."""
    nodes = tuple(
        Node(stage, tuple(map(Ref, before)) if before else (Ref("$x"),)) for stage, before in parents.items()
    )
    return Graph(("x",), nodes, Pack("list", tuple(Ref(stage) for stage in parents)))


@st.composite
def graphs(draw) -> Graph:
    """Any DAG of up to seven stages."""
    names = [f"s{index}" for index in range(draw(st.integers(1, 7)))]
    return graph_of(
        {
            name: draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else []
            for index, name in enumerate(names)
        }
    )


def paths(graph: Graph) -> list[tuple[str, ...]]:
    """Every path of the graph, found by walking."""
    found = [(stage,) for stage in graph.stages]
    for path in found:
        found.extend((*path, stage) for stage in graph.stages if path[-1] in graph.parents(stage))
    return found


@given(graphs())
def test_a_group_is_convex_if_no_path_leaves_it_and_comes_back(graph):
    every = paths(graph)
    for size in range(1, len(graph.stages) + 1):
        for group in map(frozenset, itertools.combinations(graph.stages, size)):
            leaves = any(
                path[0] in group and path[-1] in group and not group.issuperset(path) for path in every
            )

            assert graph.is_convex(group) is not leaves


@given(graphs())
def test_descendants_are_what_paths_reach(graph):
    every = paths(graph)
    for stage in graph.stages:
        reached = {path[-1] for path in every if path[0] == stage and len(path) > 1}

        assert graph.descendants(frozenset([stage])) == reached


@given(graphs())
def test_a_graph_survives_json(graph):
    assert msgspec.json.decode(msgspec.json.encode(graph), type=Graph) == graph


def test_refs_are_found_in_order_however_deep():
    arg = Pack("dict", (Ref("b"), Pack("list", (Const(b""), Ref("$a", ("x", 1))))), ("p", "q"))

    assert list(refs(arg)) == [Ref("b"), Ref("$a", ("x", 1))]
    assert [ref.is_input for ref in refs(arg)] == [False, True]


def test_inputs_and_constants_are_no_parents():
    node = Node("join", (Ref("a", ("x",)), Const(b"")), {"by": Pack("list", (Ref("$x"), Ref("b")))})
    graph = Graph(("x",), (Node("a"), Node("b"), node), Ref("join"))

    assert graph.parents("join") == {"a", "b"}


def test_a_stage_that_is_not_there_is_a_key_error():
    with pytest.raises(KeyError, match="nonsense"):
        graph_of({"a": []}).node("nonsense")


def test_stages_mapped_over_one_list_share_a_scope_however_long_the_chain():
    graph = Graph(
        ("x", "y"),
        (
            Node("crop", (Ref("$x"),)),
            Node("orient", (Ref("crop", ("items",)),), {}, True),
            Node("read", (Ref("orient"),), {}, True),
            Node("rate", (Ref("orient"), Ref("$y")), {}, True),
            Node("pair", (Pack("list", (Ref("crop"), Ref("read"))),), {}, True),
            Node("more", (Ref("pair"),), {}, True),
        ),
        Ref("more"),
    )

    assert graph.scope("crop") == frozenset()
    assert graph.scope("orient") == graph.scope("read") == {Ref("crop", ("items",))}
    assert graph.scope("rate") == {Ref("crop", ("items",)), Ref("$y")}
    assert graph.scope("pair") == graph.scope("more") == {Ref("pair")}
