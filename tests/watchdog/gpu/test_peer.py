"""Connections to an arbiter: what comes over them, and what is left of them."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
from pathlib import Path

import pytest

from regrain.wire import lease as wire
from regrain.wire.lease import PacketReader, Share

pytestmark = pytest.mark.process


def connect(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(60)
    sock.connect(str(path))
    return sock


def last_word(sock: socket.socket) -> str:
    """The reason an arbiter gives before it ends a connection."""
    frame = PacketReader(wire.FromArbiter).decode(sock.recv(wire.ROOM))
    assert isinstance(frame, wire.Ended)
    assert sock.recv(wire.ROOM) == b""
    return frame.reason


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(b"\x01garbage", "not a lease frame: ", id="garbage"),
        pytest.param(b"GET / HTTP/1.1", "version 71, this side speaks 1", id="another protocol"),
        pytest.param(
            b"\x02" + wire.encode(wire.Look())[1:], "version 2, this side speaks 1", id="another version"
        ),
        pytest.param(b"\x01" * (wire.MAX_FRAME + 1), "more than 65536 bytes", id="too large"),
        pytest.param(wire.encode(wire.Ended("no")), "not a lease frame: ", id="an arbiter's frame"),
    ],
)
def test_a_client_that_speaks_something_else_is_told_and_ended_alone(node, packet, reason):
    node.arbiter()
    worker = node.worker("a")
    worker.do("lease", 1.0, 0.5, 60)

    with connect(node.path) as sock:
        sock.send(packet)
        assert reason in last_word(sock)

    assert worker.do("go_on") == "True"
    assert worker.do("renew", 60).startswith("granted")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        pytest.param(wire.Ask(5, 0.5, 1.0), "no client 0 is known here: register first", id="ask"),
        pytest.param(wire.Renew(1, 1, wire.Ask(5, 0.5, 1.0)), "no client 0 is known", id="renew"),
        pytest.param(wire.Release(1, 1), "no client 0", id="release"),
        pytest.param(wire.Withdraw(1), "no client 0", id="withdraw"),
        pytest.param(wire.Adjust(0, Share()), "no client 0", id="adjust"),
        pytest.param(wire.Leave(), "no client 0", id="leave"),
        pytest.param(wire.Register("", Share()), "1 to 128 characters", id="no name"),
    ],
)
def test_frames_out_of_turn_are_refused(node, frame, reason):
    node.arbiter()
    with connect(node.path) as sock:
        sock.send(wire.encode(frame))

        answer = PacketReader(wire.FromArbiter).decode(sock.recv(wire.ROOM))

    assert isinstance(answer, wire.Refused)
    assert reason in answer.reason


@pytest.mark.parametrize("seed", range(3))
def test_frames_of_any_kind_in_any_order_harm_nobody_else(node, seed):
    arbiter = node.arbiter(hang=1e6)
    noise = node.noise(seed)
    while not any(usage.name == "noise" and usage.grants for usage in node.status().usage):
        noise.signal(signal.SIGKILL)  # on a starved machine it gave up each time before it was heard
        noise = node.noise(seed)
    noise.signal(signal.SIGKILL)
    status = node.until(lambda status: not status.members)

    assert (status.free_sms, status.free_memory) == (100, 1000)
    assert node.worker("a", floor=1.0, memory=1000).do("lease", 1.0, 0.5, 60).startswith("granted")
    assert "Traceback" not in arbiter.end()


def test_a_connection_is_one_client(node):
    node.arbiter()
    reader = PacketReader(wire.FromArbiter)
    with connect(node.path) as sock:
        for _ in range(2):
            sock.send(wire.encode(wire.Register("a", Share())))

        assert isinstance(reader.decode(sock.recv(wire.ROOM)), wire.Registered)
        assert reader.decode(sock.recv(wire.ROOM)) == wire.Refused(0, "this connection is client 1 already")


def test_a_lease_that_its_client_never_read_of_is_had_by_others(node):
    """It asks, and closes its connection before the answer; its process lives."""
    node.arbiter(grace=0.0, hang=1e6)
    worker = node.worker("a")
    for turn in range(20):
        with connect(node.path) as sock:
            sock.send(wire.encode(wire.Register("careless", Share())))
            sock.recv(wire.ROOM)
            sock.send(wire.encode(wire.Ask(1, 1.0, 0.01, 0, 1e9)))
            if turn % 2:
                sock.send(wire.encode(wire.Withdraw(1)))
                PacketReader(wire.FromArbiter).decode(sock.recv(wire.ROOM))
            sock.send(wire.encode(wire.Leave()))
        assert worker.do("lease", 1.0, 0.01, 60).startswith("granted")
        worker.do("release")


def test_what_a_client_says_last_counts_though_it_did_not_read_all(node):
    """The kernel reports such an end as a reset, before what was sent."""
    node.arbiter(hang=1e6)
    with connect(node.path) as sock:
        sock.send(wire.encode(wire.Register("careless", Share())))
        sock.recv(wire.ROOM)
        sock.send(wire.encode(wire.Ask(1, 1.0, 0.01)))
        node.until(lambda status: not status.free_sms)
        sock.send(wire.encode(wire.Leave()))

    node.until(lambda status: status.free_sms == 100)


def test_a_client_that_does_not_read_is_ended_alone(node):
    node.arbiter()
    worker = node.worker("a")
    with connect(node.path) as sock, contextlib.suppress(ConnectionError):
        while True:
            sock.send(wire.encode(wire.Look()))

    assert worker.do("lease", 1.0, 0.5, 60).startswith("granted")


def test_nothing_is_left_of_clients_that_come_and_die(node):
    arbiter = node.arbiter()
    node.status()
    descriptors = Path(f"/proc/{arbiter.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for turn in range(6):
        worker = node.worker(f"w{turn}", memory=900, floor=0.9)
        assert worker.do("lease", 1.0, 0.5, 60).startswith("granted")
        if turn % 2:
            worker.signal(signal.SIGKILL)
            worker.wait()
        else:
            worker.end()
        for _ in range(5):
            connect(node.path).close()

    status = node.until(lambda status: not status.members)
    assert (status.free_sms, status.free_memory) == (100, 1000)
    while len(list(descriptors.iterdir())) > before:
        node.status()


def test_an_arbiter_without_descriptors_serves_on_and_takes_more_once_it_can(node):
    arbiter = node.arbiter()
    worker = node.worker("a")
    worker.do("lease", 0.5, 0.5, 60)
    in_use = len(list(Path(f"/proc/{arbiter.pid}/fd").iterdir()))
    resource.prlimit(arbiter.pid, resource.RLIMIT_NOFILE, (in_use + 1, in_use + 64))

    with connect(node.path) as first, connect(node.path):
        assert "cannot be watched: Too many open files" in last_word(first)
        assert worker.do("renew", 60).startswith("granted")
        resource.prlimit(arbiter.pid, resource.RLIMIT_NOFILE, (in_use, in_use + 64))
        with connect(node.path):
            assert worker.do("renew", 60).startswith("granted")
    resource.prlimit(arbiter.pid, resource.RLIMIT_NOFILE, (in_use + 32, in_use + 64))

    assert node.status().free_sms == 50
