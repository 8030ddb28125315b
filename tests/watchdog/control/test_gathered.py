"""Reports of pods in, one report of them all out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from regrain.plan import Group, Plan
from regrain_watchdog.control.gathered import LATE, Gathered
from regrain_watchdog.control.process import observation
from regrain_watchdog.front.adapting.words import Report
from regrain_watchdog.policy.refine import Seen
from regrain_watchdog.policy.resident import Living

PLAN = Plan((Group(stages=("a",)),))


def report(now, at=(), *, first=0, widened=(), **said):
    """A pod's, on its own clock."""
    return structs.replace(
        Report(
            now=now,
            at=np.array(at, np.float64).tobytes(),
            size=np.arange(first, first + len(at), dtype=np.float64).tobytes(),
            first=first,
            widened=np.array(widened, np.int64).tobytes(),
            hits=len(at),
            misses=0,
            plan=PLAN,
            living=(),
            is_changing=False,
            is_held=False,
        ),
        **said,
    )


def told(gathered, now, **standing):
    return observation(gathered.told(now, PLAN, **{"is_changing": False, "is_held": False, **standing}))


@given(st.data())
def test_every_request_is_told_of_once_in_the_order_in_which_they_came(data):
    offsets = data.draw(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=4))
    seconds = data.draw(st.integers(1, 6))
    gathered, firsts, came, seen = Gathered(), [0] * len(offsets), [], []
    for now in range(1, seconds + 1):
        for pod, offset in enumerate(offsets):
            at = sorted(data.draw(st.lists(st.floats(now - 1.0, float(now)), max_size=5)))
            local = [time + offset for time in at]
            wide = [(firsts[pod] + place, 0, 1000 * pod + firsts[pod] + place) for place in range(len(at))]
            gathered.add(str(pod), report(now + offset, local, first=firsts[pod], widened=wide), float(now))
            firsts[pod] += len(at)
            came += at
        seen.append(told(gathered, float(now)))

    times = np.concatenate([one.at for one in seen])
    assert times == pytest.approx(sorted(came), abs=1e-6)
    assert (np.diff(times) >= 0).all()
    assert [one.first for one in seen] == [0, *np.cumsum([len(one.at) for one in seen])[:-1]]
    assert sum(one.hits for one in seen) == len(came)
    widened = np.concatenate([one.widened for one in seen])
    assert sorted(widened[:, 0]) == list(range(len(came)))
    sizes = np.concatenate([one.size for one in seen])
    assert [width % 1000 for _, _, width in widened] == [sizes[number] for number, *_ in widened]


def test_a_second_is_told_once_every_pod_has_said_what_came_in_it():
    gathered = Gathered()
    gathered.add("a", report(1.0, [0.5]), 1.0)
    gathered.add("b", report(1.2, [0.6, 1.1]), 1.2)
    first = told(gathered, 1.3)
    assert (first.now, list(first.at)) == (1.0, [0.5, 0.6])

    gathered.add("a", report(2.0, [1.05], first=1), 2.0)
    second = told(gathered, 2.1)
    assert (second.now, list(second.at), second.first) == (1.2, [1.05, 1.1], 2)


def test_widths_that_come_out_later_are_of_the_requests_that_they_belong_to():
    gathered = Gathered()
    gathered.add("a", report(1.0, [0.2, 0.8]), 1.0)
    gathered.add("b", report(1.0, [0.5]), 1.0)
    assert len(told(gathered, 1.0).widened) == 0

    gathered.add("a", report(2.0, first=2, widened=[(1, 0, 7), (0, 0, 5)]), 2.0)
    gathered.add("b", report(2.0, first=1, widened=[(0, 0, 6)]), 2.0)

    assert told(gathered, 2.0).widened.tolist() == [[2, 0, 7], [0, 0, 5], [1, 0, 6]]


def test_what_came_to_a_pod_while_it_said_nothing_is_left_out():
    gathered = Gathered()
    gathered.add("a", report(1.0, [0.5]), 1.0)
    gathered.add("b", report(1.0, [0.5]), 1.0)
    told(gathered, 1.0)
    for now in range(2, 14):
        gathered.add("a", report(float(now), [now - 0.5], first=now - 1), float(now))
    assert told(gathered, 13.0).now == 13.0 - LATE

    gathered.add("b", report(13.5, [1.5, 2.5, 13.2], first=1), 13.5)
    gathered.add("a", report(13.5, first=13), 13.5)
    last = told(gathered, 13.5)

    assert list(last.at) == [8.5, 9.5, 10.5, 11.5, 12.5, 13.2]


def test_while_no_pod_says_anything_time_stands_still():
    """Nobody knows the load then, which is not that there is none."""
    gathered = Gathered()
    for now in (1.0, 2.0):
        for pod in "ab":
            gathered.add(pod, report(now, [now - 0.5], first=int(now) - 1), now)
        told(gathered, now)

    silent = [told(gathered, now) for now in np.arange(3.0, 62.0)]
    assert {(one.now, len(one.at)) for one in silent} == {(2.0, 0)}

    gathered.add("a", report(62.0, [30.5, 61.9], first=2), 62.0)
    gathered.add("b", report(62.2, [62.1], first=2), 62.2)
    back = told(gathered, 62.3)
    assert (back.now, len(back.at), back.first) == (2.0, 0, 4)

    gathered.add("a", report(63.0, [62.5], first=4, widened=[(4, 0, 7)]), 63.0)
    gathered.add("b", report(63.0, [62.9], first=3), 63.0)
    last = told(gathered, 63.0)
    assert last.now == pytest.approx(3.0)
    assert list(last.at) == pytest.approx([2.1, 2.5, 2.9])
    assert (last.first, last.widened.tolist()) == (4, [[5, 0, 7]])


def test_while_there_is_no_pod_time_stands_still():
    gathered = Gathered()
    gathered.add("a", report(1.0, [0.5]), 1.0)
    told(gathered, 1.0)
    gathered.forget("a")
    assert told(gathered, 30.0).now == 1.0

    gathered.add("b", report(60.0), 60.0)
    gathered.add("b", report(61.0, [60.5]), 61.0)

    assert list(told(gathered, 61.0).at) == [1.5]


def test_a_pod_that_begins_anew_is_another_one():
    gathered = Gathered()
    gathered.add("a", report(1.0, [0.5, 0.6], first=10), 1.0)
    assert told(gathered, 1.0).first == 0

    gathered.add("a", report(101.0, [100.5], widened=[(0, 0, 3)]), 2.0)
    second = told(gathered, 2.0)

    assert (list(second.at), second.first, second.widened.tolist()) == ([1.5], 2, [[2, 0, 3]])


def test_replicas_and_calls_of_all_pods_are_told_and_calls_during_a_change_are_not():
    gathered = Gathered()
    calls = Seen(stage="a", share=1.0, units=2, calls=2, seconds=0.1)
    living = Living(7, "a", frozenset({"a"}))
    for pod in "ab":
        gathered.add(pod, report(1.0, living=(living,), seen=(calls,)), 1.0)
    seen = told(gathered, 1.0, is_held=True)
    assert [one.number for one in seen.living] == [0, 1]
    assert (seen.seen, seen.is_held) == ((calls, calls), True)

    gathered.forget("a")
    gathered.add("b", report(2.0, living=(living,), seen=(calls,)), 2.0)
    seen = told(gathered, 2.0, is_changing=True)
    assert (len(seen.living), seen.seen, seen.is_changing) == (1, (), True)


def test_nothing_is_told_where_nobody_says_anything():
    assert len(told(Gathered(), 5.0).at) == 0
