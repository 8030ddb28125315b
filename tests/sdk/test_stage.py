"""A stage as plain Python: called, mapped, built and measured."""

import inspect
from dataclasses import dataclass

import numpy as np
import pytest

from regrain import App, Batched, Failure, Stage, answer
from regrain.answers import Answer
from regrain.errors import RegrainError, SpecError


@dataclass(frozen=True)
class Crop:
    image: np.ndarray


@pytest.fixture
def app():
    return App("plain")


def test_a_function_is_called_as_it_is(app):
    @app.stage(cpu=2)
    def add(left: int, right: int = 1) -> int:
        """Add two numbers.

        More of it.
        """
        return left + right

    assert isinstance(add, Stage)
    assert (add(1), add(1, right=4)) == (2, 5)
    assert (add.name, add.spec.cpu, add.spec.doc) == ("add", 2.0, "Add two numbers.")
    assert inspect.getdoc(add) == "Add two numbers.\n\nMore of it."
    assert str(add.signature) == "(left: int, right: int = 1)"
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'left'"):
        add()


def test_a_class_is_built_on_first_use_and_kept(app):
    built = []

    class Net:
        """A network."""

        def __init__(self) -> None:
            built.append(self)

        def __call__(self, value: int) -> int:
            return value * 2

    double = app.stage()(Net)

    assert built == []
    assert [double(2), double.map([1, 2])] == [4, [2, 4]]
    assert len(built) == 1
    assert double.body is built[0]
    assert double.__doc__ == "A network."


def test_each_replica_builds_its_own(app):
    class Net:
        def __call__(self, value: int) -> int:
            return value

    net = app.stage()(Net)

    assert isinstance(net.build(), Net)
    assert net.build() is not net.build()


def test_what_a_stage_raises_comes_through(app):
    @app.stage()
    def fail(value: int) -> int:
        raise ValueError("bad crop")

    with pytest.raises(ValueError, match="bad crop"):
        fail(1)
    with pytest.raises(ValueError, match="bad crop"):
        fail.map([1])


def test_errors_become_values_where_the_stage_says_so(app):
    @app.stage(errors="return")
    def half(value: int) -> int:
        if value % 2:
            raise ValueError(f"{value} is odd")
        return value // 2

    @app.batched(errors="return", max_size=4)
    def halves(values: list[int]) -> list[int]:
        return [half.body(value) for value in values]

    failed = "ValueError: 1 is odd"
    assert half(1) == Failure(stage="half", message=failed)
    assert half.map([2, 1]) == [1, Failure(stage="half", message=failed)]
    assert halves.map([4, 1, 2]) == [2, Failure(stage="halves", message=failed), 1]


def test_an_early_answer_is_no_failure(app):
    @app.stage(errors="return")
    def empty(value: int) -> int:
        answer("nothing here", status=204)

    @app.batched(errors="return")
    def empties(values: list[int]) -> list[int]:
        answer("nothing here", status=204)

    for stage in (empty, empties):
        with pytest.raises(Answer):
            stage(1)


def test_a_batched_stage_takes_and_gives_items(app):
    sizes = []

    @app.batched(max_size=2)
    def scale(values: list[int], by: list[int]) -> list[int]:
        sizes.append(len(values))
        return [value * factor for value, factor in zip(values, by, strict=True)]

    assert isinstance(scale, Batched)
    assert scale(2, 3) == scale(2, by=3) == 6
    assert scale.map([1, 2, 3], by=2) == scale.map([1, 2, 3], [2, 2, 2]) == [2, 4, 6]
    assert scale.map([], by=2) == []
    assert sizes == [1, 1, 2, 1, 2, 1]


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        pytest.param([1], "it returned 1$", id="too few"),
        pytest.param([1, 2, 3], "it returned 3$", id="too many"),
        pytest.param(None, "it returned a NoneType", id="nothing"),
        pytest.param({1: 2, 3: 4}, "it returned a dict", id="a dict"),
        pytest.param("ab", "it returned a str", id="text"),
    ],
)
def test_a_batched_stage_must_return_a_list_of_the_same_length(app, returned, says):
    @app.batched()
    def wrong(values: list[int]) -> list[int]:
        return returned

    with pytest.raises(RegrainError, match=f"stage 'wrong' must return a list of 2, {says}"):
        wrong.map([1, 2])


