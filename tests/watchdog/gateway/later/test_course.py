"""What becomes of a call, whatever happens to it."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.gateway.later.course import (
    AGAIN,
    FIRST,
    LONGEST,
    LONGEST_ASKED,
    LOST,
    OPEN,
    RETRIES,
    TELLS,
    Course,
    pause,
    retry_after,
)

statuses = st.sampled_from([0, 200, 202, 302, 400, 404, 408, 429, 500, 501, 502, 503, 504])
events = st.lists(st.tuples(st.sampled_from(["next", "crash", "cancel"]), statuses), max_size=60)


def lived(happens: list[tuple[str, int]], retries: int, *, owes: bool, seed: int) -> list[Course]:
    """Return every state that a call goes through until it ends or nothing more happens."""
    rng, now = random.Random(seed), 1000.0
    states = [Course(at=now, retries=retries)]
    for what, status in happens:
        course = states[-1]
        if course.state not in OPEN:
            break
        now = max(now, course.at)
        if what == "cancel":
            found = course.cancelled(now)
            assert found is not None
        elif course.state in ("waiting", "owed"):
            found = course.begun(now, owes=owes)
        elif what == "crash":
            found = replace(course, state="waiting" if course.state == "running" else "owed")
        elif course.state == "running":
            found = course.answered(status, now, rng, owes=owes)
        else:
            found = course.told(status, now, rng)
        states.append(found)
    return states


@given(events, st.integers(0, 5), st.booleans(), st.integers())
def test_a_call_ends_once_and_never_runs_for_ever(happens, retries, owes, seed):
    states = lived(happens, retries, owes=owes, seed=seed)

    for before, after in itertools.pairwise(states):
        assert after.attempts - before.attempts == (after.state == "running")
        assert after.tells - before.tells == (after.state == "telling")
        if before.outcome:  # the function has had its say
            assert after.outcome == before.outcome
            assert after.state in {"owed", "telling", "cancelled", before.outcome}
        if after.state in ("owed", "telling"):
            assert owes
    end = states[-1]
    assert end.attempts <= retries + LOST + 1
    if end.state not in OPEN:
        assert end.resent(5.0) == (Course(at=5.0, retries=retries) if end.state == "dead" else None)
        assert end.cancelled(5.0) is None


@given(st.lists(statuses.filter(lambda status: status in (0, *AGAIN)), min_size=20), st.integers(0, 5))
def test_what_fails_is_tried_as_often_as_may_be_and_is_dead(failures, retries):
    happens = [event for status in failures for event in (("next", status), ("next", status))]

    states = lived(happens, retries, owes=False, seed=0)

    assert states[-1].state == "dead"
    assert states[-1].attempts == retries + 1
    assert sum(one.state == "running" for one in states) == retries + 1


@given(statuses.filter(lambda status: status and status not in AGAIN), st.booleans())
def test_any_other_answer_is_the_last(status, owes):
    running = Course(at=0.0, retries=3).begun(1.0, owes=owes)

    found = running.answered(status, 2.0, random.Random(0), owes=owes)

    assert (found.state, found.outcome, found.status) == ("owed" if owes else "done", "done", status)


def test_a_result_that_nobody_takes_is_told_a_few_times_and_its_end_stays():
    states = lived([("next", 200)] * 3 + [("next", 500)] * 20, 3, owes=True, seed=0)

    assert states[-1].state == "done"
    assert states[-1].tells == TELLS
    assert states[-1].detail == "the callback failed: it was answered 500"


@pytest.mark.parametrize("status", [302, 404])
def test_an_answer_that_another_try_would_get_too_ends_the_telling(status):
    states = lived([("next", 200)] * 3 + [("next", status)], 3, owes=True, seed=0)

    assert (states[-1].state, states[-1].tells) == ("done", 1)
    assert states[-1].detail == f"the callback failed: it was answered {status}"


def test_a_call_that_was_lost_with_the_gateway_too_often_is_dead():
    course = Course(at=0.0, retries=1)
    for _ in range(1 + 1 + LOST):
        course = replace(course.begun(0.0, owes=False), state="waiting")

    found = course.begun(7.0, owes=False)

    assert (found.state, found.at, found.attempts) == ("dead", 7.0, 5)
    assert found.detail == "the gateway ended while it ran, 5 times"


@given(st.integers(1, 200), st.integers())
def test_pauses_double_up_to_a_bound_and_are_spread(tries, seed):
    whole = min(LONGEST, FIRST * 2.0 ** min(tries - 1, 10))

    assert whole / 2 <= pause(tries, random.Random(seed)) <= whole
    assert pause(RETRIES, random.Random(seed)) >= LONGEST / 2


@given(st.floats(0, 1e9), st.integers())
def test_who_asks_to_be_left_alone_is(asked, seed):
    running = Course(at=0.0, retries=3).begun(100.0, owes=False)

    found = running.answered(429, 100.0, random.Random(seed), owes=False, asked=asked)

    assert found.state == "waiting"
    assert found.at - 100.0 >= min(asked, LONGEST_ASKED) - 1e-6
    assert found.at - 100.0 <= max(FIRST, LONGEST_ASKED)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        (" 7 ", 7.0),
        (format_datetime(datetime.fromtimestamp(1060, UTC), usegmt=True), 60.0),
        (format_datetime(datetime.fromtimestamp(940, UTC), usegmt=True), 0.0),
        ("Thu, 01 Jan 1970 00:17:40 -0000", 60.0),
        ("", 0.0),
        ("-3", 0.0),
        ("soon", 0.0),
        ("²", 0.0),
        ("9" * 5000, 999999999.0),
        ("Thu, 99 Jan 1970 00:17:40 GMT", 0.0),
        ("Fri, 31 Dec 99999999999 23:59:59 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text, seconds):
    assert retry_after(text, 1000.0) == seconds
