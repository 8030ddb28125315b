"""How far behind each other clients of one priority may fall, on a device of 100 SMs."""

from __future__ import annotations

import itertools
import math

import pytest

from regrain.wire.lease import Ask, Granted, Share
from regrain_watchdog.gpu.arbiter import Arbiter, Tell
from regrain_watchdog.gpu.entitlement import Entitlement
from regrain_watchdog.gpu.fairness import Fairness
from regrain_watchdog.gpu.limits import Device, Limits
from regrain_watchdog.gpu.members import Client, Lease, Waiting

WINDOW = 2.0
numbers = itertools.count(1)


@pytest.fixture
def fairness() -> Fairness:
    return Fairness(Limits(window=WINDOW))


def member(vtime: float, *, waits: int = 0, holds: int = 0, **share: float) -> Client:
    """A client that waits for or holds so many SMs for half a second; with a floor, it has had nothing of that yet."""
    number = next(numbers)
    standing = Entitlement(Share(**share), sms=100, window=WINDOW, longest=2.0, vtime=vtime, now=0.0)
    client = Client(number, "f", number, Share(**share), standing, 0.0, idle=False)
    if waits:
        client.asks[1] = Waiting(client, 1, number, waits, 0.5, math.inf, 0.0)
    if holds:
        client.leases[1] = Lease(client, 1, holds, 0.0, 0.5, 0.5, sure=False)
    return client


def after(fairness: Fairness, going: Client, other: Client) -> float:
    """Let one go and return the virtual time of another."""
    fairness.go(going, [going, other])
    return other.entitlement.vtime


def test_who_has_all_it_waits_for_is_behind_who_goes_by_its_own_lease_at_most(fairness):
    assert after(fairness, member(90.0, waits=50), member(10.0, holds=20, weight=2.0)) == 90.0 - 20 * 0.5 / 2
    assert after(fairness, member(90.0, waits=50), member(88.0, holds=20, weight=2.0)) == 88.0


def test_who_waits_for_its_floor_saves_up_nothing_meanwhile(fairness):
    assert after(fairness, member(90.0, waits=50), member(10.0, waits=20, floor=0.5)) == 90.0


def test_who_does_not_fit_catches_up_with_no_more_than_it_could_have_had_in_a_window(fairness):
    assert (
        after(fairness, member(900.0, waits=5), member(10.0, waits=80, weight=2.0)) == 900.0 - WINDOW * 80 / 2
    )
    assert after(fairness, member(900.0, waits=5), member(895.0, waits=80)) == 895.0


def test_while_one_that_does_not_fit_is_passed_over_others_keep_their_place_before_who_goes(fairness):
    going, running, passed = member(90.0, waits=5), member(40.0, holds=20), member(30.0, waits=80)

    fairness.go(going, [going, running, passed])

    assert (running.entitlement.vtime, passed.entitlement.vtime) == (90.0 - WINDOW * 20, 30.0)


def test_those_that_are_passed_over_together_keep_their_places_among_each_other(fairness):
    heavy, light = member(100.0, waits=80, weight=8.0), member(110.0, waits=80)
    going = member(300.0, waits=5)

    fairness.go(going, [going, heavy, light])

    assert heavy.entitlement.vtime == 300.0 - WINDOW * 80 / 8
    assert light.entitlement.vtime == heavy.entitlement.vtime + 10.0


@pytest.mark.parametrize(
    ("going", "other"),
    [
        pytest.param({"floor": 0.5}, {}, id="who goes by its floor"),
        pytest.param({"priority": 1}, {}, id="who is of another priority"),
    ],
)
def test_only_who_goes_by_its_fair_part_takes_others_along(fairness, going, other):
    assert after(fairness, member(90.0, waits=50, **going), member(10.0, holds=20, **other)) == 10.0


def test_who_is_away_is_not_taken_along_and_starts_beside_the_others_when_it_is_back(fairness):
    busy, away = member(90.0, waits=50), member(10.0)
    fairness.join([busy, away], 0.0)

    assert after(fairness, busy, away) == 10.0
    away.asks[1] = Waiting(away, 1, away.number, 10, 0.5, math.inf, 0.0)
    fairness.join([busy, away], 0.0)
    assert away.entitlement.vtime == fairness.start(0) == 90.0


class Turns:
    """An arbiter whose clients ask again for what they had as soon as a second is over, which each lease is for."""

    def __init__(self) -> None:
        self.arbiter = Arbiter(Device(sms=100, memory=0), epoch=1, limits=Limits(patience=60.0))
        self.widths: dict[int, float] = {}
        self.now = 0.0
        self.held: dict[int, int] = {}

    def join(self, width: float, **share: float) -> int:
        client = self.arbiter.register("f", Share(**share), pid=len(self.widths) + 1, now=self.now)
        self.widths[client] = width
        self.arbiter.ask(client, Ask(1, width, 1.0), self.now)
        return client

    def step(self) -> set[int]:
        """Let a second go by; return who had a lease in it."""
        for told in self.arbiter.schedule(self.now):
            assert isinstance(told, Tell)
            assert isinstance(told.frame, Granted)
            self.held[told.client] = told.frame.lease
        self.now += 1.0
        for client, lease in self.held.items():
            self.arbiter.renew(client, 1, lease, Ask(1, self.widths[client], 1.0), self.now)
        had, self.held = set(self.held), {}
        return had


def test_what_others_left_is_not_held_against_who_took_it():
    turns = Turns()
    narrow, wide = turns.join(0.1), turns.join(0.8)
    assert all(turns.step() == {narrow, wide} for _ in range(100))
    third = turns.join(0.2)

    had = [turns.step() for _ in range(10)]

    assert {wide in each for each in had} == {third in each for each in had} == {True, False}


def test_what_a_floor_gave_is_not_held_against_its_client_once_it_is_taken_away():
    turns = Turns()
    sure, _ = turns.join(1.0, floor=0.9), turns.join(1.0)
    for _ in range(100):
        turns.step()
    turns.arbiter.adjust(sure, Share(), turns.now)

    assert [sure in turns.step() for _ in range(10)].count(True) == 5
