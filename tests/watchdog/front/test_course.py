import mmap
import time
from http import HTTPStatus

import pytest

from regrain.errors import RequestError
from regrain.graph import Graph, Node, Ref
from regrain.plan import Group, Plan
from regrain.wire.codec import pack
from regrain.wire.frames import Parts
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.course import Course
from regrain_watchdog.front.death import Death
from regrain_watchdog.front.flight import Flight, Job
from regrain_watchdog.front.function import Function
from regrain_watchdog.front.learned import Learned
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.replica import Dispatch, Replica, State
from regrain_watchdog.front.route import make_route
from regrain_watchdog.front.segments import Pool
from regrain_watchdog.policy.restart import LOOP
from regrain_watchdog.policy.retry import Progress

GRAPH = Graph(
    ("s",),
    (Node("a", (Ref("$s"),)), Node("b", (Ref("a"),)), Node("c", (Ref("b"),))),
    Ref("c"),
)


class Stand:
    """A chain of three groups with a replica each that nobody answers for."""

    def __init__(self, *costs: float, max_queue: int = 100, shared: int = 1) -> None:
        groups = tuple(Group(stages=(name,), max_size=shared) for name in "abc")
        self.now = time.monotonic()
        self.pool = Pool(16 << 20)
        self.route = make_route(GRAPH, Plan(groups))
        self.given_back: list[tuple[Job, RequestError]] = []
        self.functions = [
            Function(group, Learned(step), measure=Measure(), owner=self)
            for group, step in zip(groups, self.route.steps, strict=True)
        ]
        for function, cost in zip(self.functions, costs or (0.1, 0.1, 0.1), strict=True):
            function.replicas.append(self.replica(function))
            for _ in range(50):
                function.cost.learn(cost, self.now)
                function.learned.service = cost
        self.course = Course(self.route, self.functions, max_queue)

    def replica(self, function: Function) -> Replica:
        return Replica(1, self.pool, mmap.mmap(-1, 4096), None, function, [function], state=State.READY)

    def refused(self, job: Job, error: RequestError) -> None:
        self.given_back.append((job, error))

    def call(self, slack: float = 0.0, *, firm: bool = False, priority: int = 5) -> Call:
        deadline = self.now + slack if slack else 0.0
        return Call(
            id="test",
            values={},
            headers=b"",
            arrived=self.now,
            deadline=deadline,
            firm=firm,
            priority=priority,
        )

    def wait(self, count: int, call: Call | None = None, step: int = 0) -> list[Job]:
        jobs = []
        for _ in range(count):
            values = [Parts([pack(1, None)])]
            job = Job(Flight(self.route, call or self.call()), step, -1, values)
            self.functions[step].push(job)
            jobs.append(job)
        self.occupy(step)
        return jobs

    def occupy(self, step: int) -> None:
        function = self.functions[step]
        for replica in function.replicas:
            replica.holding[0] = Dispatch(function, [], 0, self.now)

    def refusal(self, call: Call) -> RequestError | None:
        return self.course.refusal(call, self.now)


def test_a_step_has_its_own_cost_and_those_of_all_that_follow():
    stand = Stand(0.1, 0.2, 0.4)

    left = [stand.course.left(place, stand.now)[0] for place in range(3)]

    assert left == pytest.approx([0.7, 0.6, 0.4])


def test_a_call_is_let_in_while_nobody_waits_however_late_it_will_be():
    assert Stand().refusal(Stand().call(0.001)) is None


def test_a_firm_deadline_out_of_reach_is_504_at_the_door():
    stand = Stand()

    error = stand.refusal(stand.call(0.2, firm=True))

    assert (error.status, error.stage) == (HTTPStatus.GATEWAY_TIMEOUT, "a")
    assert error.detail.startswith("late")
    assert stand.refusal(stand.call(0.4, firm=True)) is None


def test_a_flow_without_stages_has_no_stage_to_name():
    route = make_route(Graph(("s",), (), Ref("$s")), Plan(()))
    call = Call(id="test", values={}, headers=b"", arrived=1.0, deadline=1.0, firm=True)

    error = Course(route, [], 10).refusal(call, 2.0)

    assert (error.status, error.stage) == (HTTPStatus.GATEWAY_TIMEOUT, "")


@pytest.mark.parametrize("step", [0, 2])
def test_a_call_that_would_be_late_behind_others_is_told_when_to_come_again(step):
    """Also where they wait at a later step."""
    stand = Stand()
    stand.wait(20, stand.call(0.9), step=step)

    error = stand.refusal(stand.call(1.0, firm=True))

    assert (error.status, error.headers) == (HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "3"})
    assert stand.refusal(stand.call(10.0, firm=True)) is None


def test_those_with_a_later_deadline_are_not_waited_for():
    stand = Stand()
    stand.wait(20, stand.call(5.0))

    assert stand.refusal(stand.call(1.0, firm=True)) is None


def test_what_is_less_urgent_is_not_waited_for():
    stand = Stand()
    stand.wait(20, stand.call(0.9, priority=5))

    assert stand.refusal(stand.call(1.0, priority=6)) is not None
    assert stand.refusal(stand.call(1.0, priority=4)) is None


def test_more_replicas_take_more():
    stand = Stand()
    stand.wait(20, stand.call(0.9))
    assert stand.refusal(stand.call(1.2)) is not None

    stand.functions[0].replicas.extend(stand.replica(stand.functions[0]) for _ in range(3))
    stand.occupy(0)

    assert stand.refusal(stand.call(1.2)) is None


