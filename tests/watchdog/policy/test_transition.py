"""The transition, driven through random worlds: replicas load, die, warm up and drain in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from regrain_watchdog.policy.transition import (
    Abandon,
    Drained,
    Instruction,
    Loaded,
    Phase,
    Start,
    StartFailed,
    Stop,
    Swap,
    TimedOut,
    Transition,
    WarmedUp,
    WarmUp,
    WarmUpFailed,
)

OLD = frozenset({1, 2, 3})
GROUPS = ("a", "b", "c")


class World(RuleBasedStateMachine):
    """Carries out what a transition says, and tells it what happens."""

    @initialize(
        missing=st.dictionaries(st.sampled_from(GROUPS), st.integers(1, 2)),
        free=st.booleans(),
        surplus=st.sets(st.sampled_from(sorted(OLD))).map(frozenset),
    )
    def begin(self, missing: dict[str, int], free: bool, surplus: frozenset[int]) -> None:
        self.served_from_the_start = set(GROUPS) if free else set(GROUPS) - set(missing)
        self.surplus = surplus
        self.living = set(OLD)
        self.number = max(OLD)
        self.starting: dict[int, str] = {}
        self.loaded: dict[int, str] = {}
        self.warm: set[int] = set()
        self.warming = False
        self.new_route = False
        self.swaps = 0
        self.transition = Transition(missing=missing, free=free, surplus=surplus)
        self.do(self.transition.begin())

    def do(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Start():
                    for _ in range(instruction.count):
                        self.number += 1
                        self.living.add(self.number)
                        self.starting[self.number] = instruction.group
                case WarmUp():
                    assert not self.starting, "the sample is sent once every replica is loaded"
                    self.warming = True
                case Swap():
                    self.new_route = True
                    self.swaps += 1
                case Stop():
                    assert not (instruction.replicas & self.loaded.keys()), (
                        "replicas of the new plan are not stopped"
                    )
                    self.living -= instruction.replicas
                case Abandon():
                    self.living -= self.starting.keys() | self.loaded.keys()

    @precondition(lambda self: self.starting)
    @rule(data=st.data())
    def a_replica_loads(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.starting)))
        group = self.loaded[number] = self.starting.pop(number)
        self.do(self.transition.handle(Loaded(group, number)))

    @precondition(lambda self: self.warming)
    @rule(works=st.booleans())
    def the_sample_is_through(self, works: bool) -> None:
        self.warming = False
        if works:
            self.warm |= self.loaded.keys()
        self.do(self.transition.handle(WarmedUp() if works else WarmUpFailed("the sample failed")))

    @rule(event=st.sampled_from([StartFailed("it died"), TimedOut("too slow")]))
    def it_goes_wrong(self, event: StartFailed | TimedOut) -> None:
        self.do(self.transition.handle(event))

    @precondition(lambda self: self.new_route)
    @rule()
    def the_last_old_request_ends(self) -> None:
        self.do(self.transition.handle(Drained()))

    @invariant()
    def a_request_meets_a_warm_replica_in_every_group(self) -> None:
        if self.new_route:
            ready = self.served_from_the_start | {self.loaded[number] for number in self.warm}
            assert ready >= set(GROUPS)
        else:
            assert self.living >= OLD

    @invariant()
    def the_route_swaps_once_at_most(self) -> None:
        assert self.swaps <= 1

    @invariant()
    def in_the_end_only_what_serves_is_left(self) -> None:
        if self.transition.phase is Phase.FAILED:
            assert self.living == OLD
            assert not self.new_route
        if self.transition.phase is Phase.DONE:
            assert self.new_route
            assert self.living & OLD == OLD - self.surplus


def test_no_request_meets_a_group_that_is_not_ready_and_every_process_is_stopped_in_the_end() -> None:
    run_state_machine_as_test(World)


@given(st.sampled_from([Drained(), WarmedUp(), Loaded("a", 9), StartFailed("late"), TimedOut("late")]))
def test_after_the_end_nothing_is_done_any_more(event: object) -> None:
    transition = Transition(missing={}, free=True, surplus=frozenset())
    transition.begin()
    transition.handle(Drained())

    assert transition.phase is Phase.DONE
    assert transition.handle(event) == []


def test_a_free_switch_swaps_before_anything_starts() -> None:
    transition = Transition(missing={"a": 1}, free=True, surplus=frozenset({1}))

    assert transition.begin() == [Swap(), Start("a", 1)]
    assert transition.handle(Drained()) == [Stop(frozenset({1}))]


def test_the_reason_of_a_failure_is_kept() -> None:
    transition = Transition(missing={"a": 1}, free=False, surplus=frozenset())
    transition.begin()

    assert transition.handle(StartFailed("no such model")) == [Abandon("no such model")]
    assert (transition.phase, transition.reason) == (Phase.FAILED, "no such model")
