import itertools

from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.queue import NO_DEADLINE
from regrain_watchdog.policy.shed import Entry, Fate, Line, fate

NOW = 100.0
times = st.sampled_from([NO_DEADLINE, 99.0, 100.4, 101.0, 105.0])
entries = st.lists(
    st.builds(
        lambda deadline, priority, firm, alone, over: (deadline, priority, firm, alone, over),
        times,
        st.integers(0, 2),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
)


def line_of(found, over: set[int] = frozenset()) -> Line[int]:
    line: Line[int] = Line(lambda unit: unit in over)
    for number, (deadline, priority, firm, alone, _) in enumerate(found):
        line.push(
            Entry(
                unit=number,
                since=90.0 + number / 100,
                deadline=deadline,
                priority=priority,
                budget=2.0,
                firm=firm,
                alone=alone,
            )
        )
    return line


def drained(line: Line[int], size: int) -> tuple[list[list[int]], list[int]]:
    batches, shed = [], []
    for _ in range(100):
        taken = line.take(size, expected=0.5, safe=0.8, now=NOW)
        shed += taken.shed
        if not taken.units:
            return batches, shed
        batches.append([unit for unit, _ in taken.units])
    raise AssertionError("it never ends")


@given(entries, st.integers(1, 4))
def test_every_unit_is_run_or_shed_once_and_those_that_ended_are_neither(found, size):
    over = {number for number, entry in enumerate(found) if entry[4]}
    line = line_of(found, over)

    batches, shed = drained(line, size)

    assert sorted([*itertools.chain(*batches), *shed]) == [n for n in range(len(found)) if n not in over]
    assert len(line) == 0
    assert all(len(batch) <= size for batch in batches)


@given(entries, st.integers(1, 4))
def test_whoever_is_alone_shares_with_nobody(found, size):
    batches, _ = drained(line_of(found), size)

    assert all(len(batch) == 1 for batch in batches for unit in batch if found[unit][3])


@given(entries, st.integers(1, 4))
def test_a_firm_deadline_that_cannot_be_met_is_shed_and_one_that_can_is_run(found, size):
    batches, shed = drained(line_of(found), size)
    ran = set(itertools.chain(*batches))

    for number, (deadline, _, firm, _, _) in enumerate(found):
        if firm:
            assert (number in ran) is (deadline >= NOW + 0.5)
    assert all(found[number][2] for number in shed)


@given(entries)
def test_what_will_be_late_runs_after_all_that_can_be_in_time(found):
    batches, _ = drained(line_of(found), 1)
    order = [batch[0] for batch in batches]
    late = [found[unit][0] < NOW + 0.8 and not found[unit][2] for unit in order]

    assert late == sorted(late)


@given(entries)
def test_ended_units_count_no_more_once_it_is_told(found):
    over: set[int] = set()
    line = line_of(found, over)
    over.update(number for number, entry in enumerate(found) if entry[4])

    line.forget()

    assert len(line) == len(found) - len(over)


def test_a_soft_deadline_alone_is_served_late():
    line = line_of([(99.0, 0, False, False, False)])

    taken = line.take(1, expected=0.5, safe=0.8, now=NOW)

    assert [unit for unit, _ in taken.units] == [0]


def test_a_unit_that_is_late_by_as_much_as_it_had_is_shed():
    line = line_of([(99.0, 0, False, False, False), (NO_DEADLINE, 0, False, False, False)])
    assert [unit for unit, _ in line.take(1, expected=0.5, safe=0.8, now=NOW).units] == [1]

    taken = line.take(1, expected=0.5, safe=0.8, now=101.1)

    assert (taken.units, taken.shed) == ([], [0])


def test_a_unit_that_waited_already_goes_before_its_equals():
    line = line_of([(NO_DEADLINE, 0, False, False, False)])
    line.push(Entry(unit=7, since=1.0), first=True)

    assert [unit for unit, _ in line.take(2, expected=0.0, safe=0.0, now=NOW).units] == [7, 0]


@given(st.floats(0, 10), st.floats(0, 5), st.floats(0, 5), st.booleans())
def test_time_makes_no_unit_hopeful_again(deadline, expected, more, firm):
    before = fate(deadline, firm=firm, expected=expected, safe=expected + more, now=1.0)
    after = fate(deadline, firm=firm, expected=expected, safe=expected + more, now=2.0)

    assert before is Fate.GOES or after is before


def test_a_dispatch_is_no_larger_than_lets_the_most_urgent_be_in_time():
    line = line_of([(101.0, 0, False, False, False)] * 8)

    taken = line.take(8, expected=0.4, safe=0.5, now=NOW, more=0.2)

    assert [unit for unit, _ in taken.units] == [0, 1, 2]


def test_the_late_go_in_dispatches_as_large_as_they_may_be():
    line = line_of([(100.4, 0, False, False, False)] * 8)

    taken = line.take(8, expected=0.4, safe=0.5, now=NOW, more=0.2)

    assert len(taken.units) == 8
