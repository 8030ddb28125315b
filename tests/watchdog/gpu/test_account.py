"""What is counted of each function: SM-seconds, waits, overuse, reserved time, memory, and every lease."""

from __future__ import annotations

import pytest

from regrain.wire.lease import Ask, Granted, LeaseError, Share
from regrain_watchdog.gpu.arbiter import Arbiter, Tell
from regrain_watchdog.gpu.limits import Device, Limits

LIMITS = Limits(longest=10.0, grace=0.5, hang=2.0, reserve_after=1.0, patience=5.0, window=1.0)


@pytest.fixture
def arbiter() -> Arbiter:
    return Arbiter(Device(sms=100, memory=1000), epoch=7, limits=LIMITS)


def join(arbiter: Arbiter, name: str = "a", *, now: float = 0.0, pid: int = 0, **share: float) -> int:
    return arbiter.register(name, Share(**share), pid=pid or 1000 + ord(name[0]), now=now)


def ask(arbiter: Arbiter, client: int, share: float, *, now: float = 0.0, number: int = 1, **more) -> None:
    arbiter.ask(client, Ask(number, share, more.pop("seconds", 1.0), **more), now)


def granted(arbiter: Arbiter, now: float = 0.0) -> list[tuple[int, int]]:
    """Schedule; return who was granted a lease, and its number."""
    return [
        (told.client, told.frame.lease)
        for told in arbiter.schedule(now)
        if isinstance(told, Tell) and isinstance(told.frame, Granted)
    ]


def test_memory_over_the_device_is_refused_naming_who_holds_what(arbiter):
    join(arbiter, "a", memory=600, pid=11)

    with pytest.raises(LeaseError) as error:
        join(arbiter, "b", memory=500)
    assert str(error.value) == (
        "b wants 500 B of GPU memory, 400 B of 1000 B is free; held by: a (process 11) 600 B"
    )


def test_the_memory_of_the_dead_is_free_once_it_is_seen_to_be(arbiter):
    a = join(arbiter, "a", memory=600, pid=11)
    arbiter.gone(a, 1.0)

    with pytest.raises(LeaseError, match=r"a \(process 11, which is gone\) 600 B"):
        join(arbiter, "b", memory=500)
    assert arbiter.status(1.0).usage[0].quarantined == 600
    arbiter.memory_seen({11: 550})
    assert arbiter.status(1.0).usage[0].quarantined == 550
    arbiter.memory_seen({})
    join(arbiter, "b", memory=1000)


def test_what_was_used_waited_for_and_reserved_is_counted_as_it_goes_by(arbiter):
    a, b = join(arbiter, "a", floor=0.2), join(arbiter, "b")
    ask(arbiter, a, 0.5)
    ask(arbiter, b, 0.75)
    granted(arbiter)

    (mine, other) = arbiter.status(2.0).usage
    arbiter.release(a, 7, 1, 2.0)
    granted(arbiter, 2.0)
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


def test_leases_are_remembered_and_recalled_page_by_page():
    arbiter = Arbiter(Device(sms=100, memory=0), epoch=7, limits=Limits(history=500))
    a, b = join(arbiter, "a", pid=11), join(arbiter, "b", pid=12)
    for turn in range(600):
        ask(arbiter, a, 0.5, now=float(turn))
        ((_, lease),) = granted(arbiter, float(turn))
        arbiter.release(a, 7, lease, turn + 0.5)
    ask(arbiter, b, 0.25, now=600.0)
    granted(arbiter, 600.0)

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
