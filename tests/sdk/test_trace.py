"""A flow becomes a graph, or fails on the line that no graph can hold."""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, NewType

import numpy as np
import pytest

from regrain.app import App
from regrain.graph import Const, Graph, Node, Pack, Ref
from regrain.trace import current, trace
from regrain.wire.codec import pack_inline, unpack_inline

app = App("demo")
Sizes = NewType("Sizes", list[int])


@dataclass(frozen=True)
class Inner:
    size: int


@dataclass(frozen=True)
class Image:
    width: int
    inner: Inner
    crops: list[int]

    def area(self) -> int:
        return self.width


@app.stage()
def decode(image: bytes) -> Image:
    return Image(len(image), Inner(1), list(image))


@app.stage()
def pair(image: Image, *, times: int = 1) -> tuple[int, list[int]]:
    return image.width * times, image.crops


@app.stage()
def bare(value, more=None):
    return value


@app.stage()
def later(value: "Missing") -> "tuple[Missing, int]":  # noqa: F821
    return value, 1


@app.batched()
def double(items: list[int], by: list[int] | None = None) -> list[int]:
    return [item * 2 for item in items]


@app.batched()
def text(items: list[int]) -> list[str]:
    return [str(item) for item in items]


@app.stage()
def join(words: list[str], opts: object = None) -> str:
    return " ".join(words)


def graph_of(flow) -> Graph:
    """The graph of a flow that calls just the stages that its source names."""
    source = inspect.getsource(flow)
    return trace(
        flow,
        {name: stage for name, stage in app.stages.items() if f"{name}(" in source or f"{name}." in source},
    )


def test_a_chain_is_a_node_per_stage_in_the_order_of_the_calls():
    def flow(image: bytes):
        return pair(decode(image))

    assert graph_of(flow) == Graph(
        ("image",), (Node("decode", (Ref("$image"),)), Node("pair", (Ref("decode"),))), Ref("pair")
    )


def test_fan_out_and_fan_in_share_a_result():
    def flow(image: bytes):
        pixels = decode(image)
        return {"pair": pair(pixels), "bare": bare(pixels, more=image)}

    graph = graph_of(flow)

    assert graph.parents("pair") == graph.parents("bare") == {"decode"}
    assert graph.node("bare").kwargs == {"more": Ref("$image")}
    assert graph.output == Pack("dict", (Ref("pair"), Ref("bare")), ("pair", "bare"))


def test_fields_of_dataclasses_are_paths():
    def flow(image: bytes):
        pixels = decode(image)
        return bare(pixels.inner.size, more=pixels.crops)

    assert graph_of(flow).node("bare") == Node(
        "bare", (Ref("decode", ("inner", "size")),), {"more": Ref("decode", ("crops",))}
    )


def test_a_tuple_is_unpacked_or_indexed_by_its_annotated_places():
    def unpacked(image: bytes):
        first, second = pair(decode(image))
        return bare(first, second)

    def indexed(image: bytes):
        result = pair(decode(image))
        return bare(result[0], result[-1])

    expected = Node("bare", (Ref("pair", (0,)), Ref("pair", (1,))))
    assert graph_of(unpacked).node("bare") == graph_of(indexed).node("bare") == expected


def test_parameters_of_the_flow_have_fields_and_places_too():
    def flow(image: Image, sizes: tuple[int, int]):
        return bare(image.width, sizes[1])

    assert graph_of(flow).node("bare") == Node("bare", (Ref("$image", ("width",)), Ref("$sizes", (1,))))


def test_a_map_walks_lists_and_hands_keywords_to_each_item():
    def flow(items: list[int], by: list[int]):
        return join(text.map(double.map(items, by)), opts=by)

    graph = graph_of(flow)

    assert graph.node("double") == Node("double", (Ref("$items"), Ref("$by")), {}, True)
    assert graph.scope("text") == graph.scope("double") == {Ref("$items"), Ref("$by")}


@pytest.mark.parametrize(
    "kind", [Sizes, Annotated[Sizes, "pixels"], Iterable[int], Sequence[int], list], ids=str
)
def test_a_map_walks_a_parameter_whatever_its_list_is_called(kind):
    def flow(sizes: kind):
        return double.map(sizes)

    assert graph_of(flow).node("double").mapped


def test_a_list_written_in_the_flow_can_be_mapped_over():
    def flow(first: int, second: int):
        return text.map(double.map([first, second]))

    graph = graph_of(flow)

    assert graph.node("double").args == (Pack("list", (Ref("$first"), Ref("$second"))),)
    assert graph.scope("text") == {Ref("double")}


def test_constants_travel_packed_alone_or_among_symbols():
    def flow(image: bytes):
        return bare([{"image": image, "n": 2}, (1.5, None)], more=np.arange(3))

    node = graph_of(flow).node("bare")

    (packed,) = node.args
    assert isinstance(packed, Pack)
    first, second = packed.items
    assert first == Pack("dict", (Ref("$image"), Const(pack_inline(2))), ("image", "n"))
    assert isinstance(second, Const)
    assert unpack_inline(second.data) == (1.5, None)
    more = node.kwargs["more"]
    assert isinstance(more, Const)
    np.testing.assert_array_equal(unpack_inline(more.data), np.arange(3))


def test_plain_python_around_the_stages_is_run_once():
    settings = {"deep": True}

    def through(value):
        return double(value)

    def flow(value: int):
        for _ in range(2 if settings["deep"] else 1):
            settings["deep"] = False
        return bare(through(value)) if settings else text(value)

    assert trace(flow, {name: app.stages[name] for name in ("double", "bare")}).stages == ("double", "bare")


def test_the_types_of_a_stage_matter_only_where_the_flow_needs_them():
    def flow(value: int):
        return bare(later(value))

    assert graph_of(flow).stages == ("later", "bare")


def test_no_trace_is_left_behind():
    def flow(image: bytes):
        assert current() is not None
        return decode(image)

    graph_of(flow)

    assert current() is None
    assert decode(b"ab").width == 2
