"""A replica's loop as it runs steps for the front: outcomes, room for results, boards, and its end."""

import gc
import os
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest

from regrain.app import App
from regrain.errors import RequestError
from regrain.graph import Ref
from regrain.plan import Input, Output, Step, steps
from regrain.wire import frames
from regrain.wire.codec import pack, pack_list
from regrain.wire.frames import (
    Define,
    Done,
    Drop,
    Fault,
    Grant,
    Load,
    Loaded,
    Need,
    Result,
    Run,
    Stop,
    Unit,
)
from regrain_runtime import loop


def unit(*values: object, slot: int = 1) -> Unit:
    return Unit("call", slot, 0.0, b"", [frames.Parts([pack(value, None)]) for value in values])


def step_of(app: App, *stages: str) -> Step:
    rest = tuple((stage,) for stage in app.graph.stages if stage not in stages)
    return next(step for step in steps(app.graph, (stages, *rest)) if step.stages == stages)


def test_a_run_gives_an_outcome_for_each_unit_and_one_bad_unit_harms_no_other(front, maps):
    front.send(Load(("mean",)), Define(4, step_of(maps, "mean")))
    front.receive(), front.receive()
    unreadable = frames.Parts([msgspec.structs.replace(pack(1, None), skeleton=b"\xc1")])

    good, bad, failed = front.results(
        Run(7, 4, [unit(np.ones(3)), Unit("call", 1, 0.0, b"", [unreadable]), unit("text")], [])
    )

    assert [front.value(parts) for parts in good.outputs] == [1.0]
    assert (bad.status, bad.stage) == (500, "mean")
    assert "cannot be read" in bad.detail
    assert "stage 'mean' failed" in failed.detail


def test_results_are_written_into_the_extents_and_more_room_is_asked_for(front, maps):
    front.send(Load(("block",)), Define(1, step_of(maps, "block")))
    front.receive(), front.receive()
    small = front.segment(1, 8 << 10)

    front.send(Run(1, 1, [unit(2)], [small]))
    need = front.receive()
    large = front.segment(2, 1 << 20)
    [result] = front.results(Grant(1, large))

    assert need == Need(1, 64 * 64 * 8)
    assert [
        leaf.generation for parts in result.outputs for value in parts.values for leaf in value.leaves
    ] == [102]
    assert np.array_equal(front.value(result.outputs[0]), np.full((64, 64), 2.0))


def test_a_run_that_is_refused_room_fails_with_503_and_later_runs_keep_their_turn(front, maps):
    front.send(Load(("block",)), Define(1, step_of(maps, "block")))
    front.receive(), front.receive()

    front.send(Run(1, 1, [unit(2)], []))
    assert isinstance(front.receive(), Need)
    front.send(Run(2, 1, [unit(3)], []), Grant(1, None))

    done = front.receive()
    assert (done.run, [fault.status for fault in done.outcomes]) == (1, [503])
    assert front.receive() == Need(2, 64 * 64 * 8)
    front.send(Grant(2, None))
    assert front.receive().run == 2


def test_a_list_that_others_walk_leaves_item_by_item(front, maps):
    front.send(Load(("widen",)), Define(1, step_of(maps, "widen")))
    front.receive(), front.receive()

    [result] = front.results(Run(1, 1, [unit([1, 2], 3)], []))

    assert sorted((parts.split, front.value(parts)) for parts in result.outputs) == [
        (False, 3.0),
        (True, [3, 3, 6, 6]),
    ]


def test_what_others_walk_must_be_a_list(attach):
    app = App("walks")

    @app.stage()
    def make(item: int) -> object:
        return {"a": item}

    @app.stage()
    def take(item: int) -> int:
        return item

    @app.flow
    def run(item: int) -> list[int]:
        return take.map(make(item))

    front = attach(app)
    try:
        front.send(Load(("make",)), Define(1, step_of(app, "make")))
        front.receive(), front.receive()

        [fault] = front.results(Run(1, 1, [unit(1)], []))

        assert "a dict cannot be mapped over; allowed are list and tuple" in fault.detail
    finally:
        front.end()


