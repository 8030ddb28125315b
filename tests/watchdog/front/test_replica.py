import asyncio
import math
import mmap
import os
import signal
import socket
import subprocess
import sys
from http import HTTPStatus

import pytest

from regrain.errors import RequestError
from regrain.graph import Ref
from regrain.plan import Group, Output, Step
from regrain.wire import frames
from regrain.wire.boards import PROGRESS
from regrain.wire.codec import pack
from regrain.wire.frames import Answered, Done, Fault, Leaf, Need, Parts, Result, Timing, Value
from regrain_watchdog.front.function import Function
from regrain_watchdog.front.learned import Learned
from regrain_watchdog.front.link import Link
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.replica import Dispatch, Replica, State
from regrain_watchdog.front.segments import FRONT, Pool

pytestmark = pytest.mark.process
STEP = Step(stages=("a", "b"), inputs=(), outputs=(Output(Ref("b")), Output(Ref("a", ("list",)), split=True)))
NUMBER = 7


class Stand:
    """A replica of the front's whose process does nothing, and the other end of its socket in the test's hand."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        self.pool = Pool(64 << 20)
        self.told: list[tuple[object, ...]] = []
        ours, self.peer = socket.socketpair()
        self.peer.settimeout(60)
        home = function_of(STEP, self)
        self.replica = Replica(NUMBER, self.pool, mmap.mmap(-1, 4096), self, home)
        self.replica.pid = self.process.pid
        self.replica.pidfd = os.pidfd_open(self.process.pid)
        self.replica.link = Link(
            ours, frames.FromReplica, received=self.replica.received, closed=self.replica.closed
        )
        self.replica.link.start()
        self.reader: frames.FrameReader[frames.ToReplica] = frames.FrameReader(frames.ToReplica)

    def loaded(self, _: Replica, frame: frames.Loaded) -> None:
        self.told.append(("loaded", frame))

    def load_failed(self, _: Replica, frame: frames.LoadFailed) -> None:
        self.told.append(("load failed", frame))

    def done(self, _: Replica, dispatch: Dispatch, frame: frames.Done) -> None:
        self.told.append(("done", dispatch, frame))

    def gone(self, _: Replica, reason: str) -> None:
        self.told.append(("gone", reason))

    def dispatch(self, size: int = 1, nbytes: int = 1000) -> Dispatch:
        dispatch = self.of(STEP, size)
        self.replica.run([], dispatch, nbytes)
        return dispatch

    def of(self, step: Step, size: int = 1) -> Dispatch:
        return Dispatch(function_of(step, self), [], size, 0.0)

    async def say(self, *sent: frames.FromReplica) -> None:
        """Send as the replica, and let the loop hand it over."""
        self.peer.sendall(b"".join(map(frames.encode, sent)))
        await settle()

    def heard(self) -> list[frames.ToReplica]:
        """What the replica was sent; its descriptors are closed."""
        chunk, descriptors, _, _ = socket.recv_fds(self.peer, 1 << 16, 16)
        for fd in descriptors:
            os.close(fd)
        return list(self.reader.feed(chunk))

    def end(self) -> None:
        self.replica.kill("the test ends")
        self.replica.bury()
        self.process.kill()
        self.process.wait()
        self.peer.close()
        self.pool.close()


def function_of(step: Step, owner: object) -> Function:
    return Function(Group(stages=step.stages), Learned(step), measure=Measure(), owner=owner)


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def play(scenario):
    async def main() -> None:
        stand = Stand()
        try:
            await scenario(stand)
        finally:
            stand.end()

    asyncio.run(main())


def small(value: object) -> Parts:
    return Parts([pack(value, None)])


def items(*values: object) -> Parts:
    return Parts([pack(value, None) for value in values], split=True)


def leaf_in(extent: frames.Extent, **changes: int) -> Parts:
    place = {"segment": extent.segment, "offset": extent.offset, "nbytes": 8, "generation": extent.generation}
    place |= changes
    return Parts([Value(b"\xc7\x00\x01", (Leaf("bytes", (8,), (), **place),))])


def good() -> Result:
    return Result([small(1), items(2, 3)])


def test_a_sound_result_reaches_its_dispatch():
    async def scenario(stand):
        dispatch = stand.dispatch()
        [extent] = dispatch.extents
        done = Done(1, [Result([leaf_in(extent), items(1)])], [Timing("a", 0.1, 1, 1)])

        await stand.say(done)

        assert stand.told == [("done", dispatch, done)]
        assert stand.replica.holding == {}

    play(scenario)


def hostile(name: str, make):
    return pytest.param(make, id=name)


HOSTILE = [
    hostile("unknown run", lambda _: Done(9, [good()], [])),
    hostile("too few outcomes", lambda _: Done(1, [], [])),
    hostile("too many outcomes", lambda _: Done(1, [good(), good()], [])),
    hostile("too few outputs", lambda _: Done(1, [Result([small(1)])], [])),
    hostile("split where it was not asked", lambda _: Done(1, [Result([items(1), items(2)])], [])),
    hostile("whole where items were asked", lambda _: Done(1, [Result([small(1), small(2)])], [])),
    hostile("no value", lambda _: Done(1, [Result([Parts([]), items(2)])], [])),
    hostile("two values", lambda _: Done(1, [Result([Parts(items(1, 2).values), items(2)])], [])),
    hostile("past the extent", lambda e: Done(1, [Result([leaf_in(e, nbytes=e.nbytes + 1), items()])], [])),
    hostile("before the extent", lambda e: Done(1, [Result([leaf_in(e, offset=e.offset - 8), items()])], [])),
    hostile("backwards", lambda e: Done(1, [Result([leaf_in(e, nbytes=-8), items()])], [])),
    hostile(
        "stale generation",
        lambda e: Done(1, [Result([leaf_in(e, generation=e.generation + 1), items()])], []),
    ),
    hostile("foreign segment", lambda e: Done(1, [Result([leaf_in(e, segment=e.segment + 1), items()])], [])),
    hostile(
        "in an early answer", lambda e: Done(1, [Answered(200, {}, leaf_in(e, nbytes=1 << 40).values[0])], [])
    ),
    hostile("impossible status", lambda _: Done(1, [Answered(99_999, {}, small(1).values[0])], [])),
    hostile("time that is no number", lambda _: Done(1, [good()], [Timing("a", math.nan, 1, 1)])),
    hostile("longer than it was gone", lambda _: Done(1, [good()], [Timing("a", 1e308, 1, 1)])),
    hostile("endless time", lambda _: Done(1, [good()], [Timing("a", math.inf, 1, 1)])),
    hostile("time that runs back", lambda _: Done(1, [good()], [Timing("a", -1.0, 1, 1)])),
    hostile("made-up stage", lambda _: Done(1, [good()], [Timing("made up", 0.1, 1, 1)])),
    hostile("room for no run", lambda _: Need(9, 10)),
    hostile("negative room", lambda _: Need(1, -1)),
]


@pytest.mark.parametrize("make", HOSTILE)
def test_a_frame_that_fits_nothing_that_was_asked_ends_the_replica_alone(make):
    async def scenario(stand):
        dispatch = stand.dispatch()

        await stand.say(make(dispatch.extents[0]))

        assert stand.process.wait(60) == -signal.SIGKILL
        [(event, _)] = stand.told
        assert event == "gone"
        assert stand.replica.holding == {1: dispatch}  # for whoever buries it to tell its calls
        assert stand.pool.grant(1, 10)  # the pool goes on

    play(scenario)


def test_a_failing_unit_needs_no_values():
    async def scenario(stand):
        stand.dispatch(size=2)

        await stand.say(Done(1, [Fault(500, "a", "no"), good()], []))

        assert [event for event, *_ in stand.told] == ["done"]

    play(scenario)


def test_a_replica_is_granted_more_room_and_may_write_there():
    async def scenario(stand):
        dispatch = stand.dispatch()

        await stand.say(Need(1, 100_000))

        extent = dispatch.extents[1]
        assert extent.nbytes >= 100_000
        await stand.say(Done(1, [Result([leaf_in(extent, nbytes=100_000), items()])], []))
        assert [event for event, *_ in stand.told] == ["done"]

    play(scenario)


def test_a_replica_that_needs_more_than_there_is_is_told_so():
    async def scenario(stand):
        stand.dispatch(nbytes=0)
        await settle()
        stand.heard()

        await stand.say(Need(1, 1 << 40))

        assert stand.heard() == [frames.Grant(1, None)]
        assert stand.told == []

    play(scenario)


def test_a_batch_is_refused_while_there_are_no_descriptors_and_the_next_one_is_whole(without_descriptors):
    async def scenario(stand):
        extent = stand.pool.grant(FRONT, 8)
        stand.pool.commit(extent, 1)
        units = [frames.Unit("call", 0, 0.0, b"", [leaf_in(extent)])]

        with without_descriptors(), pytest.raises(RequestError, match="Too many open files") as refused:
            stand.replica.run(units, stand.of(STEP), 0)

        assert refused.value.status is HTTPStatus.SERVICE_UNAVAILABLE
        assert stand.replica.holding == {}
        stand.replica.run(units, stand.of(STEP), 0)
        await settle()
        assert [type(frame) for frame in stand.heard()] == [frames.Segment]
        assert [type(frame) for frame in stand.heard()] == [frames.Define, frames.Run]

    play(scenario)


def test_room_that_cannot_be_handed_over_is_refused_and_given_back(without_descriptors):
    async def scenario(stand):
        dispatch = stand.dispatch(nbytes=0)
        stand.pool.commit(stand.pool.grant(NUMBER, 100_000), 0)
        await settle()
        stand.heard()

        with without_descriptors():
            await stand.say(Need(1, 100_000))

        assert stand.heard() == [frames.Grant(1, None)]
        assert (dispatch.extents, stand.pool.in_use, stand.told) == ([], 0, [])

    play(scenario)


def test_a_step_is_defined_and_a_segment_is_sent_once():
    async def scenario(stand):
        stand.dispatch()
        stand.dispatch()
        await settle()

        sent = []
        while len(sent) < 4:
            sent += stand.heard()

        assert [type(frame) for frame in sent] == [frames.Segment, frames.Define, frames.Run, frames.Run]
        assert sent[0].writable

    play(scenario)


def test_a_segment_that_was_never_sent_needs_no_drop():
    async def scenario(stand):
        dispatch = stand.dispatch()
        stand.replica.drop(dispatch.extents[0].segment + 1)
        stand.replica.drop(dispatch.extents[0].segment)
        await settle()

        sent = []
        while len(sent) < 4:
            sent += stand.heard()

        assert sent[3:] == [frames.Drop(dispatch.extents[0].segment)]

    play(scenario)


def test_a_batch_too_large_for_a_frame_is_refused_and_holds_nothing(monkeypatch):
    monkeypatch.setattr(frames, "MAX_FRAME", 1000)

    async def scenario(stand):
        unit = frames.Unit("x" * 2000, 0, 0.0, b"", [])

        with pytest.raises(RequestError, match="cannot be handed over"):
            stand.replica.run([unit], stand.of(STEP), 1000)

        assert stand.replica.holding == {}
        assert stand.pool.in_use == 0

    play(scenario)


def test_a_replica_shows_which_stage_it_runs_and_since_when():
    async def scenario(stand):
        PROGRESS.pack_into(stand.replica.progress, 0, 3, 12.5)

        assert stand.replica.running() == (3, 12.5)

    play(scenario)


def test_loads_are_reported_with_their_seconds():
    async def scenario(stand):
        stand.replica.load(("a", "b"))
        await settle()
        assert stand.heard() == [frames.Load(("a", "b"))]

        await stand.say(frames.Loaded(("a", "b"), {"a": 0.5}), frames.LoadFailed("b", "no model"))

        assert [event for event, _ in stand.told] == ["loaded", "load failed"]
        assert stand.replica.load_seconds == {"a": 0.5}

    play(scenario)


def test_what_a_dead_replica_was_writing_is_free_again():
    async def scenario(stand):
        stand.dispatch()
        assert stand.pool.in_use

        stand.replica.kill("gone")
        stand.replica.bury()

        assert (stand.pool.in_use, stand.replica.state) == (0, State.DEAD)

    play(scenario)


STREAM = Step(stages=("b",), inputs=(), outputs=(Output(Ref("b")),), streams=True)


def test_a_warm_up_of_a_stream_is_granted_one_item_and_then_told_to_end():
    async def scenario(stand):
        stand.replica.run([], stand.of(STREAM), 0)
        await settle()

        heard = [frame for frame in stand.heard() if isinstance(frame, frames.Credit)]
        assert heard == [frames.Credit(1, 1), frames.Credit(1, 0)]
        await stand.say(frames.Item(1, pack("first", None)), Done(1, [Result([small(None)])], []))
        assert [told[0] for told in stand.told] == ["done"]

    play(scenario)


@pytest.mark.parametrize("step", [STEP, STREAM])
def test_a_replica_that_sends_more_items_than_it_was_granted_is_killed(step):
    async def scenario(stand):
        stand.replica.run([], stand.of(step), 0)
        await stand.say(*[frames.Item(1, pack(number, None)) for number in range(2)])

        assert stand.told == [("gone", "it sent an item that nobody granted")]

    play(scenario)


def test_a_replica_that_sends_an_item_in_a_segment_is_killed():
    async def scenario(stand):
        stand.replica.run([], stand.of(STREAM), 0)
        (value,) = leaf_in(frames.Extent(1, 0, 64, 1)).values
        await stand.say(frames.Item(1, value))

        assert stand.told == [("gone", "it sent an item that nobody granted")]

    play(scenario)
