"""Whatever Python can do to a symbol, but hand it on, is refused with the line that does it."""

import copy
import inspect
import json
import math
from dataclasses import dataclass

import numpy as np
import pytest

from regrain.app import App
from regrain.errors import TraceError
from regrain.trace import current, trace

app = App("demo")


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


@app.stage()
def join(words: list[str], opts: object = None) -> str:
    return " ".join(words)


def decide(image: bytes):
    if decode(image):  # here
        return pair(image)
    return bare(image)


def decide_by_a_comparison(image: bytes):
    pixels = decode(image)
    return pair(pixels) if pixels.width > 3 else bare(pixels)  # here


def decide_by_and(image: bytes):
    return decode(image) and bare(image)  # here


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


REFUSED = [
    (decide, r"decode\(\.\.\.\) is known only when a request comes, but it decides here .*if, while"),
    (decide_by_a_comparison, r"decode\(\.\.\.\)\.width is known only .* it is compared here.* in a stage"),
    (decide_by_and, "it decides here"),
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


def test_a_symbol_that_outlives_its_trace_still_refuses():
    kept = []

    def flow(image: bytes):
        kept.append(decode(image))
        return kept[0]

    trace(flow, {"decode": decode})
    with pytest.raises(TraceError, match="its length is asked for here"):
        len(kept[0])
