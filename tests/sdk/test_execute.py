import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regrain
from regrain import App, Failure, testing
from regrain.context import Context
from regrain.errors import RequestError
from regrain.execute import Executor, Work
from regrain.outcomes import Ended, Failed, Gave, Outcome
from regrain.plan import Step, steps


@dataclass
class Pair:
    left: int
    right: list[int]


def diamond() -> App:
    app = App("diamond")

    @app.stage()
    def split(numbers: list[int]) -> tuple[list[int], int]:
        return [number + 1 for number in numbers], len(numbers)

    @app.batched(max_size=3)
    def double(items: list[int], plus: list[int]) -> list[int]:
        return [2 * item + more for item, more in zip(items, plus, strict=True)]

    @app.stage()
    def pair(item: int, again: int) -> Pair:
        return Pair(item, [again])

    @app.stage()
    def total(items: list[int]) -> int:
        return sum(items)

    @app.stage()
    def join(pairs: list[Pair], total: int, many: dict[str, object]) -> list[object]:
        return [[one.left, *one.right] for one in pairs] + [total, many["count"], many["fixed"]]

    @app.flow
    def run(numbers: list[int]) -> list[object]:
        more, count = split(numbers)
        doubled = double.map(more, plus=count)
        return join(pair.map(doubled, more), total(doubled), {"count": count, "fixed": [1, 2]})

    app.plain = run
    return app


DIAMOND = diamond()
GRAINS = [
    "coarse",
    "fine",
    "split | double+pair+total | join",
    "split+double | pair | total+join",
    "split | double | pair+total | join",
]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(GRAINS), st.lists(st.lists(st.integers(-5, 5), max_size=5), min_size=1, max_size=4))
def test_any_grain_answers_as_plain_python_for_requests_that_share_batches(grain, requests):
    with testing.Session(DIAMOND) as session:
        replies = session.together([{"numbers": numbers} for numbers in requests], grain=grain)

    assert [reply.value for reply in replies] == [DIAMOND.plain(numbers) for numbers in requests]


class Stand:
    """An app of one stage, its executor, and what its body was called with."""

    def __init__(
        self, body: Callable[..., object], *, mapped: bool = False, batched: bool = False, **options: object
    ):
        self.calls: list[tuple[object, ...]] = []
        self.app = App("stand")
        declare = self.app.batched if batched else self.app.stage

        def stage(item, plus=0):
            self.calls.append((item,) if not batched else (list(item),))
            return body(item)

        declared = declare(name="stage", **options)(stage)

        def flow(given):
            return declared.map(given) if mapped else declared(given)

        self.app.flow(flow)
        self.began: list[str] = []
        self.executor = Executor(self.app, clock=time.monotonic, began=self.began.append)
        self.executor.load(["stage"])
        [self.step] = steps(self.app.graph, (("stage",),))

    def run(self, *values: object, whole: bool = False) -> list[Outcome]:
        """Run one unit per value; `whole` lets a map run inside of a request."""
        step = self.whole() if whole else self.step
        return self.executor.run(
            step, [Work(Context(call_id=str(n)), [value]) for n, value in enumerate(values)]
        )[0]

    def whole(self) -> Step:
        from msgspec.structs import replace

        inputs = tuple(replace(entry, each=False) for entry in self.step.inputs)
        return replace(self.step, inputs=inputs, per_item=False)


def halves(items: list[int]) -> list[float]:
    return [12 / item for item in items]


def test_items_of_several_requests_share_batches_of_max_size():
    stand = Stand(lambda items: [item * 10 for item in items], mapped=True, batched=True, max_size=3)

    outcomes = stand.run([1, 2], [], [3, 4, 5], [6, 7], whole=True)

    assert outcomes == [Gave([[10, 20]]), Gave([[]]), Gave([[30, 40, 50]]), Gave([[60, 70]])]
    assert stand.calls == [([1, 2, 3],), ([4, 5, 6],), ([7],)]


