"""A flow becomes a graph, or fails on the line that no graph can hold."""

import copy
import inspect
import json
import math
from dataclasses import dataclass

import numpy as np
import pytest

from regrain.app import App
from regrain.errors import TraceError
from regrain.graph import Const, Graph, Node, Pack, Ref
from regrain.trace import CONST_LIMIT, current, trace
from regrain.wire.codec import pack_inline, unpack_inline

app = App("demo")
other = App("other")


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


@other.stage()
def stranger(value: int) -> int:
    return value


def graph_of(flow) -> Graph:
    """The graph of a flow that calls just the stages that its source names."""
    source = inspect.getsource(flow)
    return trace(
        flow,
        {name: stage for name, stage in app.stages.items() if f"{name}(" in source or f"{name}." in source},
    )


# what can be traced ----------------------------------------------------------------------------------------


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


# what cannot -----------------------------------------------------------------------------------------------


def decide(image: bytes):
    if decode(image):  # here
        return pair(image)
    return bare(image)


def decide_by_a_comparison(image: bytes):
    pixels = decode(image)
    return pair(pixels) if pixels.width > 3 else bare(pixels)  # here


def decide_by_and(image: bytes):
    return decode(image) and bare(image)  # here


def decide_by_is(image: bytes, mode: str | None = None):
    pixels = decode(image)
    if mode is None:  # here
        return pair(pixels)
    return bare(pixels)


def decide_by_match(image: bytes):
    pixels = decode(image)
    match pixels:  # here
        case [_, _]:
            return pair(pixels)
        case _:
            return bare(pixels)


def decide_by_type(image: bytes):
    pixels = decode(image)
    return pair(pixels) if isinstance(pixels, Image) else bare(pixels)  # here


def loop_over_a_list(items: list[int]):
    return [bare(item) for item in items]  # here


def loop_while(image: bytes):
    while image:  # here
        image = bare(image)
    return image


def unpack_what_is_not_annotated(image: bytes):
    first, second = bare(image)  # here
    return join(first, second)


def unpack_what_cannot_be_resolved(value: int):
    first, _ = later(value)  # here
    return bare(first)


def unpack_into_too_many(image: bytes):
    first, second, third = pair(decode(image))  # here
    return bare([first, second, third])


def index_beyond_a_tuple(image: bytes):
    return bare(pair(decode(image))[2])  # here


def index_by_a_symbol(image: bytes):
    width, items = pair(decode(image))
    return bare(items[width])  # here


def take_a_slice(items: list[int]):
    return bare(items[1:])  # here


def take_a_field_that_is_not_there(image: bytes):
    return bare(decode(image).height)  # here


def take_a_field_of_no_dataclass(image: bytes):
    return bare(image.hex)  # here


def call_a_method(image: bytes):
    return bare(decode(image).area())  # here


def compute(image: bytes):
    return bare(decode(image).width * 2)  # here


def compute_reflected(image: bytes):
    return bare(1 - decode(image).width)  # here


def add_in_place(image: bytes):
    width = decode(image).width
    width += 1  # here
    return bare(width)


def negate(image: bytes):
    return bare(-decode(image).width)  # here


def ask_the_length(items: list[int]):
    return bare(len(items))  # here


def search(items: list[int]):
    return bare(3 in items)  # here


def write_into_text(image: bytes):
    return bare(f"{decode(image)}")  # here


def write_its_repr_into_text(image: bytes):
    return bare(f"{decode(image)!r}")  # here


def write_into_old_text(image: bytes):
    return bare("%s" % decode(image))  # noqa: UP031  # here


def print_it(image: bytes):
    print(image)  # here
    return bare(image)


def round_it(image: bytes):
    return bare(round(decode(image).width))  # here


def take_its_root(image: bytes):
    return bare(math.sqrt(decode(image).width))  # here


def make_it_an_int(image: bytes):
    return bare(int(image))  # here


def index_a_constant(image: bytes):
    return bare([1, 2, 3][decode(image).width])  # here


