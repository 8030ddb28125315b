from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.graph import Graph, Node, Ref
from regrain_watchdog.picture.layout import arrange
from regrain_watchdog.picture.scene import ANSWER, links


def lay_out(graph, groups):
    names = {name for edge in links(graph) for name in edge} | set(graph.stages) | {ANSWER}
    return arrange(graph, groups, dict.fromkeys(names, (100.0, 40.0)), [120.0] * len(groups))


def overlap(one, other):
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


@st.composite
def cut_graphs(draw):
    """Any DAG of up to nine stages, cut into runs of a topological order, which are convex."""
    count = draw(st.integers(1, 9))
    names = [f"s{place}" for place in range(count)]
    nodes = []
    for place, name in enumerate(names):
        parents = draw(st.lists(st.sampled_from(names[:place]), unique=True, max_size=3)) if place else []
        sources = [Ref(parent) for parent in parents] or [Ref(draw(st.sampled_from(("$a", "$b"))))]
        nodes.append(Node(name, tuple(sources), mapped=draw(st.booleans())))
    output = Ref(draw(st.sampled_from(names)))
    cuts = sorted(draw(st.sets(st.integers(1, count - 1)))) if count > 1 else []
    bounds = [0, *cuts, count]
    groups = [tuple(names[a:b]) for a, b in pairwise(bounds)]
    return Graph(("a", "b"), tuple(nodes), output), groups


@given(cut_graphs())
def test_nothing_lies_on_anything_else(cut):
    layout = lay_out(*cut)

    assert not any(overlap(*pair) for pair in combinations(layout.nodes.values(), 2))
    assert not any(overlap(*pair) for pair in combinations(layout.groups, 2))


@given(cut_graphs())
def test_a_group_holds_its_stages_and_nothing_else(cut):
    graph, groups = cut
    layout = lay_out(graph, groups)

    for box, stages in zip(layout.groups, groups, strict=True):
        assert box.name == "+".join(stages)
        for name, node in layout.nodes.items():
            assert overlap(box, node) == (name in stages)
        for name in stages:
            node = layout.nodes[name]
            assert box.x < node.x
            assert box.x + box.width > node.x + node.width
            assert box.y < node.y
            assert box.y + box.height > node.y + node.height


@given(cut_graphs())
def test_everything_lies_within_the_picture(cut):
    layout = lay_out(*cut)

    for box in (*layout.nodes.values(), *layout.groups):
        assert -1e-6 <= box.x <= box.x + box.width <= layout.width + 1e-6
        assert -1e-6 <= box.y <= box.y + box.height <= layout.height + 1e-6


@given(cut_graphs())
def test_an_arrow_leads_from_its_source_to_its_target_and_through_no_stage(cut):
    graph, groups = cut
    layout = lay_out(graph, groups)

    assert {(edge.source, edge.target) for edge in layout.edges} == set(links(graph))
    for edge in layout.edges:
        source, target = layout.nodes[edge.source], layout.nodes[edge.target]
        assert edge.points[0] == (source.x + source.width, source.y + source.height / 2)
        assert edge.points[-1][0] == target.x
        assert abs(edge.points[-1][1] - target.y - target.height / 2) <= target.height
        if source.x < target.x:
            lanes = list(zip(edge.points[2:-2:2], edge.points[3:-2:2], strict=True))
            for (left, y), (right, _) in lanes:
                for box in layout.nodes.values():
                    assert not (box.x < right and left < box.x + box.width and box.y < y < box.y + box.height)


def test_a_chain_is_straight(ocr):
    layout = lay_out(ocr.graph, [(stage,) for stage in ocr.graph.stages])

    middles = [box.y + box.height / 2 for box in layout.nodes.values()]

    assert max(middles) - min(middles) == pytest.approx(0, abs=0.5)


def test_branches_stand_above_each_other_and_as_far_from_their_join(diamond):
    layout = lay_out(diamond.graph, [(stage,) for stage in diamond.graph.stages])
    classify, segment, join = (layout.nodes[name] for name in ("classify", "segment", "join"))

    assert classify.x == segment.x
    assert join.y == pytest.approx((classify.y + segment.y) / 2, abs=0.5)


def test_only_walked_lists_are_marked_as_mapped(ocr):
    assert {edge for edge, mapped in links(ocr.graph).items() if mapped} == {
        ("crop", "orient"),
        ("orient", "recognise"),
    }
