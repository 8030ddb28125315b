"""Whose turn it is, step by step: by weights, floors, ceilings and priorities, on a device of 100 SMs."""

from __future__ import annotations

import pytest

from regrain.wire.lease import Ask, LeaseError, Share


def test_of_one_client_the_earliest_deadline_goes_first(arbiter):
    client = arbiter.join()
    arbiter.wants(client, 1.0, number=1)
    arbiter.wants(client, 1.0, number=2, deadline=9.0)
    arbiter.wants(client, 1.0, number=3, deadline=5.0)

    assert [told.frame.number for told in arbiter.schedule(0.0)] == [3]


def test_renewing_keeps_the_turn(arbiter):
    heavy, light = arbiter.join("a", weight=3.0), arbiter.join("b")
    arbiter.wants(heavy, 1.0)
    arbiter.wants(light, 1.0)
    turns = []
    for now in range(40):
        ((client, lease),) = arbiter.granted(float(now))
        turns.append(client)
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 1.0), now + 1.0)

    assert abs(turns.count(heavy) - 30) <= 1


def test_who_was_away_saves_nothing_up(arbiter):
    busy, back = arbiter.join("a"), arbiter.join("b")
    arbiter.wants(busy, 1.0)
    turns = []
    for now in range(8):
        if now == 4:
            arbiter.wants(back, 1.0, now=4.0)
        ((client, lease),) = arbiter.granted(float(now))
        turns.append("ab"[client - 1])
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 1.0), now + 1.0)

    assert turns in (list("aaaaabab"), list("aaaababa"))


def test_what_was_not_used_is_given_back(arbiter):
    brief, full = arbiter.join("a"), arbiter.join("b")
    for client in (brief, full):
        arbiter.wants(client, 1.0)
    turns, now = [], 0.0
    for _ in range(11):
        ((client, lease),) = arbiter.granted(now)
        turns.append(client)
        now += 0.125 if client == brief else 1.0
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 1.0), now)

    assert turns.count(full) == 2
    assert turns.count(brief) == 9


def test_overuse_is_charged(arbiter):
    greedy, fair = arbiter.join("a"), arbiter.join("b")
    for client in (greedy, fair):
        arbiter.wants(client, 1.0, seconds=0.1)
    held, now = {greedy: 0.0, fair: 0.0}, 0.0
    for _ in range(60):
        ((client, lease),) = arbiter.granted(now)
        time = 0.5 if client == greedy else 0.1
        held[client] += time
        now += time
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 0.1), now)

    assert abs(held[greedy] - held[fair]) <= 0.5 + 0.1
    assert arbiter.status(now).usage[0].overuse == pytest.approx(held[greedy] * 0.8)


def test_a_small_ask_goes_before_a_large_one_that_does_not_fit_for_a_while(arbiter):
    small, large, other = (arbiter.join(name) for name in "abc")
    arbiter.wants(small, 0.5, seconds=5.0)
    first = arbiter.granted()
    arbiter.wants(large, 1.0, now=1.0)
    arbiter.wants(other, 0.3, now=1.0)
    second = arbiter.granted(1.0)
    arbiter.renew(other, 7, second[0][1], Ask(2, 0.3, 1.0), 2.5)

    assert [client for client, _ in second] == [other]
    assert arbiter.granted(2.5) == []
    arbiter.release(small, 7, first[0][1], 3.0)
    assert [client for client, _ in arbiter.granted(3.0)] == [large]


def test_the_more_urgent_go_first_and_the_others_once_in_a_while(arbiter):
    urgent, other = arbiter.join("a", priority=0), arbiter.join("b", priority=1)
    for client in (urgent, other):
        arbiter.wants(client, 1.0)
    turns = []
    for now in range(14):
        ((client, lease),) = arbiter.granted(float(now))
        turns.append("ab"[client - 1])
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 1.0), now + 1.0)

    assert "".join(turns) == "aaaaabaaaaabaa"


