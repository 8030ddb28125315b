"""What a stage's body raises ends its own call, whatever it is."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from regrain import App, answer, testing
from regrain.calls import Job, call_batch, set_apart
from regrain.context import Context
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


def endless(x: int) -> object:
    value: dict[str, object] = {"x": x}
    value["itself"] = value
    return value


KEPT = np.ones(1)


def too_large(x: int) -> object:
    return np.broadcast_to(KEPT, 2**58)


def too_long(x: int) -> object:
    """A list of 64 MiB, for whose copy there is no memory left: neither new nor what was freed before."""
    items = [x] * 2**23
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    limit_data(used + 2**23)
    with suppress(MemoryError):
        while True:
            HOARD.append(np.empty(2**25, np.uint8))
    return items


HOARD: list[object] = []


def limit_data(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (size, resource.getrlimit(resource.RLIMIT_DATA)[1]))


@pytest.fixture
def limited() -> Iterator[None]:
    """Lift a limit of memory that a test set."""
    before, _ = resource.getrlimit(resource.RLIMIT_DATA)
    yield
    limit_data(before)
    HOARD.clear()


@dataclass
class Growing:
    """What adds to a dict whenever it is read, as a thread of its stage may meanwhile."""

    items: dict[object, object]


Growing.items = property(
    lambda self: vars(self)["items"].update({len(vars(self)["items"]): 0}),
    lambda self, items: vars(self).update(items=items),
)


def growing(x: int) -> object:
    items: dict[object, object] = {}
    items["itself"] = Growing(items)
    return items


UNCOPIED = [
    (endless, "more than 100 containers"),
    (too_large, "Unable to allocate"),
    (too_long, "MemoryError"),
    (growing, "dictionary changed size during iteration"),
]


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("batched", [False, True], ids=["alone", "batched"])
@pytest.mark.parametrize(("give", "told"), UNCOPIED)
def test_what_cannot_be_copied_costs_its_own_request_alone(give, told, batched):
    app = App("copies")
    kept = np.zeros(3)

    def each(x: int) -> object:
        kept[:] = x
        return give(x) if x == 1 else kept[:1].copy()

    if batched:

        @app.batched(max_size=3)
        def fill(xs: list[int]) -> list[object]:
            return [each(x) for x in xs]

    else:

        @app.stage()
        def fill(x: int) -> object:
            return each(x)

    @app.stage()
    def look(given: object) -> int:
        return int(given[0])

    @app.flow
    def flow(x: int) -> int:
        return look(fill(x))

    with testing.Session(app) as session:
        replies = session.together([{"x": number} for number in range(4)])

    assert [reply.value for reply in replies if reply is not replies[1]] == [0, 2, 3]
    assert replies[1].status == 500
    assert "stage 'fill'" in replies[1].detail
    assert told in replies[1].detail


@pytest.mark.parametrize("place", [0, 2], ids=["first", "last"])
def test_a_tensor_that_cannot_be_copied_costs_its_own_request_alone(place):
    torch = pytest.importorskip("torch")
    app = App("tensors")

    @app.stage()
    def make(x: int) -> object:
        return torch.ones(1).expand(2**58) if x == place else torch.ones(1)

    @app.stage()
    def look(given: object) -> int:
        return len(given)

    @app.flow
    def flow(x: int) -> int:
        return look(make(x))

    with testing.Session(app) as session:
        replies = session.together([{"x": number} for number in range(3)])

    failed = replies.pop(place)
    assert [reply.value for reply in replies] == [1, 1]
    assert failed.status == 500
    assert "can't allocate memory" in failed.detail


GIVEN_BACK = [
    pytest.param(lambda tensor: tensor, id="itself"),
    pytest.param(lambda tensor: {"tensor": tensor.mul_(2)}, id="changed, in a container"),
]


@pytest.mark.parametrize("give", GIVEN_BACK)
def test_a_tensor_that_a_stage_was_given_and_hands_on_is_not_copied_again(give):
    torch = pytest.importorskip("torch")
    app = App("passes")
    seen = []

    @app.batched(max_size=2)
    def hand_on(tensors: list[object]) -> list[object]:
        seen.extend(tensor.data_ptr() for tensor in tensors)
        return [give(tensor) for tensor in tensors]

    body = app.stages["hand_on"].build()
    jobs = [Job(Context(call_id="c"), (torch.ones(1000),), {}) for _ in range(2)]

    call_batch(app.stages["hand_on"].spec, body, jobs)
    set_apart(jobs)

    results = [job.result if isinstance(job.result, torch.Tensor) else job.result["tensor"] for job in jobs]
    assert [result.data_ptr() for result in results] == seen


@dataclass
class Spoilt:
    """What cannot be copied any more once it is spoilt."""

    place: int


SPOILT: set[int] = set()
Spoilt.place = property(
    lambda self: endless(0) if vars(self)["place"] in SPOILT else vars(self)["place"],
    lambda self, place: vars(self).update(place=place),
)


def test_an_item_that_cannot_be_copied_to_be_tried_alone_fails_alone():
    app = App("spoils")
    SPOILT.clear()

    @app.stage()
    def make(x: int) -> Spoilt:
        return Spoilt(x)

    @app.batched(max_size=3)
    def look(items: list[Spoilt]) -> list[int]:
        if len(items) > 1:
            SPOILT.add(1)
            raise ValueError("too many")
        return [item.place for item in items]

    @app.flow
    def flow(x: int) -> int:
        return look(make(x))

    with testing.Session(app) as session:
        first, failed, last = session.together([{"x": number} for number in range(3)])

    assert (first.value, last.value) == (0, 2)
    assert failed.status == 500
    assert "more than 100 containers" in failed.detail
