"""Who is next."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.gateway.later.line import Line

keys = st.sampled_from("abcd")


def test_functions_take_turns_however_long_their_lines_are():
    line = Line(each=9, total=9)
    for number in range(6):
        line.add(number, "many", 0.0)
    line.add(6, "few", 0.0)
    line.add(7, "few", 1.0)

    taken = [line.take(0.0) for _ in range(5)]

    assert taken == [0, 6, 1, 2, 3]
    assert [line.take(1.0), line.take(1.0)] == [7, 4]


def test_the_one_that_is_due_first_comes_first():
    line = Line(each=9, total=9)
    for number, at in enumerate([3.0, 1.0, 2.0]):
        line.add(number, "a", at)

    assert line.next() == 1.0
    assert [line.take(2.5) for _ in range(3)] == [1, 2, None]
    assert line.next() == 3.0


def test_a_function_has_no_more_under_way_than_it_may():
    line = Line(each=1, total=2)
    for number, key in enumerate("aab"):
        line.add(number, key, 0.0)

    assert [line.take(0.0) for _ in range(3)] == [0, 2, None]
    assert line.next() is None
    line.end(2)
    assert line.take(0.0) is None
    line.end(0)
    assert line.next() == 0.0
    assert line.take(0.0) == 1


def test_one_that_waits_or_is_under_way_is_there_once():
    line = Line(each=2, total=2)
    for _ in range(2):
        line.add(1, "a", 0.0)

    assert line.take(0.0) == 1
    line.add(1, "a", 0.0)
    assert line.take(0.0) is None
    line.end(1)
    assert line.take(0.0) is None


def test_nothing_is_taken_from_a_closed_line():
    line = Line(each=1, total=1)
    line.add(1, "a", 0.0)
    line.close()

    assert line.take(0.0) is None
    assert line.next() is None


@given(
    st.lists(st.tuples(keys, st.floats(0, 10)), max_size=40),
    st.integers(1, 3),
    st.integers(1, 6),
    st.data(),
)
def test_all_are_served_once_in_time_and_within_bounds(calls, each, total, data):
    line = Line(each, total)
    for number, (key, at) in enumerate(calls):
        line.add(number, key, at)
    now, under_way, served = 0.0, [], []

    while len(served) < len(calls):
        number = line.take(now)
        if number is not None:
            assert calls[number][1] <= now
            under_way.append(number)
            served.append(number)
            counted = Counter(calls[one][0] for one in under_way)
            assert len(under_way) <= total
            assert max(counted.values()) <= each
        elif under_way and data.draw(st.booleans()):
            line.end(under_way.pop())
        elif (due := line.next()) is not None:
            assert due > now
            now = due
        elif under_way:
            line.end(under_way.pop())

    assert sorted(served) == list(range(len(calls)))
