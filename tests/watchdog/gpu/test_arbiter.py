"""What an arbiter decides, step by step, on a device of 100 SMs and 1000 bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain.wire.lease import Ask, Beside, Granted, LeaseError, Revoked, Share
from regrain_watchdog.gpu.arbiter import Arbiter, End, Tell
from regrain_watchdog.gpu.limits import Device


def test_leases_run_side_by_side_as_long_as_they_fit(arbiter):
    a, b, c = (arbiter.join(name) for name in "abc")
    for client, share in ((a, 0.5), (b, 0.4), (c, 0.2)):
        arbiter.wants(client, share)

    first = arbiter.granted()
    arbiter.release(b, 7, first[1][1], 1.0)

    assert [client for client, _ in first] == [a, b]
    assert arbiter.granted(1.0) == [(c, 3)]


def test_a_grant_says_how_many_sms_for_how_long_and_of_which_epoch(arbiter):
    client = arbiter.join()
    arbiter.wants(client, 0.259, seconds=0.25, number=4)

    assert arbiter.schedule(0.0) == [Tell(client, Granted(4, 7, 1, 25, 0.25))]


def test_a_grant_says_what_is_held_beside_it(arbiter):
    for name, share in (("a", 0.5), ("b", 0.25), ("c", 0.25)):
        arbiter.wants(arbiter.join(name), share)

    beside = [told.frame.beside for told in arbiter.schedule(0.0)]

    assert beside == [(), (Beside("a", 50),), (Beside("a", 50), Beside("b", 25))]


@pytest.mark.parametrize(
    ("share", "sms"),
    [
        pytest.param(0.07, 7, id="0.07 x 100 is 7.000000000000001 or less"),
        pytest.param(0.29, 29, id="0.29 x 100 is 28.999999999999996"),
        pytest.param(1 / 3, 33, id="down"),
        pytest.param(0.001, 1, id="one at least"),
        pytest.param(1.0, 100, id="all"),
    ],
)
def test_a_share_is_rounded_down_to_whole_sms_and_is_one_at_least(arbiter, share, sms):
    client = arbiter.join()
    arbiter.wants(client, share)

    assert arbiter.schedule(0.0)[0].frame.sms == sms


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        pytest.param(Ask(1, 0.0, 1.0), r"share of a lease must be in \(0, 1\], was 0", id="no share"),
        pytest.param(Ask(1, 1.1, 1.0), "was 1.1", id="over the device"),
        pytest.param(Ask(1, float("nan"), 1.0), "was nan", id="no number"),
        pytest.param(Ask(1, 0.5, 0.0), "more than 0 and at most 10 s", id="no time"),
        pytest.param(Ask(1, 0.5, 11.0), "at most 10 s, was 11.0 s: renew", id="too long"),
        pytest.param(Ask(1, 0.5, float("nan")), "was nan", id="nan seconds"),
        pytest.param(Ask(1, 0.5, 1.0, deadline=float("nan")), "deadline", id="nan deadline"),
        pytest.param(Ask(1, 0.5, 1.0, memory=101), "declared 100 bytes, and asks for 101", id="memory"),
        pytest.param(Ask(1, 0.5, 1.0, memory=-1), "asks for -1", id="negative memory"),
        pytest.param(Ask(0, 0.5, 1.0), "number 0", id="number"),
    ],
)
def test_an_ask_that_cannot_be_granted_is_refused_at_once(arbiter, frame, message):
    client = arbiter.join(memory=100)

    with pytest.raises(LeaseError, match=message):
        arbiter.ask(client, frame, 0.0)

    assert arbiter.schedule(0.0) == []


def test_asks_are_told_apart_and_bounded(arbiter):
    client = arbiter.join()
    for number in range(1, arbiter.limits.asks + 1):
        arbiter.wants(client, 1.0, number=number)

    with pytest.raises(LeaseError, match="waits already"):
        arbiter.wants(client, 1.0, number=3)
    with pytest.raises(LeaseError, match="64 asks waiting"):
        arbiter.wants(client, 1.0, number=100)


def test_an_ask_whose_deadline_passes_is_refused_and_told_who_holds_what(arbiter):
    a, b = arbiter.join("a", pid=11), arbiter.join("b")
    arbiter.wants(a, 0.7)
    arbiter.granted()
    arbiter.wants(b, 0.5, deadline=0.5)

    assert arbiter.wake(0.0) == 0.5
    (told,) = arbiter.refused(0.5)
    assert told.number == 1
    assert told.reason == "no lease of 50 SMs within 500 ms; 30 are free, held: a (process 11) 70 SMs"


def test_a_withdrawn_ask_is_granted_to_nobody(arbiter):
    client = arbiter.join()
    arbiter.wants(client, 1.0)

    assert arbiter.withdraw(client, 1, 0.0)
    assert not arbiter.withdraw(client, 1, 0.0)
    assert arbiter.granted() == []


def test_a_stale_grant_is_fenced_off(arbiter):
    a, b = arbiter.join("a"), arbiter.join("b")
    arbiter.wants(a, 0.5)
    ((_, lease),) = arbiter.granted()

    with pytest.raises(LeaseError, match="is of epoch 6, this arbiter's is 7"):
        arbiter.release(a, 6, lease, 1.0)
    with pytest.raises(LeaseError, match="client 2 holds no lease 1"):
        arbiter.release(b, 7, lease, 1.0)
    arbiter.release(a, 7, lease, 1.0)
    with pytest.raises(LeaseError, match="client 1 holds no lease 1"):
        arbiter.renew(a, 7, lease, Ask(2, 0.5, 1.0), 1.0)
    with pytest.raises(LeaseError, match="no client 99 is known"):
        arbiter.ask(99, Ask(1, 0.5, 1.0), 1.0)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_a_grant_of_one_arbiter_means_nothing_to_the_next(epochs, ahead, seed):
    rng = random.Random(seed)
    before = Arbiter(Device(sms=80, memory=0), epoch=epochs)
    after = Arbiter(Device(sms=80, memory=0), epoch=epochs + ahead)
    for arbiter in (before, after):
        for client in range(1, 4):
            arbiter.register(f"f{client}", Share(), pid=client, now=0.0)
            arbiter.ask(client, Ask(1, rng.choice([0.1, 0.2]), 1.0), 0.0)
    granted, again = before.schedule(0.0), after.schedule(0.0)

    for old in granted:
        with pytest.raises(LeaseError, match="epoch"):
            after.release(old.client, old.frame.epoch, old.frame.lease, 0.0)
    tokens = [(told.frame.epoch, told.frame.lease) for told in granted + again]
    assert tokens == sorted(set(tokens))


def test_a_renewal_that_is_refused_leaves_the_lease(arbiter):
    client = arbiter.join()
    arbiter.wants(client, 0.5)
    ((_, lease),) = arbiter.granted()

    with pytest.raises(LeaseError, match=r"was 2\.0"):
        arbiter.renew(client, 7, lease, Ask(2, 2.0, 1.0), 1.0)
    assert arbiter.status(1.0).free_sms == 50


def test_an_arbiter_that_took_over_grants_nothing_before_it_opens(by_hand):
    arbiter = by_hand(epoch=8, opens=3.0)
    client = arbiter.join()
    arbiter.wants(client, 1.0)

    assert arbiter.granted(0.0) == []
    assert arbiter.wake(0.0) == 3.0
    assert [who for who, _ in arbiter.granted(3.0)] == [client]


def test_a_lost_connection_frees_nothing_before_the_process_is_gone(arbiter):
    a, b = arbiter.join("a"), arbiter.join("b")
    arbiter.wants(a, 1.0)
    arbiter.granted()
    arbiter.wants(a, 1.0, number=2)
    arbiter.wants(b, 1.0)
    arbiter.lost(a, 0.5)

    assert arbiter.granted(0.5) == []
    arbiter.gone(a, 0.6)
    assert [client for client, _ in arbiter.granted(0.6)] == [b]
    assert [member.client for member in arbiter.status(0.6).members] == [b]


def test_who_comes_back_gives_up_what_it_held_before(arbiter):
    a, b = arbiter.join("a", pid=11, memory=900, floor=0.9), arbiter.join("b")
    arbiter.wants(a, 1.0)
    arbiter.granted()
    arbiter.wants(b, 1.0)
    arbiter.lost(a, 0.5)
    arbiter.retract(a, 1.0)
    again = arbiter.join("a", pid=11, memory=900, floor=0.9, now=1.0)

    assert again != a
    assert [client for client, _ in arbiter.granted(1.0)] == [b]
    assert arbiter.status(1.0).free_memory == 100


def test_a_holder_over_its_time_is_told_and_then_ended_if_others_wait(arbiter):
    a, b = arbiter.join("a"), arbiter.join("b")
    arbiter.wants(a, 1.0, seconds=1.0)
    arbiter.granted()
    arbiter.wants(b, 1.0)

    assert arbiter.wake(0.0) == 1.5
    assert arbiter.schedule(1.49) == []
    assert arbiter.schedule(1.5) == [Tell(a, Revoked(7, 1, "lease 1 is 500 ms over, and others wait"))]
    assert arbiter.wake(1.5) == 3.5
    assert arbiter.schedule(3.5) == [End(a, "a: lease 1 is 2.5 s over, and others wait")]
    assert arbiter.wake(3.5) is None
    assert arbiter.schedule(9.0) == []


def test_a_holder_over_its_time_is_left_alone_while_nobody_waits(arbiter):
    a, b = arbiter.join("a"), arbiter.join("b")
    arbiter.wants(a, 1.0, seconds=1.0)
    arbiter.granted()

    assert arbiter.wake(0.0) is None
    assert arbiter.schedule(50.0) == []
    arbiter.wants(b, 1.0, now=50.0)
    assert [type(told.frame) for told in arbiter.schedule(50.0)] == [Revoked]
    assert arbiter.wake(50.0) == 52.0


@pytest.mark.parametrize("name", ["", "x" * 129])
def test_a_client_has_a_name_of_some_length(arbiter, name):
    with pytest.raises(LeaseError, match="1 to 128 characters"):
        arbiter.register(name, Share(), pid=1, now=0.0)