def test_items_of_like_size_go_together_and_results_keep_their_place():
    stand = Stand(list, mapped=True, batched=True, max_size=2, size=lambda item: -item)

    outcomes = stand.run([1, 9], [8, 2], whole=True)

    assert outcomes == [Gave([[1, 9]]), Gave([[8, 2]])]
    assert stand.calls == [([9, 8],), ([2, 1],)]


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=9), st.integers(1, 4))
def test_of_a_batch_only_the_bad_items_fail(values, max_size):
    stand = Stand(halves, batched=True, max_size=max_size)

    outcomes = stand.run(*values)

    for value, outcome in zip(values, outcomes, strict=True):
        if value:
            assert outcome == Gave([12 / value])
        else:
            assert (outcome.status, outcome.stage) == (HTTPStatus.INTERNAL_SERVER_ERROR, "stage")
            assert "ZeroDivisionError" in outcome.detail


def test_what_is_not_idempotent_is_called_once_and_its_batch_fails_together():
    stand = Stand(halves, batched=True, idempotent=False)

    outcomes = stand.run(1, 0)

    assert all(isinstance(outcome, Failed) for outcome in outcomes)
    assert len(stand.calls) == 1


def spoiling(items: list[list[int]]) -> list[int]:
    for item in items:
        item.append(1)
    if any(item[0] == 0 for item in items):
        raise ValueError("a 0")
    return list(map(len, items))


def spoiling_and_answering(items: list[list[int]]) -> list[int]:
    for item in items:
        item.append(1)
    answering([item[0] for item in items])
    return list(map(len, items))


@pytest.mark.parametrize("body", [spoiling, spoiling_and_answering])
def test_inputs_of_a_batch_that_failed_are_called_alone_as_they_were(body):
    good, bad, other = Stand(body, batched=True).run([5], [0], [6, 7])

    assert (good, other) == (Gave([2]), Gave([3]))
    assert not isinstance(bad, Gave)


def test_so_are_tensors_and_what_each_item_gets_by_keyword():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    app = App("tensors")

    @app.batched()
    def shift(items: list[object], by: list[dict[str, int]]) -> list[object]:
        for item, more in zip(items, by, strict=True):
            more["by"] += 1
            item.add_(more["by"])
        if any(bool((item > 100).any()) for item in items):
            raise ValueError("too much")
        return items

    @app.flow
    def run(items: list[torch.Tensor]) -> list[object]:
        return shift.map(items, by={"by": 1})

    with testing.Session(app) as session:
        bad, good = session.together([{"items": [[1.0], [500.0]]}, {"items": [[2.0]]}])

    assert isinstance(bad, RequestError)
    assert good.value[0].tolist() == [4.0]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param(lambda items: items[1:], "returned 1 results for 2 inputs", id="too few"),
        pytest.param(lambda items: [*items, 1], "returned 3 results for 2 inputs", id="too many"),
        pytest.param(
            lambda items: None, "must return a list, one result per input, it returned NoneType", id="none"
        ),
        pytest.param(dict.fromkeys, "it returned dict", id="dict"),
    ],
)
def test_a_batch_of_the_wrong_length_fails_whole_and_is_not_tried_again(body, text):
    stand = Stand(body, batched=True)

    outcomes = stand.run(1, 2)

    assert all(text in outcome.detail and outcome.stage == "stage" for outcome in outcomes)
    assert len(stand.calls) == 1


def test_an_array_is_a_list_of_results():
    assert Stand(np.array, batched=True).run(1, 2) == [Gave([1]), Gave([2])]


def answering(items: list[int]) -> list[int]:
    if 0 in items:
        regrain.answer("early", status=202, headers={"x-a": "b"})
    return items


def test_an_answer_in_a_batch_ends_its_own_request_alone():
    outcomes = Stand(answering, batched=True).run(1, 0, 2)

    assert outcomes == [Gave([1]), Ended("stage", "early", 202, {"x-a": "b"}), Gave([2])]


def test_an_answer_is_never_given_to_the_callers_beside_it():
    outcomes = Stand(answering, batched=True, idempotent=False).run(1, 0)

    assert all("several requests at once" in outcome.detail for outcome in outcomes)


def test_an_answer_in_one_item_of_a_map_ends_the_request():
    stand = Stand(lambda item: answering([item])[0], mapped=True)

    outcomes = stand.run([1, 0, 2], [3], whole=True)

    assert outcomes == [Ended("stage", "early", 202, {"x-a": "b"}), Gave([[3]])]


