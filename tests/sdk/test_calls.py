"""What a stage's body raises ends its own call, whatever it is."""

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pytest

from regrain import App, answer, testing
from regrain.errors import RequestError


class PanicError(BaseException):
    """As libraries in Rust raise it."""


@pytest.mark.parametrize("batched", [False, True], ids=["alone", "batched"])
@pytest.mark.parametrize("error", [asyncio.CancelledError(), PanicError("index out of bounds")], ids=repr)
def test_what_is_no_exception_ends_its_own_call_alone(batched, error):
    app = App("panic")

    def check(item):
        if item == 2:
            raise error
        return item

    if batched:

        @app.batched(max_size=4)
        def stage(items: list[int]) -> list[int]:
            return [check(item) for item in items]

    else:

        @app.stage()
        def stage(item: int) -> int:
            return check(item)

    @app.flow
    def flow(item: int) -> int:
        return stage(item)

    with testing.Session(app) as session:
        first, failed, last = session.together([{"item": 1}, {"item": 2}, {"item": 3}])

    assert (first.value, last.value) == (1, 3)
    assert isinstance(failed, RequestError)
    assert failed.status == 500
    assert type(error).__name__ in failed.detail


def test_a_body_that_exits_ends_the_process():
    app = App("exit")

    @app.stage()
    def stage(item: int) -> int:
        raise SystemExit(item)

    @app.flow
    def flow(item: int) -> int:
        return stage(item)

    with pytest.raises(SystemExit):
        testing.run(app, 3)


@dataclass
class Kept:
    """What a stage keeps from call to call, and gives back."""

    array: np.ndarray = field(default_factory=lambda: np.zeros(3))
    items: list[object] = field(default_factory=list)


def give_array(kept: Kept, x: int) -> object:
    kept.array[:] = x
    return kept.array


def give_view(kept: Kept, x: int) -> object:
    return {"first": give_array(kept, x)[:1]}


def give_list(kept: Kept, x: int) -> object:
    kept.items[:] = [x, {"array": give_array(kept, x)}]
    return kept.items


def give_dataclass(kept: Kept, x: int) -> object:
    give_list(kept, x)
    return kept


def give_answer(kept: Kept, x: int) -> object:
    answer(give_array(kept, x))


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


REUSED = [give_array, give_view, give_list, give_dataclass, give_answer]


@pytest.mark.parametrize("give", REUSED)
def test_what_a_stage_gives_again_and_again_is_each_time_what_it_was(give):
    app = App("reuses")
    kept = Kept()

    @app.stage()
    def fill(x: int) -> object:
        return give(kept, x)

    @app.flow
    def flow(x: int) -> object:
        return fill(x)

    with testing.Session(app) as session:
        apart = [repr(session.run(x=number)) for number in range(3)]
        together = [repr(reply.value) for reply in session.together([{"x": number} for number in range(3)])]
        assert together == apart
    assert len(set(together)) == 3


@pytest.mark.parametrize("give", [list, lambda rows: rows], ids=["its rows", "itself"])
def test_what_a_batched_stage_gives_of_its_buffer_is_of_its_own_batch(give):
    app = App("batches")
    buffer = np.zeros((2, 3))

    @app.batched(max_size=2)
    def fill(xs: list[int]) -> list[object]:
        buffer[: len(xs)] = np.reshape(xs, (-1, 1))
        return give(buffer[: len(xs)])

    @app.flow
    def flow(x: int) -> object:
        return fill(x)

    with testing.Session(app) as session:
        replies = session.together([{"x": number} for number in range(5)])

    assert [reply.value.tolist() for reply in replies] == [[number] * 3 for number in range(5)]


def test_items_that_a_failed_batch_tries_alone_keep_what_they_were_given():
    app = App("alone")
    buffer = np.zeros(3)

    @app.batched(max_size=4)
    def fill(xs: list[int]) -> list[object]:
        if len(xs) > 1:
            raise ValueError("too many")
        buffer[:] = xs[0]
        return [buffer]

    @app.flow
    def flow(x: int) -> object:
        return fill(x)

    with testing.Session(app) as session:
        replies = session.together([{"x": number} for number in range(3)])

    assert [reply.value.tolist() for reply in replies] == [[number] * 3 for number in range(3)]


def test_an_array_that_a_stage_hands_on_is_not_copied_for_the_calls_after_it():
    app = App("passes")
    made, seen = [], []

    @app.stage()
    def make(x: int) -> object:
        array = np.full(1000, x)
        made.append(address(array))
        return array

    @app.stage()
    def hand_on(array: object) -> object:
        return {"array": array[1:]}

    @app.batched(max_size=4)
    def look(given: list[object]) -> list[int]:
        seen.extend(address(item["array"]) for item in given)
        return [int(item["array"][0]) for item in given]

    @app.flow
    def flow(x: int) -> int:
        return look(hand_on(make(x)))

    with testing.Session(app) as session:
        replies = session.together([{"x": number} for number in range(3)])

    assert [reply.value for reply in replies] == [0, 1, 2]
    assert seen == [start + np.dtype(int).itemsize for start in made]
