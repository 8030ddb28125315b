"""What is left of a GPU for an app, by its arbiter's books."""

from __future__ import annotations

import pytest

from regrain.wire.lease import Member, Share, Status, Usage
from regrain_watchdog.front import books
from regrain_watchdog.gpu.arbiter import Arbiter
from regrain_watchdog.gpu.limits import Device
from regrain_watchdog.policy.place import Room


def status(free: int, *members: Member, usage: tuple[Usage, ...] = ()) -> Status:
    return Status(epoch=1, sms=100, free_sms=100, memory=1000, free_memory=free, members=members, usage=usage)


def member(name: str, memory: int, floor: float = 0.0) -> Member:
    return Member(client=1, name=name, pid=2, share=Share(memory=memory, floor=floor), sms=0, waiting=0)


def left(found: Status) -> Room:
    return books.beside_others(Room(1000), found, lambda name: name.startswith("app/"))


def test_what_other_apps_declare_is_theirs_and_what_ours_hold_is_ours():
    found = status(
        500,
        member("app/a", 300),
        member("other/b", 200, floor=0.4),
        usage=(Usage(name="app/a", held=300),),
    )

    assert left(found) == Room(800, floor=0.6, given=1.0)


@pytest.mark.parametrize(
    ("usage", "memory"),
    [
        pytest.param(Usage(name="app/a", declared=100, seen=400, held=400), 800, id="ours"),
        pytest.param(Usage(name="other/a", quarantined=300, held=300), 400, id="others"),
        pytest.param(Usage(name="app/a", seen=2000, held=2000), 1000, id="more than there is"),
    ],
)
def test_what_counts_of_what_ours_hold_is_theirs(usage, memory):
    assert left(status(400, usage=(usage,))).memory == memory


@pytest.fixture
def arbiter() -> Arbiter:
    return Arbiter(Device(sms=100, memory=1000), epoch=1)


def test_replicas_that_hold_more_and_less_than_they_said_leave_what_they_would_leave(arbiter):
    for pid in (11, 12):
        arbiter.register("app/a", Share(memory=500), pid=pid, now=0.0)

    arbiter.memory_seen({11: 550, 12: 250})

    assert left(arbiter.status(0.0)).memory == 1000


def test_weights_that_are_held_while_no_replica_lives_are_in_the_way_of_none(arbiter):
    arbiter.memory_seen({99: 500}, holder=99)

    found = left(arbiter.status(0.0)).memory

    assert found == 1000
    arbiter.register("app/a", Share(memory=found), pid=11, now=0.0)


def test_a_device_on_which_more_is_held_than_there_is_has_nothing_left():
    assert left(status(-100)).memory == 0
