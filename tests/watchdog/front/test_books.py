"""What is left of a GPU for an app, by its arbiter's books."""

from __future__ import annotations

import pytest

from regrain.wire.lease import Member, Share, Status, Usage
from regrain_watchdog.front import books
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
        usage=(Usage(name="app/a", declared=300),),
    )

    assert left(found) == Room(800, floor=0.6, given=1.0)


@pytest.mark.parametrize(
    ("usage", "memory"),
    [
        pytest.param(Usage(name="app/a", declared=100, quarantined=300), 800, id="one of ours that is gone"),
        pytest.param(Usage(name="app/a", declared=100, seen=400), 800, id="ours hold more than they said"),
        pytest.param(Usage(name="other/a", quarantined=300), 400, id="one of others that is gone"),
        pytest.param(Usage(name="app/a", seen=2000), 1000, id="more than there is"),
    ],
)
def test_what_is_seen_beside_what_is_declared_counts(usage, memory):
    assert left(status(400, usage=(usage,))).memory == memory


def test_a_device_on_which_more_is_held_than_there_is_has_nothing_left():
    assert left(status(-100)).memory == 0