def make_it_an_array(items: list[int]):
    return bare(np.asarray(items))  # here


def compute_with_numpy(items: list[int]):
    return bare(np.ones(3) + items)  # here


def concatenate_with_numpy(items: list[int]):
    return bare(np.concatenate(items))  # here


def call_a_function_of_a_library(image: bytes):
    return bare(json.loads(image))  # here


def sort_it(items: list[int]):
    return bare(sorted(items))  # here


def call_it(image: bytes):
    return bare(image())  # here


def use_it_as_a_key(image: bytes):
    return bare({image: 1})  # here


def copy_it(image: bytes):
    return bare(copy.deepcopy(image))  # here


def change_it(image: bytes):
    pixels = decode(image)
    pixels.width = 3  # here
    return bare(pixels)


def change_an_item(items: list[int]):
    items[0] = 3  # here
    return bare(items)


def enter_it(image: bytes):
    with image:  # here
        return bare(image)


def join_as_text(image: bytes):
    return bare("".join([image]))  # here


def put_it_into_a_dataclass(value: int):
    return bare(Inner(value))  # here


def call_a_stage_twice(image: bytes):
    first = bare(image)
    second = bare(image)  # here
    return join(first, second)


def call_a_stage_of_another_app(value: int):
    return bare(stranger(value))  # here


def leave_an_argument_out(image: bytes):
    return bare(decode())  # here


def give_an_unknown_argument(image: bytes):
    return decode(image=image, mode="L")  # here


def give_too_many_arguments(image: bytes):
    return decode(image, "L")  # here


def hand_on_a_stage(image: bytes):
    return bare(decode, image)  # here


def map_no_list(image: bytes):
    return double.map(items=image)  # here


def map_an_image(image: bytes):
    return bare.map(decode(image))  # here


def map_bytes(image: bytes):
    return bare.map(image)  # here


def map_a_constant_that_is_no_list(items: list[int]):
    return double.map(items, 3)  # here


def map_without_an_argument(items: list[int]):
    return decode.map(items, 3)  # here


def give_a_constant_that_cannot_travel(image: bytes):
    return bare(image, more={1, 2})  # here


def give_a_constant_that_is_too_large(image: bytes):
    return bare(image, more=bytes(2_000_000))  # here


def key_a_dict_by_a_number(image: bytes):
    return bare({1: image})  # here


def raise_an_error(image: bytes):
    decode(image)
    return {}["x"]  # here


def call_itself(image: bytes):
    return call_itself(image)  # here


def swallow_the_error(image: bytes):
    try:
        large = decode(image).width > 3  # here
    except TraceError:
        large = False
    return bare(large)


