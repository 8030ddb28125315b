"""Who goes next, of those that wait for 100 SMs."""

from __future__ import annotations

import math

import pytest

from regrain.wire.lease import Share
from regrain_watchdog.gpu.entitlement import Entitlement
from regrain_watchdog.gpu.limits import Limits
from regrain_watchdog.gpu.line import Line
from regrain_watchdog.gpu.members import Client, Waiting

PATIENCE, RESERVE = 5.0, 1.0


@pytest.fixture
def line() -> Line:
    return Line(Limits(patience=PATIENCE, reserve_after=RESERVE))


def ask(
    sms: int, *, vtime: float = 0.0, deadline: float = math.inf, order: int = 0, **share: float
) -> Waiting:
    owed = Entitlement(Share(**share), sms=100, window=1.0, longest=2.0, vtime=vtime, now=0.0)
    client = Client(order, "f", 1, Share(**share), owed, 0.0)
    return Waiting(client, 1, order, sms, 1.0, deadline, 0.0)


def test_the_order_is_floor_then_priority_then_virtual_time_then_deadline_then_arrival(line):
    asks = [
        ask(10, floor=0.5, priority=9, vtime=9.0),
        ask(10, priority=0, vtime=1.0),
        ask(10, priority=1, vtime=0.5),
        ask(10, priority=1, vtime=0.7, deadline=3.0),
        ask(10, priority=1, vtime=0.7, order=1),
        ask(10, priority=1, vtime=0.7, order=2),
    ]
    left, order = asks[::-1], []
    while left:
        order.append(line.take(left, 100, 0.0))
        left.remove(order[-1])

    assert order == asks


def test_nobody_goes_where_nobody_waits_or_fits(line):
    assert line.take([], 100, 0.0) is None
    assert line.take([ask(60), ask(70)], 50, 0.0) is None


def test_small_ones_go_first_until_a_large_one_has_waited_for_long_enough(line):
    large, small = ask(80), ask(20, vtime=9.0)

    assert line.take([large, small], 30, 3.0) is small
    assert line.take([large, small], 30, 3.0 + 0.9 * RESERVE) is small
    assert line.take([large, small], 30, 3.0 + RESERVE) is None
    assert line.take([large, small], 80, 3.0 + RESERVE) is large


def test_what_was_passed_over_for_too_long_goes_before_all(line):
    large, small, sure = ask(80, priority=3), ask(20, priority=3), ask(20, floor=0.5)
    assert line.take([large, small], 30, 0.0) is small

    assert line.take([large, sure], 100, RESERVE) is large


def test_a_priority_that_was_passed_over_goes_once_and_then_waits_again(line):
    urgent, later = ask(100, priority=0), ask(100, priority=1)
    taken = [line.take([urgent, later], 100, float(now)) for now in range(13)]

    assert [now for now, each in enumerate(taken) if each is later] == [5, 11]


def test_floors_do_not_keep_others_out_for_ever(line):
    sure, plain = ask(100, floor=1.0), ask(100, weight=0.001)
    taken = [line.take([sure, plain], 100, float(now)) for now in range(7)]

    assert taken.index(plain) == PATIENCE


def test_small_ones_of_a_priority_do_not_hide_that_a_large_one_of_it_starves(line):
    urgent, large, small = ask(50), ask(90, priority=1), ask(10, priority=1, vtime=5.0)
    everyone = [urgent, large, small]
    assert line.take(everyone, 60, 0.0) is urgent
    assert line.take([large, small], 10, 0.1) is small
    large.passed = None  # as if something else had always come first in the whole line

    assert line.take(everyone, 100, PATIENCE) is large
