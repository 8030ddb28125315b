"""The executor under whole apps: what stages and callers may and may not do to each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from regrain import GPU, App, testing
from regrain.errors import RequestError
from regrain.execute import follow

PAIR = {"left": 1, "right": []}


@dataclass
class Pair:
    left: int
    right: list[int]


@dataclass
class Share:
    part: float

    def __post_init__(self):
        assert self.part <= 1


def test_a_stage_after_the_last_living_unit_does_not_run():
    app = App("two")
    calls = []

    @app.stage()
    def first(item: int) -> int:
        raise ValueError

    @app.stage()
    def second(item: int) -> int:
        calls.append(item)
        return item

    @app.flow
    def run(item: int) -> int:
        return second(first(item))

    with pytest.raises(RequestError, match="stage 'first' failed: ValueError"):
        testing.run(app, 1)
    assert calls == []


def test_a_constant_that_a_stage_changes_is_whole_for_the_next_request():
    app = App("constant")

    @app.stage()
    def grow(item: int, seen: list[int]) -> int:
        seen.append(item)
        return len(seen)

    @app.flow
    def run(item: int) -> int:
        return grow(item, [0])

    with testing.Session(app) as session:
        assert [session.run(1), session.run(2)] == [2, 2]


def test_a_parameter_of_the_wrong_type_is_the_callers_fault():
    app = App("typed")

    @app.stage()
    def use(pair: Pair) -> int:
        return pair.left

    @app.flow
    def run(pair: Pair) -> int:
        return use(pair)

    with testing.Session(app) as session:
        assert session.run({"left": 3, "right": []}) == 3
        with pytest.raises(RequestError, match="parameter 'pair'") as caught:
            session.run({"left": "x", "right": []})

    assert caught.value.status is HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    ("annotation", "sent"),
    [
        pytest.param(npt.NDArray[np.int64], [10**30], id="a number that the dtype does not hold"),
        pytest.param(npt.NDArray[np.float64], [[[[]], 1]], id="lists of unlike depth"),
        pytest.param(Share, {"part": 7}, id="an assertion of the dataclass"),
    ],
)
def test_whatever_is_wrong_with_a_parameter_is_the_callers_fault(annotation, sent):
    app = App("typed")

    @app.stage()
    def use(value: annotation) -> int:
        return 1

    @app.flow
    def run(value: annotation) -> int:
        return use(value)

    with testing.Session(app) as session, pytest.raises(RequestError, match="parameter 'value'") as caught:
        session.run(sent)

    assert caught.value.status is HTTPStatus.BAD_REQUEST


def test_a_batched_stage_on_a_gpu_may_be_called_by_keyword():
    app = App("named")

    @app.batched(max_size=4, gpu=GPU(memory=1000))
    def twice(items: list[int]) -> list[int]:
        return [2 * item for item in items]

    @app.flow
    def run(item: int) -> int:
        return twice(items=item)

    with testing.Session(app) as session:
        assert session.run(3) == 6


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_parameters_walked_together_in_different_lengths_are_refused(grain):
    app = App("together")

    @app.stage()
    def add(a: int, b: int) -> int:
        return a + b

    @app.flow
    def run(a: list[int], b: list[int]) -> list[int]:
        return add.map(a, b)

    with testing.Session(app) as session:
        assert session.run([1, 2], [3, 4], grain=grain) == [4, 6]
        with pytest.raises(RequestError, match="different lengths: 1 and 2"):
            session.run([1], [3, 4], grain=grain)


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [(Pair(1, [2, 3]), ("right", 1), 3), ({"a": (1, 2)}, ("a", 0), 1), (5, (), 5)],
)
def test_a_path_is_followed_through_fields_and_places(value, path, found):
    assert follow(value, path) == found


@pytest.mark.parametrize(
    ("value", "path"), [("text", (0,)), (Pair(1, []), ("none",)), ([], (0,)), (None, ("a",))]
)
def test_a_path_that_leads_nowhere_is_an_error(value, path):
    with pytest.raises((AttributeError, LookupError, TypeError)):
        follow(value, path)


def greedy() -> App:
    """Stages that change whatever they are given, and keep what they gave."""
    app = App("greedy")
    kept: list[list[object]] = []

    @app.stage()
    def give(item: int) -> list[object]:
        if not kept:
            kept.append([[item], {"a": [item]}, Pair(item, [item])])
        return kept[0]

    @app.stage()
    def spoil(things: list[object], again: list[object]) -> int:
        things[0].append(1)
        things[1]["a"].append(2)
        things[2].right.append(3)
        again.clear()
        things.clear()
        return 0

    @app.stage()
    def look(things: list[object], after: int) -> str:
        return repr(things)

    @app.flow
    def run(item: int) -> list[str]:
        things = give(item)
        return look.map([things, things], after=spoil(things, things))

    return app


@pytest.mark.parametrize("grain", ["coarse", "fine", "give+spoil | look", "give | spoil+look"])
def test_a_stage_that_changes_what_it_is_given_changes_nobody_elses(grain):
    with testing.Session(greedy()) as session:
        answers = [session.run(1, grain=grain) for _ in range(2)]

    assert answers == [["[[1], {'a': [1]}, Pair(left=1, right=[1])]"] * 2] * 2


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_a_dataclass_that_no_other_process_could_build_fails_at_any_grain(grain):
    @dataclass
    class Local:
        item: int

    app = App("local")

    @app.stage()
    def give(item: int) -> object:
        return [Local(item)]

    @app.stage()
    def take(given: object) -> int:
        return 1

    @app.flow
    def run(item: int) -> int:
        return take(give(item))

    with pytest.raises(RequestError, match=r"stage 'give' returned what cannot travel: .*Local.* at \[0\]"):
        testing.run(app, 1, grain=grain)


def without_fields() -> App:
    """A flow that reads parts of results which are not always there."""
    app = App("without")

    @app.stage(errors="return")
    def locate(item: int) -> Pair:
        return Pair(12 // item, [])

    @app.stage()
    def halve(item: int) -> tuple[int, int]:
        return (item, item) if item != 7 else None

    @app.stage()
    def use(left: int, half: int) -> int:
        return left + half

    @app.flow
    def run(item: int) -> int:
        half, _ = halve(item)
        return use(locate(item).left, half=half)

    return app


@pytest.mark.parametrize("grain", ["coarse", "fine", "locate+halve | use"])
@pytest.mark.parametrize(
    ("item", "stage", "error"),
    [
        (0, "locate", "AttributeError: 'Failure' object has no attribute 'left'"),
        (7, "halve", "TypeError: NoneType has no places"),
    ],
)
def test_a_result_without_the_part_that_the_flow_reads_fails_its_own_request(grain, item, stage, error):
    with testing.Session(without_fields()) as session:
        bad, good = session.together([{"item": item}, {"item": 3}], grain=grain)

    assert (bad.status, bad.stage) == (HTTPStatus.INTERNAL_SERVER_ERROR, stage)
    assert bad.detail == f"stage {stage!r} has no such field: {error}"
    assert good.value == 7


def points_of(annotation: object) -> App:
    app = App("points")

    @app.stage()
    def left(pair: Pair) -> int:
        return pair.left

    @app.flow
    def run(points: annotation) -> list[int]:
        return left.map(points)

    return app


@pytest.mark.parametrize("grain", ["coarse", "fine"])
@pytest.mark.parametrize(
    ("annotation", "refused"),
    [
        (list[Pair] | None, [None]),
        (Sequence[Pair], ["text"]),
        (tuple[Pair, Pair], [[PAIR], [PAIR] * 3]),
        (Annotated[list[Pair], msgspec.Meta(max_length=2)], [[PAIR] * 3]),
        (Annotated[list[Pair], msgspec.Meta(min_length=2)] | None, [[PAIR], None]),
    ],
    ids=str,
)
def test_a_list_is_read_alike_as_a_whole_and_item_by_item(grain, annotation, refused):
    with testing.Session(points_of(annotation)) as session:
        assert session.run([PAIR, {"left": 2, "right": [3]}], grain=grain) == [1, 2]
        for wrong in ([PAIR, {"left": "x", "right": []}], [PAIR, {"left": 1}], *refused):
            with pytest.raises(RequestError) as caught:
                session.run(wrong, grain=grain)
            assert caught.value.status is HTTPStatus.BAD_REQUEST, wrong
