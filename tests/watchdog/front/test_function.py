import asyncio
import mmap
import time
from http import HTTPStatus
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import RequestError
from regrain.graph import Graph, Node, Ref
from regrain.plan import Group, Plan
from regrain.wire.codec import pack
from regrain.wire.frames import Done, Fault, Leaf, Parts, Result, Timing, Unit, Value
from regrain_watchdog.front import function
from regrain_watchdog.front.call import Call, Span
from regrain_watchdog.front.flight import Flight, Job
from regrain_watchdog.front.function import Function
from regrain_watchdog.front.learned import Learned
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.replica import Dispatch, Replica, State
from regrain_watchdog.front.route import Route, make_route
from regrain_watchdog.front.segments import FRONT, Pool

GRAPH = Graph(("s",), (Node("a", (Ref("$s"),)),), Ref("a"))
LATER = 1e9


class Stand:
    """A function with replicas that nobody answers for; the test does."""

    def __init__(
        self, *, max_size: int = 2, max_wait: float = 0.0, replicas: int = 1, memory: int = 16 << 20
    ) -> None:
        self.pool = Pool(memory)
        self.group = Group(stages=("a",), max_size=max_size, max_wait=max_wait)
        self.route: Route = make_route(GRAPH, Plan((self.group,)))
        self.given_back: list[tuple[Job, RequestError]] = []
        self.function = Function(self.group, Learned(self.route.steps[0]), measure=Measure(), owner=self)
        self.function.replicas += [self.replica(number) for number in range(1, replicas + 1)]

    def replica(self, number: int) -> Replica:
        homes = [self.function]
        return Replica(number, self.pool, mmap.mmap(-1, 4096), None, *homes, homes, state=State.READY)

    def job(
        self,
        *,
        deadline: float = 0.0,
        parts: Parts | None = None,
        is_sample: bool = False,
        firm: bool = False,
        name: str = "test",
        spans: list[Span] | None = None,
    ) -> Job:
        call = Call(
            id=name, values={}, headers=b"", arrived=0.0, deadline=deadline, is_sample=is_sample, firm=firm
        )
        call.spans = call.spans if spans is None else spans
        [job] = Flight(self.route, call).start({Ref("$s"): parts or Parts([pack(1, None)])})
        return job

    def refused(self, job: Job, error: RequestError) -> None:
        self.given_back.append((job, error))

    def push(self, *jobs: Job) -> None:
        for job in jobs:
            self.function.push(job)
        self.function.pump()

    def held(self) -> list[list[Job]]:
        return [dispatch.jobs for replica in self.function.replicas for dispatch in replica.holding.values()]

    def finish(self, seconds: float, replica: int = 0, *, calls: int = 1) -> Dispatch:
        run, dispatch = self.function.replicas[replica].holding.popitem()
        outcomes = [Fault(500, "a", "")] * dispatch.size
        timing = Timing("a", seconds, calls, calls)
        self.function.finished(dispatch, Done(run, outcomes, [timing]), time.monotonic())
        return dispatch


def test_a_batch_holds_max_size_at_most_and_the_rest_waits():
    stand = Stand(max_size=2)
    jobs = [stand.job() for _ in range(3)]

    for job in jobs:
        stand.function.push(job)
    stand.function.pump()

    assert stand.held() == [jobs[:2]]
    assert len(stand.function) == 1


def test_the_most_urgent_go_first():
    stand = Stand(max_size=2)
    late, soon, sooner = stand.job(), stand.job(deadline=LATER + 2), stand.job(deadline=LATER + 1)

    stand.push(late, soon, sooner)

    assert stand.held() == [[sooner, soon]]


def test_jobs_of_calls_that_have_ended_are_passed_over():
    stand = Stand()
    gone, alive = stand.job(), stand.job()
    gone.flight.ended = True

    stand.push(gone, alive)

    assert stand.held() == [[alive]]
    assert (gone.flight.flying, alive.flight.flying) == (0, 1)


def test_a_queue_of_ended_calls_alone_sends_nothing():
    stand = Stand()
    gone = stand.job()
    gone.flight.ended = True

    stand.push(gone)

    assert (stand.held(), len(stand.function)) == ([], 0)


def test_batches_go_to_the_replica_that_holds_least():
    stand = Stand(max_size=1, replicas=2)

    stand.push(stand.job(), stand.job(), stand.job())

    assert [len(replica.holding) for replica in stand.function.replicas] == [1, 1]
    assert len(stand.function) == 1


@pytest.mark.parametrize("state", [State.STARTING, State.STOPPING, State.DEAD])
def test_a_replica_that_is_not_ready_gets_nothing(state):
    stand = Stand()
    stand.function.replicas[0].state = state

    stand.push(stand.job())

    assert stand.held() == []