def test_items_of_a_batch_that_failed_are_called_alone_as_they_were(app):
    @app.batched(errors="return")
    def add(values: list[list[int]], more: list[list[int]]) -> list[int]:
        for value, other in zip(values, more, strict=True):
            other.append(1)
            value.append(len(other))
        return [12 // value[0] + sum(value[1:]) for value in values]

    assert add.map([[3], [0], [4]], more=[]) == [
        5,
        Failure(stage="add", message="ZeroDivisionError: integer division or modulo by zero"),
        4,
    ]


def test_items_of_a_batch_that_failed_are_called_once_where_nobody_promised_that_they_may_be_again(app):
    called = []

    @app.batched(errors="return", idempotent=False)
    def book(values: list[int]) -> list[int]:
        called.append(list(values))
        raise ValueError("full")

    failure = Failure(stage="book", message="ValueError: full")
    assert book.map([1, 2]) == [failure, failure]
    assert called == [[1, 2]]


def test_a_batched_stage_may_return_an_array_of_results(app):
    @app.batched()
    def square(values: list[float]) -> np.ndarray:
        return np.array(values) ** 2

    assert square.map([1.0, 2.0, 3.0]) == [1.0, 4.0, 9.0]


def test_a_map_walks_lists_together_and_hands_keywords_to_each(app):
    @app.stage()
    def tell(name: str, age: int, *, mark: str = ".") -> str:
        return f"{name} is {age}{mark}"

    assert tell.map(["Ada", "Bob"], (36, 4), mark="!") == ["Ada is 36!", "Bob is 4!"]
    assert tell.map([], []) == []


@pytest.mark.parametrize(
    ("lists", "says"),
    [
        pytest.param((), r"tell\.map\(\) walks lists: tell\.map\(items\)", id="none"),
        pytest.param(("abc",), "walks lists", id="text"),
        pytest.param((3,), "walks lists", id="a number"),
        pytest.param(([1, 2], [1]), r"walks lists of one length together, these have \[2, 1\]", id="lengths"),
    ],
)
def test_a_map_over_no_lists_or_unequal_ones_is_refused(app, lists, says):
    @app.stage()
    def tell(name: str, age: int = 1) -> str:
        return name

    with pytest.raises(SpecError, match=says):
        tell.map(*lists)


def test_the_flow_can_be_called_as_plain_python(app):
    @app.stage()
    def split(text: str) -> tuple[list[str], int]:
        return text.split(), len(text)

    @app.batched()
    def upper(words: list[str]) -> list[str]:
        return [word.upper() for word in words]

    @app.flow
    def shout(text: str) -> dict[str, object]:
        words, size = split(text)
        return {"words": upper.map(words), "size": size}

    assert shout("hello you") == {"words": ["HELLO", "YOU"], "size": 9}


def test_the_size_of_a_call_is_what_the_stage_says_it_depends_on(app):
    @app.stage(size="pixels")
    def detect(image: np.ndarray, scale: int = 1) -> int:
        return scale

    @app.batched(size=lambda crop, scale=1: crop.image.shape[1] * scale)
    def read(crops: list[Crop], scale: list[int]) -> list[int]:
        return scale

    @app.stage()
    def plain(image: np.ndarray) -> int:
        return 1

    image = np.zeros((2, 5, 3))
    assert detect.measure(image, scale=2) == 10.0
    assert read.measure(Crop(image), scale=2) == 10.0
    assert plain.measure(image) == 0.0
    assert [stage.spec.size for stage in (detect, read, plain)] == ["pixels", "function", ""]