def sized_app() -> App:
    app = App("sized")

    @app.stage()
    def make(item: int) -> list[str]:
        return ["x" * item, "", "xyz"]

    @app.batched(size=lambda text: 1 / len(text))
    def take(texts: list[str]) -> list[str]:
        return texts

    @app.flow
    def run(item: int) -> list[str]:
        return take.map(make(item))

    return app


def test_items_bring_their_size_for_the_stage_that_takes_them_and_0_where_it_cannot_tell(attach):
    app = sized_app()
    front = attach(app)
    try:
        front.send(Load(("make",)), Define(1, step_of(app, "make")))
        front.receive(), front.receive()

        [result] = front.results(Run(1, 1, [unit(2)], []))

        assert [value.size for value in result.outputs[0].values] == [0.5, 0.0, pytest.approx(1 / 3)]
    finally:
        front.end()


def test_an_answer_too_large_for_a_frame_is_a_fault(front, maps, monkeypatch):
    monkeypatch.setattr(frames, "MAX_FRAME", 2000)
    front.send(Load(("widen",)), Define(1, step_of(maps, "widen")))
    front.receive(), front.receive()

    [fault] = front.results(Run(1, 1, [unit(list(range(300)), 1)], []))

    assert isinstance(fault, Fault)
    assert "cannot travel" in fault.detail


def test_an_error_of_the_wrong_types_costs_its_own_unit_and_gives_headers(attach):
    app = App("odd")
    odd = {
        1: RequestError(
            "429", ValueError("later"), headers={"Retry-After": "7", "Content-Length": "3", "X": 1}
        ),
        2: RequestError(409, "half \ud83d"),
    }

    @app.stage()
    def act(item: int) -> int:
        if item in odd:
            raise odd[item]
        return item

    @app.flow
    def run(item: int) -> int:
        return act(item)

    front = attach(app)
    try:
        front.send(Load(("act",)), Define(1, step_of(app, "act")))
        front.receive(), front.receive()

        outcomes = front.results(Run(1, 1, [unit(1), unit(2), unit(3)], []))

        assert outcomes[:2] == [
            Fault(429, "act", "later", {"retry-after": "7"}),
            Fault(409, "act", "half ?"),
        ]
        assert front.value(outcomes[2].outputs[0]) == 3
    finally:
        front.end()


@dataclass
class Moody:
    """Its field cannot be read."""

    mood: int

    def __getattribute__(self, name: str) -> object:
        if name == "mood":
            raise ValueError("not today")
        return super().__getattribute__(name)


def without_memory() -> object:
    """A tensor as it was within vmap, which passes for any other until its values are asked for."""
    torch = pytest.importorskip("torch")
    kept = []
    torch.vmap(lambda row: kept.append(row) or row)(torch.ones(2))
    return kept[0]


def test_what_cannot_be_read_as_it_is_packed_costs_its_own_unit_alone(attach):
    app = App("moody")

    @app.stage()
    def act(item: int) -> object:
        return {1: Moody, 2: lambda _: without_memory()}.get(item, str)(item)

    @app.flow
    def run(item: int) -> object:
        return act(item)

    front = attach(app)
    try:
        front.send(Load(("act",)), Define(1, step_of(app, "act")))
        front.receive(), front.receive()

        first, last, second = front.results(Run(1, 1, [unit(1), unit(3), unit(2)], []))

        assert (first.status, first.stage, second.status, second.stage) == (500, "act", 500, "act")
        assert "not today" in first.detail
        assert "returned what cannot travel" in second.detail
        assert front.value(last.outputs[0]) == "3"
    finally:
        front.end()


def test_segments_cost_no_descriptor_of_their_own_once_they_are_mapped(front, maps):
    front.send(Load(("mean",)), Define(4, step_of(maps, "mean")))
    front.receive(), front.receive()
    gc.collect()  # what other tests left behind closes now, not meanwhile
    before = len(os.listdir("/proc/self/fd"))

    for number in range(20):
        front.segment(number, 4096)
        front.mappings.drop(number)
        front.send(Drop(number))
    front.results(Run(1, 4, [unit(np.ones(3))], []))

    assert len(os.listdir("/proc/self/fd")) == before