def test_what_waits_for_company_while_a_replica_is_free_is_no_line():
    stand = Stand()
    stand.wait(1, stand.call(0.35))
    assert stand.refusal(stand.call(0.4)) is not None

    stand.functions[0].replicas[0].holding.clear()

    assert stand.refusal(stand.call(0.4)) is None


def test_waiting_for_company_goes_by_what_was_ever_seen():
    """However old: an estimate that is forgotten would have a batch wait past its most urgent unit's time."""
    stand = Stand()
    expected, safe, lasting = stand.course.left(0, stand.now + 60.0)

    assert expected == pytest.approx(0.0, abs=1e-9)
    assert safe == pytest.approx(0.0, abs=1e-9)
    assert lasting == pytest.approx(0.3, rel=0.01)


def test_an_objective_that_nobody_can_meet_keeps_nobody_out():
    stand = Stand()
    stand.wait(20, stand.call(0.1))

    assert stand.refusal(stand.call(0.2)) is None


def test_what_was_expected_long_ago_keeps_nobody_out():
    stand = Stand()
    call = stand.call(0.2, firm=True)
    call.deadline += 60.0

    assert stand.course.refusal(call, stand.now + 60.0) is None


def test_a_group_in_a_crash_loop_lets_nobody_in_until_a_replica_is_warm():
    stand = Stand()
    stand.functions[1].deaths = LOOP
    assert stand.refusal(stand.call()) is None
    stand.functions[1].replicas.clear()

    error = stand.refusal(stand.call())

    assert error.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert error.detail == "crash-loop: replicas of b end as soon as they start"


def test_the_least_urgent_of_those_that_wait_makes_room_for_what_is_more_urgent():
    stand = Stand(max_queue=3)
    [first] = stand.wait(1, stand.call(5.0, priority=7))
    [last] = stand.wait(1, stand.call(priority=7))
    stand.wait(1, stand.call(priority=2))

    assert stand.course.make_room(stand.call(priority=7), 3) is not None
    assert stand.course.make_room(stand.call(priority=5), 3) is None

    assert [job for job, _ in stand.given_back] == [last]
    assert first not in [job for job, _ in stand.given_back]


def death(**how: object) -> Death:
    return Death(**{"stage": "a", "detail": "killed", "timed_out": False, "rerun_bars": "", **how})


def test_what_died_goes_back_before_its_equals_and_alone():
    stand = Stand(shared=4)
    jobs, later = stand.wait(3), stand.wait(2)
    function = stand.functions[0]
    dispatch = Dispatch(stand.functions[0], jobs, 3, stand.now)
    for job in jobs:
        job.flight.flying = 1
    function._line.take(3, expected=0.0, safe=0.0, now=stand.now)

    function.lost(dispatch, Progress.RAN, death())

    taken = [
        [unit for unit, _ in function._line.take(4, expected=0.0, safe=0.0, now=stand.now).units]
        for _ in range(4)
    ]
    assert sorted(map(len, taken)) == [1, 1, 1, 2]
    assert taken[-1] == later
    assert all(job.flight.flying == 0 for job in jobs)


def test_what_only_waited_at_the_replica_goes_back_as_it_was():
    stand = Stand(shared=4)
    jobs = stand.wait(3)
    function = stand.functions[0]
    function._line.take(3, expected=0.0, safe=0.0, now=stand.now)

    function.lost(Dispatch(stand.functions[0], jobs, 3, stand.now), Progress.WAITED, death(rerun_bars="a"))

    taken = function._line.take(4, expected=0.0, safe=0.0, now=stand.now)
    assert [job for job, _ in taken.units] == jobs
    assert {job.deaths for job in jobs} == {0}


@pytest.mark.parametrize(
    ("how", "deaths", "status", "word"),
    [
        pytest.param({}, 1, HTTPStatus.BAD_GATEWAY, "poison", id="its second death"),
        pytest.param(
            {"rerun_bars": "a"}, 0, HTTPStatus.BAD_GATEWAY, "may not run twice", id="not idempotent"
        ),
        pytest.param({"timed_out": True}, 0, HTTPStatus.GATEWAY_TIMEOUT, "killed", id="timed out"),
    ],
)
def test_what_is_not_tried_again_is_told_why(how, deaths, status, word):
    stand = Stand()
    [job] = stand.wait(1)
    job.deaths = deaths

    stand.functions[0].lost(Dispatch(stand.functions[0], [job], 1, stand.now), Progress.RAN, death(**how))

    [(refused, error)] = stand.given_back
    assert (refused, error.status, error.stage) == (job, status, "a")
    assert word in error.detail


def test_a_deadline_that_cannot_be_met_any_more_is_not_run_in_the_middle_of_its_way():
    stand = Stand()
    [late] = stand.wait(1, stand.call(0.15, firm=True), step=1)
    [timely] = stand.wait(1, stand.call(5.0, firm=True), step=1)
    stand.functions[1].replicas[0].holding.clear()

    stand.functions[1].pump()

    [dispatch] = stand.functions[1].replicas[0].holding.values()
    assert dispatch.jobs == [timely]
    [(job, error)] = stand.given_back
    assert (job, error.status, error.stage) == (late, HTTPStatus.GATEWAY_TIMEOUT, "b")