@pytest.mark.parametrize("batched", [False, True])
def test_errors_become_values_where_the_stage_says_so(batched):
    body = halves if batched else (lambda item: 12 / item)
    stand = Stand(body, mapped=True, batched=batched, errors="return")

    [outcome] = stand.run([3, 0], whole=True)

    failure = Failure(stage="stage", message="ZeroDivisionError: division by zero")
    assert outcome == Gave([[4.0, failure]])


def test_one_bad_item_fails_its_request_and_no_other():
    stand = Stand(lambda item: 12 / item, mapped=True)

    bad, good = stand.run([3, 0], [2], whole=True)

    assert bad.stage == "stage"
    assert good == Gave([[6.0]])


def test_a_request_error_keeps_its_status():
    def refuse(item):
        raise RequestError(HTTPStatus.CONFLICT, "taken")

    assert Stand(refuse).run(1) == [Failed(HTTPStatus.CONFLICT, "stage", "taken")]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RequestError("400", "no"), HTTPStatus.BAD_REQUEST),
        (RequestError(HTTPStatus.BAD_REQUEST, ValueError("no")), HTTPStatus.BAD_REQUEST),
        (RequestError(HTTPStatus.CONFLICT, "no \ud83d"), HTTPStatus.CONFLICT),
        (RequestError(None, "no"), HTTPStatus.INTERNAL_SERVER_ERROR),
    ],
)
def test_a_request_error_of_the_wrong_types_costs_its_own_request(error, status):
    def refuse(item):
        if item:
            raise error
        return item

    bad, good = Stand(refuse).run(1, 0)

    assert (bad.status, bad.stage, type(bad.detail)) == (status, "stage", str)
    assert good == Gave([0])


def test_a_long_message_is_cut_and_put_on_one_line():
    def wordy(item):
        raise ValueError("line\n" * 1000)

    [outcome] = Stand(wordy).run(1)

    assert outcome.detail.startswith("stage 'stage' failed: ValueError: line line")
    assert len(outcome.detail) == 300


def test_an_item_whose_size_cannot_be_told_fails_alone():
    stand = Stand(list, batched=True, size=lambda item: 1 / item)

    bad, good = stand.run(0, 2)

    assert "ZeroDivisionError" in bad.detail
    assert good == Gave([2])


@pytest.mark.parametrize("value", [5, {"a": 1}, "text"])
def test_a_map_over_what_is_no_list_fails(value):
    [outcome] = Stand(lambda item: item, mapped=True).run(value, whole=True)

    assert outcome.status is HTTPStatus.BAD_REQUEST
    assert "allowed are list and tuple" in outcome.detail


def test_a_batch_sees_the_context_of_each_call():
    stand = Stand(lambda items: [one.call_id for one in regrain.context().batch], batched=True)

    assert stand.run(5, 5, 5) == [Gave(["0"]), Gave(["1"]), Gave(["2"])]


def test_a_plain_stage_sees_its_own_context():
    assert Stand(lambda item: regrain.context().call_id).run(5, 5) == [Gave(["0"]), Gave(["1"])]


def test_a_result_is_handed_on_read_only():
    array = np.zeros(4)
    [outcome] = Stand(lambda item: {"array": array}).run(1)

    assert not outcome.values[0]["array"].flags.writeable
    assert array.flags.writeable


def test_each_call_is_announced_so_that_a_timeout_is_of_one_call():
    stand = Stand(lambda item: item, mapped=True)

    stand.run([1, 2, 3], whole=True)

    assert stand.began == ["stage", "stage", "stage", ""]


def test_timings_say_what_each_stage_did():
    stand = Stand(list, mapped=True, batched=True, max_size=2)
    ticks = itertools.count()
    stand.executor._clock = lambda: float(next(ticks))

    _, [timing] = stand.executor.run(stand.whole(), [Work(Context(call_id="0"), [[1, 2, 3]])])

    assert (timing.stage, timing.seconds, timing.count, timing.calls) == ("stage", 1.0, 3, 2)
