"""An arbiter among real processes: whatever becomes of them, nothing leaks and nobody starves."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import time

import pytest

from regrain.wire.lease import LeaseError, Share
from regrain_runtime.gpu.client import Client
from regrain_watchdog.gpu.limits import Device, Limits
from regrain_watchdog.gpu.operate import adjust, look
from regrain_watchdog.gpu.server import Server

pytestmark = pytest.mark.process


def waits(worker, *, share=1.0, seconds=0.05, timeout=60.0):
    """Let a worker wait for a lease that it does not get at once."""
    worker.tell("lease", share, seconds, timeout)


def holding(node, *, name="a", share=1.0, seconds=0.05, **limits):
    """A worker that holds a lease, and another that waits for it."""
    holder, other = node.worker(name), node.worker("other")
    assert holder.do("lease", share, seconds, 60).startswith("granted")
    waits(other)
    node.until(lambda status: sum(member.waiting for member in status.members) == 1)
    return holder, other


def test_leases_are_granted_in_turn_and_tokens_go_up(node):
    node.arbiter()
    a, b = node.worker("a"), node.worker("b")
    _, epoch, lease, sms = a.do("lease", 1.0, 0.5, 60).split()
    waits(b)
    node.until(lambda status: [member.waiting for member in status.members] == [0, 1])
    a.tell("release")

    assert (lease, sms) == ("1", "100")
    assert b.hear() == f"granted {epoch} 2 100"
    assert a.hear() == "released"


def test_a_lease_is_had_side_by_side_with_another_and_shown(node):
    node.arbiter()
    a, b = node.worker("a", weight=2.0, memory=600), node.worker("b")
    a.do("lease", 0.6, 0.5, 60)
    b.do("lease", 0.4, 0.5, 60)

    status = node.status()

    assert (status.sms, status.free_sms, status.memory, status.free_memory) == (100, 0, 1000, 400)
    assert [(member.name, member.pid, member.sms) for member in status.members] == [
        ("a", a.pid, 60),
        ("b", b.pid, 40),
    ]
    assert [(usage.name, usage.grants) for usage in status.usage] == [("a", 1), ("b", 1)]
    assert all(usage.sm_seconds > 0 for usage in status.usage)


def test_renewing_gives_others_their_turn(node):
    node.arbiter()
    a, b = node.worker("a"), node.worker("b")
    a.do("lease", 1.0, 0.5, 60)
    waits(b)
    node.until(lambda status: sum(member.waiting for member in status.members) == 1)
    a.tell("renew", 60)

    assert b.hear().startswith("granted")
    b.do("release")
    assert a.hear().startswith("granted")


def test_no_lease_in_time_is_an_error_that_names_the_holder(node):
    node.arbiter()
    a, b = node.worker("a"), node.worker("b")
    a.do("lease", 0.75, 0.5, 60)

    said = "does not answer"
    while "does not answer" in said:  # a starved arbiter is given up soon after the lease is
        said = b.do("lease", 0.5, 0.5, 0.1)

    assert said.startswith("RefusedError b: no lease of 50 SMs within")
    assert said.endswith(f"25 are free, held: a (process {a.pid}) 75 SMs")
    assert b.do("lease", 0.25, 0.5, 60).startswith("granted")


def test_what_cannot_be_is_refused_and_the_client_goes_on(node):
    node.arbiter()
    a, b = node.worker("a", floor=0.7, memory=800), node.worker("b", floor=0.5)
    assert a.do("lease", 1.5, 0.5, 60) == "RefusedError a: the share of a lease must be in (0, 1], was 1.5"
    assert a.do("lease", 0.5, 0.5, 60).startswith("granted")

    said = b.do("lease", 0.5, 0.5, 60)

    assert said == (
        f"RefusedError b: b wants 0.5 of the GPU for sure, 0.3 is left; reserved by: a (process {a.pid}) 0.7"
    )
    assert [member.name for member in node.status().members] == ["a"]


def test_memory_over_the_card_is_refused(node):
    node.arbiter()
    a, b = node.worker("a", memory=800), node.worker("b", memory=300)
    a.do("lease", 0.5, 0.5, 60)

    assert b.do("lease", 0.5, 0.5, 60) == (
        f"RefusedError b: b wants 300 B of GPU memory, 200 B of 1000 B is free; held by: a (process {a.pid}) 800 B"
    )


def test_shares_are_changed_while_they_run(node):
    node.arbiter()
    a = node.worker("a")
    a.do("lease", 0.5, 0.5, 60)
    client = node.status().members[0].client

    adjust(node.path, client, Share(weight=3.0, floor=0.5))
    assert node.status().members[0].share == Share(weight=3.0, floor=0.5)
    assert a.do("adjust", 0.5, 0.25) == "adjusted"
    assert node.status().members[0].share == Share(ceiling=0.5, floor=0.25)
    with pytest.raises(LeaseError, match="no client 99 is known"):
        adjust(node.path, 99, Share())


def test_a_share_that_the_front_changes_takes_effect_at_once(tmp_path):
    """The ceiling would keep the second lease waiting for most of a minute."""

    def leases(path) -> None:
        client = Client(path, "a", Share(ceiling=0.001))
        for _ in range(2):
            with client.lease(1.0, seconds=0.05, timeout=30):
                time.sleep(0.05)
        client.close()

    async def share() -> None:
        server = Server(tmp_path / "gpu.sock", Device(sms=100, memory=0), limits=Limits(window=0.01))
        server.start()
        try:
            replica = asyncio.create_task(asyncio.to_thread(leases, server.path))
            while not (server.status().members and server.status().usage[0].grants):
                await asyncio.sleep(0)
            while not server.status().members[0].waiting:
                await asyncio.sleep(0)
            server.adjust(1, Share())
            await replica
        finally:
            server.stop()

    asyncio.run(share())


def test_a_holder_that_is_killed_makes_room(node):
    node.arbiter()
    holder, other = holding(node)

    holder.signal(signal.SIGKILL)

    assert other.hear().startswith("granted")
    node.until(lambda status: len(status.members) == 1)


def test_a_child_that_keeps_the_socket_open_does_not_keep_the_lease(node):
    node.arbiter()
    holder, other = holding(node)
    child = int(holder.do("fork").split()[1])

    holder.signal(signal.SIGKILL)

    assert other.hear().startswith("granted")
    os.kill(child, 0)  # it lives


def test_a_process_becomes_the_client_of_another_function_in_one_step(node):
    node.arbiter()
    a, b = node.worker("a", memory=600), node.worker("b", memory=300)
    for worker in (a, b):
        assert worker.do("turn", 1.0, 0.001, 60).startswith("had")

    assert a.do("become", 700) == "became"
    assert a.do("turn", 1.0, 0.001, 60).startswith("had")

    status = node.status()
    assert {one.name: one.share.memory for one in status.members} == {"other": 700, "b": 300}
    assert {one.name: one.grants for one in status.usage} == {"a": 1, "b": 1, "other": 1}
    assert "RefusedError" in a.do("become", 701)
    assert a.do("turn", 1.0, 0.001, 60).startswith("had")
    assert {one.name: one.share.memory for one in node.status().members} == {"other": 700, "b": 300}


def test_a_process_that_finds_no_arbiter_to_become_another_at_stays_what_it_was(node):
    first = node.arbiter()
    a = node.worker("a", memory=600)
    assert a.do("turn", 1.0, 0.001, 60).startswith("had")
    first.signal(signal.SIGKILL)
    first.wait()

    assert a.do("become", 700).startswith("LostError")

    node.arbiter()
    assert a.do("turn", 1.0, 0.001, 60).startswith("had")
    assert {one.name: one.share.memory for one in node.status().members} == {"a": 600}


def test_a_forked_child_is_a_client_of_its_own(node):
    node.arbiter()
    parent = node.worker("a")
    first = parent.do("lease", 0.5, 1, 60).split()
    second = parent.do("fork_and_lease", 0.5).split()

    assert int(second[2]) == int(first[2]) + 1
    assert parent.do("go_on") == "True"


def test_a_holder_that_stands_still_is_ended_and_makes_room(node):
    node.arbiter(grace=0.02, hang=0.2)
    holder, other = node.worker("a"), node.worker("other")
    assert holder.do("lease", 1.0, 0.05, 60).startswith("granted")
    holder.signal(signal.SIGSTOP)

    waits(other)

    assert other.hear().startswith("granted")
    assert holder.wait() == -signal.SIGKILL


def test_a_holder_over_its_time_learns_that_others_wait(node):
    node.arbiter(grace=0.02, hang=1e6)
    holder, other = holding(node)
    while holder.do("go_on") == "True":
        pass

    holder.tell("renew", 60)

    assert other.hear().startswith("granted")
    other.do("release")
    assert holder.hear().startswith("granted")
    assert holder.do("go_on") == "True"


def test_a_holder_that_never_gives_back_is_ended(node):
    node.arbiter(grace=0.02, hang=0.2)
    holder, other = node.worker("a"), node.worker("other")
    assert holder.do("lease", 1.0, 0.05, 60).startswith("granted")

    waits(other)

    assert other.hear().startswith("granted")
    assert holder.wait() == -signal.SIGKILL


def test_a_holder_over_its_time_is_left_alone_while_nobody_waits(node):
    node.arbiter(grace=0.0, hang=0.0)
    holder, quick = node.worker("a"), node.worker("b")
    holder.do("lease", 0.5, 0.001, 60)
    for _ in range(5):
        assert quick.do("lease", 0.5, 0.001, 60).startswith("granted")
        quick.do("release")

    assert holder.do("go_on") == "True"


def test_who_gives_up_waiting_is_in_nobodys_way(node):
    node.arbiter()
    holder, other = holding(node)

    other.signal(signal.SIGINT)

    assert other.hear().startswith("KeyboardInterrupt")
    node.until(lambda status: [member.waiting for member in status.members] == [0, 0])
    holder.do("release")
    assert other.do("lease", 1.0, 0.05, 60).startswith("granted")


def test_leaving_gives_everything_back(node):
    node.arbiter()
    holder, other = holding(node)

    assert holder.do("close") == "closed"

    assert other.hear().startswith("granted")
    assert [member.name for member in node.status().members] == ["other"]


def test_the_memory_of_the_dead_stays_taken_until_the_device_shows_it_free(node):
    node.shows("{}")
    node.arbiter(observed=True)
    holder, other = node.worker("a", memory=900), node.worker("b", memory=900)
    holder.do("lease", 1.0, 0.5, 60)
    node.shows(f'{{"{holder.pid}": 850}}')
    holder.signal(signal.SIGKILL)
    node.until(lambda status: not status.members and status.usage[0].quarantined == 850)

    assert other.do("lease", 1.0, 0.5, 60).endswith(f"a (process {holder.pid}, which is gone) 850 B")
    node.shows("{}")
    node.until(lambda status: status.free_memory == 1000)
    assert other.do("lease", 1.0, 0.5, 60).startswith("granted")


def test_an_arbiter_that_dies_ends_its_leases_and_the_next_one_starts_anew(node):
    first = node.arbiter()
    holder, other = holding(node)
    before = int(node.status().epoch)

    first.signal(signal.SIGKILL)
    first.wait()
    assert holder.do("go_on") == "False"
    node.arbiter()

    _, epoch, lease, _ = other.hear().split()
    assert int(epoch) > before
    assert lease == "1"
    holder.tell("renew", 60)
    other.do("release")
    assert holder.hear().split()[:3] == ["granted", epoch, "2"]


def test_without_an_arbiter_there_is_no_lease(node):
    worker = node.worker("a")

    said = worker.do("lease", 1.0, 0.5, 0.1)

    assert said == f"LostError no arbiter serves at {node.path}: No such file or directory"


def test_a_lease_that_outlives_its_arbiter_ends_in_peace(node):
    arbiter = node.arbiter()
    worker = node.worker("a")
    worker.do("lease", 1.0, 0.5, 60)
    arbiter.signal(signal.SIGKILL)
    arbiter.wait()

    assert worker.do("release") == "released"
    assert worker.do("lease", 1.0, 0.5, 0.1).startswith("LostError no arbiter serves")


def test_a_client_of_another_version_says_so(node):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind(str(node.path))
        sock.listen()
        worker = node.worker("a")
        worker.tell("lease", 1.0, 0.5, 60)
        other, _ = sock.accept()
        with other:
            other.send(b"\x09\x90")

            assert worker.hear() == (
                f"LeaseError what serves at {node.path} is no arbiter for this client: "
                "a lease frame of version 9, this side speaks 1"
            )


def test_an_arbiter_that_stands_still_does_not_hold_up_for_ever(node):
    arbiter = node.arbiter()
    worker = node.worker("a")
    arbiter.signal(signal.SIGSTOP)

    assert worker.do("lease", 1.0, 0.5, 0.2) == f"LeaseError the arbiter at {node.path} does not answer"
    arbiter.signal(signal.SIGCONT)
    assert worker.do("lease", 1.0, 0.5, 60).startswith("granted")
    node.until(lambda status: [member.name for member in status.members] == ["a"])


def test_looking_where_nobody_serves_says_so(node):
    with pytest.raises(LeaseError, match=r"no arbiter answers at .*No such file"):
        look(node.path)


def test_whoever_lives_is_served_whatever_becomes_of_the_others(node):
    rng = random.Random(1)
    node.arbiter(hang=20.0)
    workers = [node.worker("w", weight=1.0 + place, priority=place % 2) for place in range(4)]
    for turn in range(8):
        victim = workers.pop(rng.randrange(len(workers)))
        for worker in (*workers, victim):
            worker.tell("turn", rng.choice([0.3, 0.6, 1.0]), 0.02, 60)
        victim.signal(rng.choice([signal.SIGKILL, signal.SIGSTOP, signal.SIGINT]))

        assert [worker.hear().split()[0] for worker in workers] == ["had"] * len(workers)
        victim.destroy()
        workers.append(node.worker(f"new{turn}"))

    node.until(lambda status: len(status.members) < len(workers) and status.free_sms == 100)
