from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from regrain_watchdog.policy.breaker import FAILURES, FIRST, LONGEST, Breaker, delay


def test_a_pod_that_is_gone_opens_it_at_once():
    breaker = Breaker().failed(10.0, gone=True)
    assert not breaker.is_closed
    assert not breaker.may_try(10.0)
    assert breaker.may_try(10.0 + FIRST)


def test_failures_open_it_only_in_a_row():
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker = breaker.failed(1.0, gone=False)
    assert breaker.is_closed
    assert breaker.succeeded() == Breaker()
    assert not breaker.failed(1.0, gone=False).is_closed


def test_trials_that_fail_are_ever_further_apart():
    now, breaker, waits = 0.0, Breaker().failed(0.0, gone=True), []
    for _ in range(10):
        waits.append(breaker.until - now)
        now = breaker.until
        breaker = breaker.failed(now, gone=True)
    assert all(before < after * 1.001 for before, after in pairwise(waits))
    assert waits[:3] == pytest.approx([FIRST, 2 * FIRST, 4 * FIRST])
    assert waits[-1] == pytest.approx(LONGEST)


def test_one_that_was_never_tried_may_be_at_once():
    breaker = Breaker.untried(5.0)
    assert not breaker.is_closed
    assert breaker.may_try(5.0)


@given(st.integers(0, 10_000))
def test_a_delay_is_bounded(trials):
    assert FIRST <= delay(trials) <= LONGEST


class Pod(RuleBasedStateMachine):
    """Outcomes in any order: of trials that are due, and of requests that were sent before it opened."""

    def __init__(self):
        super().__init__()
        self.now = 1.0
        self.breaker = Breaker()
        self.in_a_row = 0

    @rule(seconds=st.floats(0.0, 20.0))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(gone=st.booleans())
    def fails(self, gone):
        was_closed, due = self.breaker.is_closed, self.breaker.may_try(self.now)
        until = self.breaker.until
        self.breaker = self.breaker.failed(self.now, gone=gone)
        self.in_a_row += 1
        if was_closed:
            assert self.breaker.is_closed == (not gone and self.in_a_row < FAILURES)
        elif not due:
            assert self.breaker.until == until

    @rule()
    def answers(self):
        self.breaker = self.breaker.succeeded()
        self.in_a_row = 0

    @precondition(lambda self: not self.breaker.is_closed)
    @rule()
    def becomes_due(self):
        self.now = max(self.now, self.breaker.until)
        assert self.breaker.may_try(self.now)

    @invariant()
    def never_both(self):
        assert not (self.breaker.is_closed and self.breaker.may_try(self.now))

    @invariant()
    def is_tried_again_before_long(self):
        assert self.breaker.until <= self.now + LONGEST


TestPod = Pod.TestCase
