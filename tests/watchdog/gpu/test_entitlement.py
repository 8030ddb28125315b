"""What a client is owed of 100 SMs, in SM-seconds."""

from __future__ import annotations

import math

import pytest

from regrain.wire.lease import Share
from regrain_watchdog.gpu.entitlement import Entitlement


def standing(now: float = 0.0, **share: float) -> Entitlement:
    return Entitlement(Share(**share), sms=100, window=0.5, longest=2.0, vtime=0.0, now=now)


def test_virtual_time_is_what_was_had_over_the_weight():
    client = standing(weight=4.0)

    client.charge(10.0, sure=True)
    client.charge(-2.0, sure=True)

    assert client.vtime == 2.0


def test_a_floor_fills_by_the_second_up_to_its_window():
    client = standing(floor=0.2)  # 20 SM-seconds a second, 10 at most
    assert client.under_floor

    client.charge(30.0, sure=True)
    client.advance(0.9)
    assert not client.under_floor
    client.advance(1.1)
    assert client.under_floor
    client.advance(100.0)
    client.charge(10.0, sure=True)
    assert not client.under_floor


def test_what_goes_beside_a_floor_is_no_debt_to_it_and_keeps_it_from_filling_as_far_as_it_is_held():
    client = standing(floor=0.2)
    assert client.begin(100, 0.1)  # all that the floor holds

    assert [client.begin(sms, 1.0) for sms in (15, 60)] == [False, False]
    client.advance(9.0)
    assert not client.under_floor
    client.end(60, sure=False)  # 5 a second are left
    client.advance(10.0)
    assert client.under_floor
    client.charge(5.0, sure=True)
    assert not client.under_floor


def test_a_floor_owes_no_more_than_the_longest_lease_of_the_device():
    client = standing(floor=0.2)

    client.charge(1e6, sure=True)

    client.advance(10.0)  # 200 SM-seconds, 20 a second
    assert not client.under_floor
    client.advance(10.1)
    assert client.under_floor


def test_a_ceiling_binds_from_its_level_down_and_says_until_when():
    client = standing(ceiling=0.2)
    client.charge(10.0, sure=True)
    assert not client.throttled

    client.charge(5.0, sure=True)

    assert client.throttled
    assert client.throttled_until() == pytest.approx(0.25)
    client.advance(client.throttled_until())
    assert not client.throttled


def test_a_ceiling_of_all_is_none():
    client = standing()

    client.charge(1e9, sure=True)

    assert not client.throttled
    assert not client.under_floor


def test_a_share_that_is_adjusted_counts_from_now_on():
    client = standing(ceiling=0.2)
    client.charge(30.0, sure=True)  # 20 in debt: a second of 20 a second
    client.adjust(Share(ceiling=0.5, weight=2.0), 0.5)

    assert client.throttled_until() == pytest.approx(0.7)
    assert client.weight == 2.0


def test_time_that_goes_backwards_changes_nothing():
    client = standing(now=5.0, ceiling=0.2)
    client.charge(20.0, sure=True)

    client.advance(4.0)

    assert client.throttled_until() == pytest.approx(5.5)


def test_a_ceiling_tells_from_when_it_binds_one_that_goes_on_holding():
    client = standing(ceiling=0.2)  # 20 a second come in, 10 are there

    assert client.throttled_from(60) == pytest.approx(0.25)
    client.advance(0.25)
    client.charge(15.0, sure=True)
    assert client.throttled_from(20) == math.inf
    client.charge(1e-5, sure=True)
    assert client.throttled
    assert standing().throttled_from(100) == math.inf
