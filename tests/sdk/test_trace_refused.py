"""What a flow may not do with stages and values fails on its line, with what is allowed."""

import inspect
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from regrain.answers import answer
from regrain.app import App
from regrain.errors import TraceError
from regrain.graph import Graph
from regrain.trace import CONST_LIMIT, current, trace

app = App("demo")
other = App("other")


class Corner(NamedTuple):
    left: object
    top: int


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


def join_as_text(image: bytes):
    return bare("".join([image]))  # here


def put_it_into_a_dataclass(value: int):
    return bare(Inner(value))  # here


def put_it_into_a_named_tuple(value: int):
    return bare(Corner(value, 1))  # here


def put_it_into_a_list_of_ordered_dicts(value: int):
    return bare([OrderedDict(a=value)])  # here


def count_it(value: int):
    return bare(Counter({"a": value}))  # here


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


def map_a_pair_of_unlike_types(items: tuple[int, str]):
    return bare.map(items)  # here


def map_what_may_be_lists_of_this_or_that(items: list[int] | list[str] | None):
    return bare.map(items)  # here


def map_what_is_none_unless_given(items: list[int] | None = None):
    return bare.map(items)  # here


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


def answer_early(image: bytes):
    answer(decode(image))  # here


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
    (join_as_text, "TypeError: sequence item 0: expected str instance, .*only stages can be called on what"),
    (
        put_it_into_a_dataclass,
        "an argument of bare: a Inner cannot be put together in a flow; do it in a stage",
    ),
    (put_it_into_a_named_tuple, "an argument of bare: a Corner cannot be put together in a flow"),
    (
        put_it_into_a_list_of_ordered_dicts,
        "an argument of bare: a OrderedDict cannot be put together in a flow",
    ),
    (count_it, "an argument of bare: a Counter cannot be put together in a flow"),
    (
        call_a_stage_twice,
        r"stage 'bare' is called twice, first at .*:\d+\. .* by bare\.map\(\[\.\.\.\]\), or declare a second",
    ),
    (
        call_a_stage_of_another_app,
        r"stage 'stranger' \(.*test_trace_refused\.py:\d+\) belongs to another app",
    ),
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
    (
        map_a_pair_of_unlike_types,
        r"bare\.map\(\) walks items, whose annotation does not say one type of all items",
    ),
    (
        map_what_may_be_lists_of_this_or_that,
        r"annotate it as list\[\.\.\.\], with what an item may be within",
    ),
    (map_what_is_none_unless_given, r"walks items, whose default is a NoneType; allowed are list and tuple"),
    (
        map_a_constant_that_is_no_list,
        "but got a constant of type int; hand on by keyword what is the same for each item",
    ),
    (map_without_an_argument, "too many positional arguments"),
    (give_a_constant_that_cannot_travel, "argument 'more' of bare is a constant that cannot travel: .*set"),
    (give_a_constant_that_is_too_large, f"at most {CONST_LIMIT} may stand in a flow; load it in a stage"),
    (key_a_dict_by_a_number, "a dict with the key 1; in a flow keys are text"),
    (answer_early, r"regrain\.answer\(\) ends a request from within a stage"),
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
