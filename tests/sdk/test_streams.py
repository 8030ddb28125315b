"""Stages that yield: where they may stand, what the manifest says of them, and how tests see them."""

from collections.abc import Generator, Iterable, Iterator

import pytest

from regrain import App, Response, testing
from regrain.answers import answer
from regrain.errors import RequestError, SpecError, TraceError
from regrain.grain import make_plan


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


def bare(count):
    yield count


class Numbers:
    def __call__(self, count: int) -> Generator[int, None, None]:
        yield from range(count)


@pytest.fixture
def app():
    return App("demo")


def flow_of(app, function):
    app.flow(function)
    return app.manifest()


@pytest.mark.parametrize("body", [numbers, Numbers])
def test_a_generator_and_a_class_whose_call_is_one_stream(app, body):
    stage = app.stage(name="numbers")(body)

    def flow(count: int) -> Iterator[int]:
        return stage(count)

    manifest = flow_of(app, flow)

    assert manifest.stage("numbers").streams
    assert manifest.graph.streams
    assert manifest.answer.schema == {"type": "integer"}
    assert list(flow(3)) == [0, 1, 2]
    assert testing.run(app, 3) == [0, 1, 2]


@pytest.mark.parametrize("annotation", [Iterator[int], Iterable[int], Generator[int, None, None]])
def test_the_flow_says_what_an_item_is(app, annotation):
    stage = app.stage()(numbers)

    def flow(count: int):
        return stage(count)

    flow.__annotations__["return"] = annotation
    assert flow_of(app, flow).answer.schema == {"type": "integer"}


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (list[int], r"its answer is streamed; annotate it as Iterator\[...\]"),
        (Iterator[Response], "an item of it is a value, and no whole HTTP response"),
    ],
)
def test_a_flow_that_streams_is_annotated_as_one(app, annotation, says):
    stage = app.stage()(numbers)

    def flow(count: int):
        return stage(count)

    flow.__annotations__["return"] = annotation
    with pytest.raises(SpecError, match=says):
        flow_of(app, flow)


@pytest.mark.parametrize("body", [numbers, bare])
def test_a_generator_is_not_batched(app, body):
    with pytest.raises(SpecError, match=r"is a generator \(it yields\); a batched stage returns a list"):
        app.batched()(body)


def test_a_generator_has_no_result_that_an_error_could_be(app):
    with pytest.raises(SpecError, match=r"numbers\(\) is a generator .* no result"):
        app.stage(errors="return")(numbers)


def mapped(stage, _total):
    def flow(counts: list[int]):
        return stage.map(counts)

    return flow


def packed(stage, _total):
    return lambda count: {"numbers": stage(count)}


def taken(stage, total):
    return lambda count: total(stage(count))


@pytest.mark.parametrize(
    ("flow", "says"),
    [
        (mapped, "numbers is a generator and cannot be mapped"),
        (packed, "numbers is a generator: what it yields is streamed to the caller"),
        (taken, "numbers is a generator: what it yields is streamed to the caller"),
    ],
)
def test_a_generator_is_called_once_and_is_the_whole_answer(app, flow, says):
    stage = app.stage()(numbers)

    def total(values: object) -> int:
        return 0

    summing = app.stage()(total) if flow is taken else None
    with pytest.raises(TraceError, match=rf"^{__file__}:\d+: {says}"):
        app.flow(flow(stage, summing))


def test_a_group_that_streams_takes_one_request_at_a_time(app):
    @app.batched(max_size=8)
    def double(counts: list[int]) -> list[int]:
        return [count * 2 for count in counts]

    stage = app.stage()(numbers)

    def flow(count: int) -> Iterator[int]:
        return stage(double(count))

    manifest = flow_of(app, flow)

    assert [group.max_size for group in make_plan(manifest, "coarse").groups] == [1]
    assert [group.max_size for group in make_plan(manifest, "fine").groups] == [8, 1]
    with testing.Session(app) as session:
        replies = session.together([{"count": 1}, {"count": 2}])
    assert [reply.value for reply in replies] == [[0, 1], [0, 1, 2, 3]]


def test_what_a_generator_raises_is_its_stages_error(app):
    @app.stage()
    def fails(count: int) -> Iterator[int]:
        yield count
        raise ValueError("no more")

    @app.flow
    def flow(count: int) -> Iterator[int]:
        return fails(count)

    with pytest.raises(RequestError, match="stage 'fails' failed: ValueError: no more"):
        testing.run(app, 1)


@pytest.mark.parametrize(("late", "status"), [(False, 202), (True, 500)])
def test_an_answer_stands_in_for_the_stream_and_not_behind_its_first_item(app, late, status):
    @app.stage()
    def says(late: bool) -> Iterator[int]:
        if late:
            yield 1
        answer("instead", status=202)

    @app.flow
    def flow(late: bool) -> Iterator[int]:
        return says(late)

    with testing.Session(app) as session:
        (reply,) = session.together([{"late": late}])
    assert reply.status == status