def test_stages_see_the_cancel_board_at_their_slot(attach):
    import regrain

    app = App("cancels")

    @app.stage()
    def ask(item: int) -> bool:
        front.cancels[item] = 1  # that caller leaves while this runs
        return regrain.context().cancelled

    @app.flow
    def run(item: int) -> bool:
        return ask(item)

    front = attach(app)
    try:
        front.send(Load(("ask",)), Define(1, step_of(app, "ask")))
        front.receive(), front.receive()

        outcomes = front.results(Run(1, 1, [unit(3, slot=4), unit(5, slot=5)], []))

        assert [front.value(result.outputs[0]) for result in outcomes] == [False, True]

        outcomes = front.results(Run(2, 1, [unit(6, slot=6), unit(7, slot=5)], []))

        assert front.value(outcomes[0].outputs[0]) is True
        assert (outcomes[1].status, outcomes[1].stage) == (504, "ask")  # its caller had left before
        assert front.cancels[7] == 0
    finally:
        front.end()


def test_the_progress_board_counts_stages_in_the_order_of_the_graph(attach):
    seen = []
    app = App("order")

    @app.stage()
    def last(item: int) -> int:
        seen.append(loop.PROGRESS.unpack_from(front.progress)[0])
        return item

    @app.stage()
    def first(item: int) -> int:
        seen.append(loop.PROGRESS.unpack_from(front.progress)[0])
        return item

    @app.flow
    def run(item: int) -> int:
        return last(first(item))

    front = attach(app)
    try:
        front.send(Load(("first", "last")), Define(1, steps(app.graph, (("first", "last"),))[0]))
        front.receive(), front.receive(), front.receive()

        front.results(Run(1, 1, [unit(1)], []))

        assert seen == [0, 1]
        assert loop.PROGRESS.unpack_from(front.progress)[0] == -1
    finally:
        front.end()


def test_short_runs_that_arrived_together_share_a_write(front, maps):
    front.send(Load(("mean",)), Define(1, step_of(maps, "mean")))
    front.receive(), front.receive()

    front.send(*(Run(number, 1, [unit(np.ones(3))], []) for number in range(8)))

    assert [front.receive().run for _ in range(8)] == list(range(8))


def test_stop_finishes_what_was_read_before(front, maps):
    front.send(Load(("mean",)), Define(1, step_of(maps, "mean")), Run(1, 1, [unit(np.ones(3))], []), Stop())

    assert [type(front.receive()) for _ in range(3)] == [Loaded, Loaded, Done]
    front.thread.join(front.timeout)
    assert not front.thread.is_alive()


def test_per_item_units_bring_an_item_each(front, maps):
    step = step_of(maps, "square")
    assert (step.per_item, step.inputs) == (True, (Input(Ref("widen", ("items",)), each=True),))
    assert step.outputs == (Output(Ref("square"), split=False),)
    front.send(Load(("square",)), Define(1, step))
    front.receive(), front.receive()

    outcomes = front.results(Run(1, 1, [unit(2), unit(3)], []))

    assert [front.value(result.outputs[0]) for result in outcomes] == [4, 9]


def test_a_split_list_arrives_as_a_list(front, maps):
    step = step_of(maps, "join")
    front.send(Load(("join",)), Define(1, step))
    front.receive(), front.receive()
    by_node = {"shift": pack_list([1.5], None), "square": pack_list([], None)}
    values = [
        by_node.get(entry.ref.node, unit(2.0 if entry.ref.node == "mean" else [7]).values[0])
        for entry in step.inputs
    ]

    [result] = front.results(Run(1, 1, [Unit("call", 0, 0.0, b"", values)], []))

    assert isinstance(result, Result)
    assert front.value(result.outputs[0]) == {"shifted": [1.5], "squares": [], "mean": 2.0, "numbers": [7]}
