"""Who gave a lease back and goes next is waited for a moment, if it came as soon the last time.

Leases of a second: 2 ms are kept at most. The device has 100 SMs.
"""

from __future__ import annotations

import itertools

import pytest

from regrain.wire.lease import Ask

KEEP = 0.002
"""Seconds, of Limits."""


@pytest.fixture
def owed(arbiter):
    """A heavy client that has just given back its second lease, at 3 s, while a light one waits that has had one."""
    heavy, light = arbiter.join("a", weight=3.0), arbiter.join("b")
    arbiter.wants(heavy, 1.0)
    arbiter.wants(light, 1.0)
    ((_, lease),) = arbiter.granted(0.0)
    arbiter.release(heavy, 7, lease, 1.0)
    ((_, lease),) = arbiter.granted(1.0)
    arbiter.wants(heavy, 1.0, now=1.001)
    arbiter.renew(light, 7, lease, Ask(2, 1.0, 1.0), 2.0)
    ((client, lease),) = arbiter.granted(2.0)
    assert client == heavy
    arbiter.release(heavy, 7, lease, 3.0)
    return heavy, light


def test_who_is_owed_more_keeps_its_turn_though_it_asks_after_the_release(arbiter, owed):
    heavy, _ = owed
    assert arbiter.granted(3.0) == []

    arbiter.wants(heavy, 1.0, now=3.001, number=2)

    assert [client for client, _ in arbiter.granted(3.001)] == [heavy]


def test_who_does_not_come_is_waited_for_no_longer_than_that(arbiter, owed):
    _, light = owed
    assert arbiter.granted(3.0) == []
    assert arbiter.wake(3.0) == pytest.approx(3.0 + KEEP)

    assert [client for client, _ in arbiter.granted(arbiter.wake(3.0))] == [light]


def test_two_steps_keep_the_turns_that_weights_give(arbiter):
    heavy, light = arbiter.join("a", weight=3.0), arbiter.join("b")
    arbiter.wants(heavy, 1.0)
    arbiter.wants(light, 1.0)
    turns, now = [], 0.0
    ((client, lease),) = arbiter.granted(now)
    for _ in range(40):
        turns.append(client)
        now += 1.0
        arbiter.release(client, 7, lease, now)
        told = arbiter.granted(now)
        now += KEEP / 2
        arbiter.wants(client, 1.0, now=now)
        ((client, lease),) = told or arbiter.granted(now)

    assert abs(turns.count(heavy) - 30) <= 1


def test_who_came_late_is_not_waited_for_until_it_has_come_soon_again(arbiter):
    urgent, patient = arbiter.join("a"), arbiter.join("b", priority=1)
    asks = itertools.count(1)
    arbiter.wants(patient, 1.0)

    def is_waited_for(since: float, asked: float) -> bool:
        """After a lease of half a second of the urgent one, while the other waits."""
        arbiter.wants(urgent, 1.0, number=next(asks), now=asked)
        ((client, lease),) = arbiter.granted(since)
        assert client == urgent
        arbiter.release(urgent, 7, lease, since + 0.5)
        told = arbiter.granted(since + 0.5)
        for client, lease in told or arbiter.granted(since + 0.5 + KEEP):
            assert client == patient
            arbiter.renew(patient, 7, lease, Ask(1, 1.0, 1.0), since + 0.9)
        return not told

    assert is_waited_for(0.0, asked=0.0)
    assert not is_waited_for(1.0, asked=0.5 + 2 * KEEP)
    assert is_waited_for(2.0, asked=1.5 + KEEP / 2)


def test_what_fits_beside_what_is_kept_goes(arbiter):
    urgent, wide, narrow = arbiter.join("a"), arbiter.join("b", priority=1), arbiter.join("c", priority=1)
    arbiter.wants(urgent, 0.6)
    ((_, lease),) = arbiter.granted(0.0)
    arbiter.wants(wide, 0.6)
    arbiter.release(urgent, 7, lease, 1.0)
    arbiter.wants(narrow, 0.4, now=1.0)

    assert [client for client, _ in arbiter.granted(1.0)] == [narrow]
    arbiter.wants(urgent, 0.6, number=2, now=1.001)
    assert [client for client, _ in arbiter.granted(1.001)] == [urgent]


def test_who_has_had_more_than_those_that_wait_is_not_waited_for(arbiter):
    one, other = arbiter.join("a"), arbiter.join("b")
    arbiter.wants(one, 1.0)
    ((_, lease),) = arbiter.granted(0.0)
    arbiter.wants(other, 1.0)
    arbiter.release(one, 7, lease, 1.0)

    assert [client for client, _ in arbiter.granted(1.0)] == [other]


@pytest.mark.parametrize("end", ["lost", "gone"])
def test_nothing_is_kept_for_one_that_went_away(arbiter, owed, end):
    heavy, light = owed
    getattr(arbiter, end)(heavy, 3.0)

    assert [client for client, _ in arbiter.granted(3.0)] == [light]


def test_of_a_short_lease_a_part_is_kept(arbiter):
    heavy, light = arbiter.join("a", weight=9.0), arbiter.join("b")
    arbiter.wants(heavy, 1.0, seconds=0.01)
    arbiter.wants(light, 1.0, seconds=0.01)
    ((_, lease),) = arbiter.granted(0.0)
    arbiter.release(heavy, 7, lease, 0.01)
    ((_, lease),) = arbiter.granted(0.01)
    arbiter.wants(heavy, 1.0, seconds=0.01, now=0.0101)
    arbiter.renew(light, 7, lease, Ask(2, 1.0, 0.01), 0.02)
    ((client, lease),) = arbiter.granted(0.02)
    assert client == heavy
    arbiter.release(heavy, 7, lease, 0.03)
    assert arbiter.granted(0.03) == []

    assert arbiter.wake(0.03) == pytest.approx(0.0304)


def test_for_a_narrow_one_a_wide_one_waits_the_less_the_wider_it_is(arbiter):
    narrow, wide = arbiter.join("a"), arbiter.join("b", priority=1)
    arbiter.wants(narrow, 0.25)
    ((_, lease),) = arbiter.granted(0.0)
    arbiter.wants(wide, 1.0)
    arbiter.release(narrow, 7, lease, 1.0)

    assert arbiter.granted(1.0) == []
    assert arbiter.wake(1.0) == pytest.approx(1.0 + KEEP / 4)
    assert [client for client, _ in arbiter.granted(arbiter.wake(1.0))] == [wide]