REFUSED = [
    (decide, r"decode\(\.\.\.\) is known only when a request comes, but it decides here .*if, while"),
    (decide_by_a_comparison, r"decode\(\.\.\.\)\.width is known only .* it is compared here.* in a stage"),
    (decide_by_and, "it decides here"),
    (
        decide_by_is,
        "mode may be known only when a request comes, but `is` asks for it here; do it in a stage",
    ),
    (decide_by_match, "pixels may be known only when a request comes, but `match` asks"),
    (decide_by_type, "its __class__ is asked for here"),
    (
        loop_over_a_list,
        r"items is unpacked, .* annotated as list\[int\].* for each item by stage\.map\(items\)",
    ),
    (loop_while, "image is known only .* it decides here"),
    (unpack_what_is_not_annotated, r"is not annotated: .* annotate the stage's result as tuple\[A, B\]"),
    (
        unpack_what_cannot_be_resolved,
        r"type of later\(\.\.\.\) is needed here, but .*'Missing' is not defined",
    ),
    (unpack_into_too_many, "ValueError: not enough values to unpack"),
    (index_beyond_a_tuple, r"pair\(\.\.\.\)\[2\]: pair\(\.\.\.\) is a tuple of 2"),
    (index_by_a_symbol, r"\[1\]\[pair\(\.\.\.\)\[0\]\]: only a place of a tuple, by a number"),
    (take_a_slice, "only a place of a tuple"),
    (take_a_field_that_is_not_there, "no field 'height'; fields of Image are width, inner, crops"),
    (
        take_a_field_of_no_dataclass,
        r"\.hex of image: fields can be read of .* dataclass, this is annotated as bytes",
    ),
    (call_a_method, "no field 'area'.* methods can be called in a stage"),
    (compute, "it is computed with here"),
    (compute_reflected, "it is computed with here"),
    (add_in_place, "it is computed with here"),
    (negate, "it is computed with here"),
    (ask_the_length, "its length is asked for here"),
    (search, "it is searched here"),
    (write_into_text, "it is turned into text here"),
    (write_its_repr_into_text, "it is turned into text here"),
    (write_into_old_text, "it is turned into text here"),
    (print_it, "it is turned into text here"),
    (round_it, "it is turned into a number here"),
    (take_its_root, "it is turned into a number here"),
    (make_it_an_int, "it is turned into a number here"),
    (index_a_constant, "it is turned into a number here"),
    (make_it_an_array, "a library reads it as an array here"),
    (compute_with_numpy, "a library reads it as an array here"),
    (concatenate_with_numpy, "unpacked, indexed or looped over"),
    (call_a_function_of_a_library, "only when a request comes, but its __class__ is asked for"),
    (sort_it, "unpacked, indexed or looped over"),
    (call_it, "it is called here"),
    (use_it_as_a_key, "it is a key of a dict or set here"),
    (copy_it, "here"),
    (change_it, "it is changed here"),
    (change_an_item, "it is changed here"),
    (enter_it, "it is used in with or await here"),
    (join_as_text, "TypeError: sequence item 0: expected str instance, .*only stages can be called on what"),
    (
        put_it_into_a_dataclass,
        "an argument of bare: a Inner cannot be put together in a flow; do it in a stage",
    ),
    (
        call_a_stage_twice,
        r"stage 'bare' is called twice, first at .*:\d+\. .* by bare\.map\(\[\.\.\.\]\), or declare a second",
    ),
    (call_a_stage_of_another_app, r"stage 'stranger' \(.*test_trace\.py:\d+\) belongs to another app"),
    (leave_an_argument_out, r"decode\(image: bytes\): missing a required argument: 'image'"),
    (give_an_unknown_argument, r"decode\(image: bytes\): got an unexpected keyword argument 'mode'"),
    (give_too_many_arguments, r"decode\(image: bytes\): too many positional arguments"),
    (hand_on_a_stage, "is the stage decode itself; call it"),
    (map_no_list, r"double\.map\(\) needs a list: double\.map\(items\)"),
    (
        map_an_image,
        r"bare\.map\(\) walks lists together, but got decode\(\.\.\.\), which is annotated as none",
    ),
    (map_bytes, "got image, which is annotated as none"),
    (map_a_constant_that_is_no_list, "but got a int; hand on by keyword what is the same for each item"),
    (map_without_an_argument, "too many positional arguments"),
    (give_a_constant_that_cannot_travel, "argument 'more' of bare is a constant that cannot travel: .*set"),
    (give_a_constant_that_is_too_large, f"at most {CONST_LIMIT} may stand in a flow; load it in a stage"),
    (key_a_dict_by_a_number, "a dict with the key 1; in a flow keys are text"),
    (raise_an_error, "the flow raised KeyError: 'x'; in a flow only stages"),
    (call_itself, "RecursionError"),
    (swallow_the_error, "it is compared here"),
]


@pytest.mark.parametrize(("flow", "says"), [pytest.param(*case, id=case[0].__name__) for case in REFUSED])
def test_what_cannot_be_traced_fails_with_its_file_its_line_and_what_is_allowed(flow, says):
    lines, first = inspect.getsourcelines(flow)
    (line,) = [first + index for index, text in enumerate(lines) if "# here" in text]

    with pytest.raises(TraceError, match=says) as caught:
        trace(flow, app.stages)

    assert str(caught.value).startswith(f"{__file__}:{line}: ")
    assert "\n" not in str(caught.value)
    assert current() is None