def test_a_replica_that_is_merely_loaded_gets_batches_only_while_the_app_warms_up():
    stand = Stand(max_size=1)
    stand.function.replicas[0].state = State.LOADED
    stand.push(stand.job())
    assert len(stand.held()) == 1
    stand.finish(1.0)

    stand.function.is_warming = False
    stand.push(stand.job())

    assert stand.held() == []


def test_behind_a_short_run_another_one_waits_and_short_units_go_together():
    stand = Stand(max_size=1)
    stand.push(stand.job())
    stand.finish(0.0002)
    jobs = [stand.job() for _ in range(5)]

    for job in jobs:
        stand.function.push(job)
    stand.function.pump()

    assert stand.held() == [jobs[:2], jobs[2:4]]  # 0.5 ms holds two units of 0.2 ms


def test_how_long_a_line_is_believed_to_take_has_nothing_of_cold_runs():
    stand = Stand(max_size=1, replicas=2)
    stand.push(stand.job(is_sample=True))
    stand.finish(3.0)
    stand.push(stand.job())
    stand.finish(0.02)
    stand.function.learned.sample = [stand.job().values]
    for place, replica in enumerate(stand.function.replicas):
        stand.function.warm(replica)
        stand.finish(3.0, place)

    stand.push(*(stand.job() for _ in range(4)))

    assert stand.function.drained_in() == pytest.approx(0.03)  # two wait, and two are half done
    assert stand.function.cost.mean < 1.0


def test_a_batch_that_is_not_full_waits_for_others_until_it_is_due(monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: 100.0)
    monkeypatch.setattr(function, "time", clock)

    async def scenario():
        stand = Stand(max_size=3, max_wait=0.01)
        jobs = [stand.job(), stand.job()]
        stand.push(*jobs)
        assert stand.held() == []

        clock.monotonic = lambda: 100.01
        async with asyncio.timeout(60):
            while not stand.held():
                await asyncio.sleep(0.001)

        assert stand.held() == [jobs]

    asyncio.run(scenario())


def test_a_batch_that_fills_goes_without_waiting():
    async def scenario():
        stand = Stand(max_size=2, max_wait=60.0)
        jobs = [stand.job(), stand.job()]
        stand.push(*jobs)
        assert stand.held() == [jobs]

    asyncio.run(scenario())


def test_room_is_asked_for_by_the_largest_results_so_far():
    stand = Stand()
    stand.push(stand.job(), stand.job())
    [replica] = stand.function.replicas
    run, dispatch = replica.holding.popitem()
    extent = stand.pool.grant(1, 100_000)
    dispatch.extents.append(extent)
    leaf = Leaf("bytes", (100_000,), (), extent.segment, extent.offset, 100_000, extent.generation)
    outcomes = [Result([Parts([Value(b"", (leaf,))])])] * 2

    stand.function.finished(dispatch, Done(run, outcomes, []), time.monotonic())

    assert 2 * 100_000 <= stand.function.learned.room(2) <= 3 * 100_000


def test_a_batch_goes_without_room_when_none_is_free_beforehand():
    stand = Stand(memory=1 << 20)
    stand.function._room = float(4 << 20)
    job = stand.job()

    stand.push(job)

    [dispatch] = stand.function.replicas[0].holding.values()
    assert (dispatch.jobs, dispatch.extents, stand.given_back) == ([job], [], [])
    assert job.flight.flying == 1


class Pod:
    """Another pod that takes so many units in a frame; the test answers for it."""

    is_open = is_hopeful = has_room = True

    def __init__(self, stand: Stand, most: int) -> None:
        self.pool = stand.pool
        self.holding: dict[int, Dispatch] = {}
        self._most = most
        stand.function.peers.append(self)

    def run(self, units: list[Unit], dispatch: Dispatch, _nbytes: int) -> None:
        if len(units) > self._most:
            raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "what a takes is too large for a frame")
        self.holding[len(self.holding)] = dispatch


def test_what_is_too_large_for_a_frame_together_goes_one_by_one():
    stand = Stand(max_size=4, replicas=0)
    pod = Pod(stand, most=1)
    jobs = [stand.job(name=str(number)) for number in range(4)]

    for job in jobs:
        stand.function.push(job)
    stand.function.pump()

    assert [dispatch.jobs for dispatch in pod.holding.values()] == [[job] for job in jobs]
    assert [(job.flight.flying, job.flight.waiting) for job in jobs] == [(1, 0)] * 4
    assert (len(stand.function), stand.given_back) == (0, [])


