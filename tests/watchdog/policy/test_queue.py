import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.queue import NO_DEADLINE, Queue

deadlines = st.sampled_from([NO_DEADLINE, 1.0, 2.0, 3.0])
units = st.lists(st.tuples(st.integers(-1, 1), deadlines, st.floats(0, 10)))


def filled(entries) -> Queue[int]:
    queue: Queue[int] = Queue()
    for number, (priority, deadline, now) in enumerate(entries):
        queue.push(number, now=now, deadline=deadline, priority=priority)
    return queue


def emptied(queue: Queue[int]) -> list[tuple[int, float]]:
    return [queue.pop() for _ in range(len(queue))]


@given(units)
def test_units_leave_by_priority_then_deadline_then_arrival(entries):
    queue = filled(entries)

    left = emptied(queue)

    order = sorted(range(len(entries)), key=lambda number: (*entries[number][:2], number))
    assert left == [(number, entries[number][2]) for number in order]


@given(units, st.sets(st.integers(0, 20)))
def test_discarded_units_are_gone_and_the_others_keep_their_order(entries, gone):
    queue = filled(entries)
    others = [pair for pair in emptied(filled(entries)) if pair[0] not in gone]

    dropped = queue.discard(gone)

    assert dropped == len(entries) - len(others)
    assert emptied(queue) == others


@given(units)
def test_the_oldest_is_the_first_to_have_come_whatever_its_urgency(entries):
    assert filled(entries).oldest() == min((now for _, _, now in entries), default=NO_DEADLINE)


def test_an_empty_queue_gives_nothing():
    with pytest.raises(IndexError):
        Queue[int]().pop()


@given(units, st.integers(-1, 1), deadlines)
def test_those_ahead_are_those_that_leave_first(entries, priority, deadline):
    queue = filled(entries)
    queue.push(-1, now=0.0, deadline=deadline, priority=priority)
    ahead = filled(entries).ahead(priority=priority, deadline=deadline)

    assert [unit for unit, _ in emptied(queue)].index(-1) == ahead


def test_a_unit_that_goes_first_goes_before_its_equals_alone():
    queue = filled([(0, 2.0, 0.0), (0, 1.0, 0.0)])

    queue.push(9, now=1.0, deadline=2.0, first=True)

    assert [unit for unit, _ in emptied(queue)] == [1, 9, 0]
