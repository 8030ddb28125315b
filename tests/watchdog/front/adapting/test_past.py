"""What a controller that starts is told of before."""

import pytest

from regrain.plan import Group, Plan
from regrain_watchdog.front.adapting.past import Past
from regrain_watchdog.front.adapting.words import Report


@pytest.fixture
def report():
    plan = Plan((Group(stages=("one",)),))

    def make(now, requests=1):
        return Report(
            now=now,
            at=bytes(8 * requests),
            size=bytes(8 * requests),
            first=0,
            widened=b"",
            hits=0,
            misses=0,
            plan=plan,
            living=(),
            is_changing=False,
            is_held=False,
        )

    return make


def test_what_is_older_than_so_many_seconds_is_forgotten(report):
    past = Past(seconds=3.0)

    for now in range(6):
        past.add(report(float(now)))

    assert [one.now for one in past.told()] == [2.0, 3.0, 4.0, 5.0]


def test_it_holds_no_more_than_so_many_bytes(report):
    past = Past(most=160)

    for now in range(6):
        past.add(report(float(now), requests=4))

    assert [one.now for one in past.told()] == [4.0, 5.0]


def test_what_is_told_of_another_version_is_forgotten_whole(report):
    past = Past(most=64)
    past.add(report(0.0, requests=4))

    past.forget()
    past.add(report(1.0, requests=4))

    assert [one.now for one in past.told()] == [1.0]