def test_floors_over_the_device_are_refused_naming_who_holds_what(arbiter):
    arbiter.join("a", floor=0.5, pid=11)
    arbiter.join("b", floor=0.25, pid=12)

    with pytest.raises(LeaseError) as error:
        arbiter.join("c", floor=0.3)
    assert str(error.value) == (
        "c wants 0.3 of the GPU for sure, 0.25 is left; reserved by: a (process 11) 0.5, b (process 12) 0.25"
    )
    arbiter.join("c", floor=0.25)


def test_a_floor_is_free_again_once_its_client_is_gone(arbiter):
    client = arbiter.join("a", floor=1.0)
    arbiter.gone(client, 1.0)

    arbiter.join("b", floor=1.0)


def test_a_floor_is_kept_against_a_heavier_weight(arbiter):
    sure, heavy = arbiter.join("a", floor=0.5, weight=0.01), arbiter.join("b", weight=100.0)
    for client in (sure, heavy):
        arbiter.wants(client, 1.0, seconds=0.1)
    held = {sure: 0.0, heavy: 0.0}
    for step in range(400):
        ((client, lease),) = arbiter.granted(step / 10)
        held[client] += 0.1
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 0.1), (step + 1) / 10)

    assert held[sure] == pytest.approx(20.0, abs=1.2)


def test_a_floor_is_kept_whatever_its_client_used_while_it_was_alone(arbiter):
    sure, heavy = arbiter.join("a", floor=0.5), arbiter.join("b", weight=100.0)
    arbiter.wants(sure, 1.0, seconds=0.1)
    held = {sure: 0.0, heavy: 0.0}
    for step in range(250):
        if step == 200:
            arbiter.wants(heavy, 1.0, now=20.0, seconds=0.1)
            held[sure] = 0.0
        ((client, lease),) = arbiter.granted(step / 10)
        held[client] += 0.1
        arbiter.renew(client, 7, lease, Ask(2, 1.0, 0.1), (step + 1) / 10)

    assert held[sure] == pytest.approx(2.5, abs=0.3)


def test_a_ceiling_binds_alone_too_and_can_be_moved_while_it_runs(arbiter):
    client = arbiter.join(ceiling=0.25)
    now, held = 0.0, [0.0, 0.0]
    arbiter.wants(client, 1.0, seconds=0.1)
    while now < 40.0:
        if now >= 20.0:
            arbiter.adjust(client, Share(ceiling=0.75), now)
        if not (grants := arbiter.granted(now)):
            now = arbiter.wake(now)
            continue
        held[now >= 20.0] += 0.1
        now += 0.1
        arbiter.renew(client, 7, grants[0][1], Ask(2, 1.0, 0.1), now)

    assert held == pytest.approx([5.0, 15.0], abs=0.5)


def test_an_adjustment_that_is_refused_leaves_the_old_share(arbiter):
    arbiter.join("a", floor=0.8, memory=900)
    client = arbiter.join("b", floor=0.1, memory=100)
    before = arbiter.status(0.0).members[1].share

    with pytest.raises(LeaseError, match=r"wants 0\.3 of the GPU"):
        arbiter.adjust(client, Share(floor=0.3), 0.0)
    with pytest.raises(LeaseError, match="wants 101 B of GPU memory, 100 B of 1000 B is free"):
        arbiter.adjust(client, Share(memory=101), 0.0)
    assert arbiter.status(0.0).members[1].share == before
    arbiter.adjust(client, Share(floor=0.2, memory=50), 0.0)
    assert arbiter.status(0.0).free_memory == 50


def test_moving_a_weight_while_a_lease_runs_gains_nothing(arbiter):
    a, b = arbiter.join("a"), arbiter.join("b")
    arbiter.wants(a, 1.0, seconds=10.0)
    ((_, lease),) = arbiter.granted()
    arbiter.wants(b, 1.0)
    arbiter.granted()
    arbiter.adjust(a, Share(weight=0.01), 0.0)
    arbiter.renew(a, 7, lease, Ask(2, 1.0, 1.0), 1.0)

    assert [client for client, _ in arbiter.granted(1.0)] == [b]
