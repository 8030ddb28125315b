"""What is counted of each function: SM-seconds, waits, overuse, reserved time, memory, and every lease."""

from __future__ import annotations

import pytest

from regrain.wire.lease import MAX_FRAME, MAX_NAME, LeaseError, Share, encode
from regrain_watchdog.gpu.account import ACCOUNTS


def test_memory_over_the_device_is_refused_naming_who_holds_what(arbiter):
    arbiter.join("a", memory=600, pid=11)

    with pytest.raises(LeaseError) as error:
        arbiter.join("b", memory=500)
    assert str(error.value) == (
        "b wants 500 B of GPU memory, 400 B of 1000 B is free; held by: a (process 11) 600 B"
    )


def test_the_memory_of_the_dead_is_free_once_it_is_seen_to_be(arbiter):
    a = arbiter.join("a", memory=600, pid=11)
    arbiter.gone(a, 1.0)

    with pytest.raises(LeaseError, match=r"a \(process 11, which is gone\) 600 B"):
        arbiter.join("b", memory=500)
    assert arbiter.status(1.0).usage[0].quarantined == 600
    arbiter.memory_seen({11: 550})
    assert arbiter.status(1.0).usage[0].quarantined == 550
    arbiter.memory_seen({})
    arbiter.join("b", memory=1000)


def test_what_was_used_waited_for_and_reserved_is_counted_as_it_goes_by(arbiter):
    a, b = arbiter.join("a", floor=0.2), arbiter.join("b")
    arbiter.wants(a, 0.5)
    arbiter.wants(b, 0.75)
    arbiter.granted()

    (mine, other) = arbiter.status(2.0).usage
    arbiter.release(a, 7, 1, 2.0)
    arbiter.granted(2.0)
    arbiter.adjust(a, Share(), 3.0)
    arbiter.gone(b, 4.0)
    (after, ended) = arbiter.status(5.0).usage

    assert (mine.sm_seconds, mine.overuse, mine.lease_wait, mine.reserved_sm_seconds) == (
        100.0,
        1.0,
        0.0,
        40.0,
    )
    assert (other.sm_seconds, other.lease_wait, other.grants) == (0.0, 2.0, 0)
    assert (after.sm_seconds, after.reserved_sm_seconds, after.grants) == (100.0, 60.0, 1)
    assert (ended.sm_seconds, ended.overuse, ended.lease_wait, ended.grants) == (150.0, 1.0, 2.0, 1)


def test_of_functions_that_come_and_go_the_latest_are_told_of_and_all_that_still_have_clients(arbiter):
    names = [f"{number:0{MAX_NAME}}" for number in range(1000)]
    arbiter.join("stays")
    for now, name in enumerate(names):
        arbiter.gone(arbiter.join(name), float(now))
    arbiter.gone(arbiter.join(names[-ACCOUNTS + 1]), 1000.0)  # so it has gone last
    arbiter.gone(arbiter.join("new"), 1000.0)

    status = arbiter.status(1000.0)

    told = sorted(["stays", "new", names[-ACCOUNTS + 1], *names[-ACCOUNTS + 3 :]])
    assert [one.name for one in status.usage] == told
    assert len(encode(status)) <= MAX_FRAME


def test_leases_are_remembered_and_recalled_page_by_page(by_hand):
    arbiter = by_hand(history=500)
    a, b = arbiter.join("a", pid=11), arbiter.join("b", pid=12)
    for turn in range(600):
        arbiter.wants(a, 0.5, now=float(turn))
        ((_, lease),) = arbiter.granted(float(turn))
        arbiter.release(a, 7, lease, turn + 0.5)
    arbiter.wants(b, 0.25, now=600.0)
    arbiter.granted(600.0)

    after, pages = 0, []
    while not pages or not pages[-1].running:
        pages.append(arbiter.recall(after, 601.0))
        after = pages[-1].next

    ended = [hold for page in pages for hold in page.ended]
    assert [hold.lease for hold in ended] == list(range(101, 601))
    assert (ended[0].name, ended[0].pid, ended[0].sms, ended[0].start, ended[0].end) == (
        "a",
        11,
        50,
        100.0,
        100.5,
    )
    assert [(hold.name, hold.sms, hold.start, hold.end) for hold in pages[-1].running] == [
        ("b", 25, 600.0, 601.0)
    ]
    assert arbiter.recall(-5, 601.0) == pages[0]
    assert arbiter.recall(2**64 - 1, 601.0).ended == []