def test_an_argument_missing_from_a_map_is_named():
    def flow(items: list[int]):
        return pair.map(items, more=3)

    with pytest.raises(
        TraceError, match=r"pair\(image: .*Image.*, \*, times: int = 1\): got an unexpected .* 'more'"
    ):
        trace(flow, app.stages)


def test_a_size_function_takes_what_the_stage_is_called_with():
    sized = App("sized")
    crop = sized.stage(name="crop", size=lambda image: 1.0)(lambda image, box=None: image)

    def flow(image: bytes):
        return crop(image, box=3)

    with pytest.raises(TraceError, match=r"size of crop\(image\): got an unexpected keyword argument 'box'"):
        trace(flow, sized.stages)


def test_a_stage_that_the_flow_does_not_call_is_named_with_its_line():
    def flow(image: bytes):
        return decode(image)

    with pytest.raises(
        TraceError, match=rf"^{pair.place}: stage 'pair' is not called by the flow at .*; call or delete it"
    ):
        trace(flow, {"decode": decode, "pair": pair})


def test_a_result_that_nothing_takes_is_named_with_its_line():
    def flow(image: bytes):
        pixels = decode(image)
        pair(pixels)
        return pixels

    line = inspect.getsourcelines(flow)[1] + 2
    with pytest.raises(TraceError, match=rf"^{__file__}:{line}: nothing takes the result of stage 'pair'"):
        graph_of(flow)


@pytest.mark.parametrize("result", ["image", "None", "[1, image]", "{'answer': 3}"])
def test_a_flow_that_returns_no_result_of_a_stage_is_refused(result):
    space: dict[str, object] = {}
    exec(f"def flow(image): return {result}", space)
    flow = space["flow"]
    assert inspect.isfunction(flow)

    with pytest.raises(TraceError, match="the flow returns no stage's result"):
        trace(flow, {})


def test_a_result_of_another_trace_cannot_be_handed_on():
    kept = []

    def first(image: bytes):
        kept.append(decode(image))
        return kept[0]

    def second(image: bytes):
        return bare(kept[0])

    graph_of(first)
    with pytest.raises(TraceError, match=r"an argument of bare is decode\(\.\.\.\) of another flow"):
        trace(second, {"bare": bare})


def test_a_symbol_that_outlives_its_trace_still_refuses():
    kept = []

    def flow(image: bytes):
        kept.append(decode(image))
        return kept[0]

    graph_of(flow)
    with pytest.raises(TraceError, match="its length is asked for here"):
        len(kept[0])


async def is_async(image: bytes):
    return decode(image)


def is_a_generator(image: bytes):
    yield decode(image)


def takes_any_number(*images: bytes):
    return decode(images[0])


def takes_any_names(**images: bytes):
    return decode(images["image"])


def takes_it_by_place(image: bytes, /):
    return decode(image)


@pytest.mark.parametrize(
    ("flow", "says"),
    [
        (is_async, "a flow is a plain function, neither async nor a generator"),
        (is_a_generator, "a flow is a plain function, neither async nor a generator"),
        (takes_any_number, r"\*images: bytes of the flow: a request brings each parameter by its name"),
        (takes_any_names, r"\*\*images: bytes of the flow: a request brings each parameter by its name"),
        (takes_it_by_place, "image: bytes of the flow: a request brings each parameter by its name"),
        (Image, "a flow is a function, was <class"),
        (print, "a flow is a function, was <built-in"),
        (decode, "a flow is a function, was <Stage 'decode'"),
    ],
)
def test_what_is_no_flow_is_refused_with_its_line(flow, says):
    with pytest.raises(TraceError, match=rf"^{__file__}:\d+: {says}"):
        trace(flow, app.stages)