def test_what_is_too_large_for_a_frame_by_itself_is_refused():
    stand = Stand(max_size=4, replicas=0)
    Pod(stand, most=0)
    jobs = [stand.job(name=str(number)) for number in range(4)]

    for job in jobs:
        stand.function.push(job)
    stand.function.pump()

    assert [(job, error.status) for job, error in stand.given_back] == [(job, 500) for job in jobs]
    assert [(job.flight.flying, job.flight.waiting) for job in jobs] == [(0, 0)] * 4


def test_the_sample_is_kept_to_warm_further_replicas_up():
    stand = Stand()
    extent = stand.pool.grant(FRONT, 100)
    stand.pool.commit(extent, 1)
    leaf = Leaf("bytes", (100,), (), extent.segment, extent.offset, 100, extent.generation)
    stand.push(stand.job(), stand.job(parts=Parts([Value(b"", (leaf,))]), is_sample=True))
    stand.pool.release(extent.generation)  # the call is over
    assert stand.pool.in_use == extent.nbytes
    replica = stand.replica(2)

    stand.function.warm(replica)

    [dispatch] = replica.holding.values()
    assert (dispatch.jobs, dispatch.size) == ([], 1)


def test_a_call_hears_of_its_wait_its_hop_and_its_service():
    stand = Stand()
    job = stand.job()
    stand.push(job)

    stand.finish(0.5)

    assert {(span.kind, span.stage) for span in job.flight.call.spans} == {
        ("wait", ""),
        ("hop", ""),
        ("service", "a"),
    }
    assert next(span.seconds for span in job.flight.call.spans if span.kind == "service") == 0.5


def test_calls_that_are_answered_together_hear_once_of_what_they_share_and_of_separate_ones_their_own_part():
    stand, other, spans = Stand(max_size=4), [], []
    stand.push(*(stand.job(spans=seen) for seen in (other, spans, spans, spans)))

    stand.finish(0.5, calls=4)

    assert sorted((span.kind, span.batch) for span in spans) == [("hop", 4), ("service", 1), ("wait", 1)]
    assert [span.seconds for span in (*other, *spans) if span.kind == "service"] == [0.125, 0.375]


class Brought(Stand):
    """A function to which jobs come one by one; each has a name, and the clock is the test's."""

    def __init__(self, straight: bool, *, max_size: int, max_wait: float) -> None:
        super().__init__(max_size=max_size, max_wait=max_wait, replicas=2)
        self.straight = straight
        self.function.left = lambda _now: (100.0, 200.0, 200.0)
        self.jobs: list[Job] = []

    def come(self, deadline: float, firm: bool) -> None:
        job = self.job(deadline=deadline, firm=firm, name=str(len(self.jobs)))
        self.jobs.append(job)
        if self.straight:
            self.function.bring(job)
        else:
            self.push(job)

    def end(self, replica: int) -> None:
        if self.function.replicas[replica].holding:
            self.finish(0.0004, replica)
        self.function.pump()

    def seen(self) -> object:
        return (
            [[[job.flight.call.id for job in jobs] for jobs in self.held()], len(self.function)],
            [(job.flight.call.id, error.status, error.detail) for job, error in self.given_back],
            [(job.flight.flying, job.flight.waiting, job.flight.call.spans) for job in self.jobs],
            self.function.learned.cost,
        )


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("come"), st.sampled_from((0.0, 1100.0, 1250.0, 1800.0, LATER)), st.booleans()),
            st.tuples(st.just("end"), st.integers(0, 1)),
            st.tuples(st.just("pass"), st.sampled_from((50.0, 300.0))),
        ),
        max_size=12,
    ),
    st.integers(1, 2),
    st.sampled_from((0.0, 400.0)),
)
def test_a_job_that_comes_by_itself_goes_as_if_it_had_waited_its_turn(steps, max_size, max_wait):
    clock = SimpleNamespace(monotonic=lambda: 1000.0)

    async def scenario():
        both = [Brought(straight, max_size=max_size, max_wait=max_wait) for straight in (True, False)]
        for kind, *more in steps:
            if kind == "pass":
                now = clock.monotonic() + more[0]
                clock.monotonic = lambda now=now: now
            for stand in both:
                if kind == "come":
                    stand.come(more[0], firm=more[1] and more[0] > 0.0)
                else:
                    stand.end(*more) if kind == "end" else stand.function.pump()
            assert both[0].seen() == both[1].seen()

    with mock.patch.object(function, "time", clock), mock.patch(f"{__name__}.time", clock):
        asyncio.run(scenario())


def test_draining_refuses_what_waits():
    stand = Stand(max_size=1)
    jobs = [stand.job() for _ in range(3)]
    stand.push(*jobs)

    stand.function.drain(RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "shutting down"))

    assert [job for job, _ in stand.given_back] == jobs[1:]
