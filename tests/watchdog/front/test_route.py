from regrain.graph import Graph, Node, Pack, Ref
from regrain.plan import Group, Plan
from regrain_watchdog.front.route import Consumer, Route, make_route

GRAPH = Graph(
    ("l", "s"),
    (
        Node("a", (Ref("$l"),), {}, mapped=True),
        Node("b", (Ref("a"),), {"k": Ref("$s", ("x",))}, mapped=True),
        Node("c", (Ref("b"), Ref("$l"))),
    ),
    Pack("list", (Ref("c"), Ref("$s", ("y",)))),
)


def route(*groups: str) -> Route:
    return make_route(GRAPH, Plan(tuple(Group(stages=tuple(group)) for group in groups)))


def test_a_value_knows_who_takes_it_whole_and_who_item_by_item():
    found = route("a", "b", "c")

    assert found.consumers[Ref("$l")] == (Consumer(0, each=True), Consumer(2, each=False))
    assert found.consumers[Ref("a")] == (Consumer(1, each=True),)
    assert found.consumers[Ref("$s")] == (Consumer(1, each=False),)
    assert (found.eaches, found.wholes) == ((1, 1, 0), (0, 1, 2))


def test_uses_count_each_step_once_and_the_answer():
    uses = route("a", "b", "c").uses

    assert uses == {Ref("$l"): 2, Ref("a"): 1, Ref("b"): 1, Ref("$s"): 2, Ref("c"): 1}


def test_the_answer_takes_an_input_as_a_whole():
    assert route("abc").answer == {Ref("c"), Ref("$s")}


def test_a_fused_group_takes_inputs_only():
    found = route("abc")

    assert set(found.consumers) == {Ref("$l"), Ref("$s")}
    assert found.wholes == (2,)
