"""What a kept connection to a pod makes of what comes over it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from regrain_watchdog.front.remote.connection import Connection
from regrain_watchdog.front.remote.line import PodError, Terms
from regrain_watchdog.front.upstream.client import MAX_HEAD

TERMS = Terms(secret="a secret of the pods", version="v", epoch=lambda: 3, limit=1 << 20)
PATIENCE = 60.0
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Scripted:
    """A pod that answers each request with the next pieces it was given; None ends the connection."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.connections = 0

    async def __call__(self, reader, writer):
        self.connections += 1
        while self.answers:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split()[1]))
            for piece in self.answers.pop(0):
                if piece is None:
                    writer.close()
                    return
                writer.write(piece)
                await writer.drain()
        writer.close()


@pytest.fixture
def asked(lined):
    """What a line gets for its frames, one after the other."""

    def run(pod, *frames, twice=False, before_last=lambda _line: None):
        async def one_by_one(line):
            got = []
            for turn, frame in enumerate(frames, 1):
                if turn == len(frames):
                    before_last(line)
                got.append(await line.ask("POST", "/p", frame, timeout=PATIENCE, twice=twice))
            return got

        return lined(pod, TERMS, one_by_one)

    return run


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([OK + b"good"], id="at once"),
        pytest.param([OK[:9], OK[9:], b"go", b"od"], id="in pieces"),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\n\r\n", OK + b"good"], id="a provisional head"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\ngo\r\n", b"2\r\nod\r\n0\r\n\r\n"],
            id="chunks",
        ),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\ngo", b"od", None], id="until it closes"),
        pytest.param(
            [b"HTTP/1.1 103 Early Hints\r\ncontent-length: 9\r\n\r\nHTTP/1.1 200 OK\r\n\r\ngood", None],
            id="a provisional head that tells of a length",
        ),
    ],
)
def test_an_answer_is_whole_however_it_comes(asked, pieces):
    assert asked(Scripted(pieces), b"frame") == [b"good"]


@pytest.mark.parametrize("size", [1, (1 << 16) + 1, 3 << 20])
def test_a_frame_arrives_whole_however_large(asked, size):
    assert asked(Scripted([OK + b"good"]), b"x" * size) == [b"good"]


def test_a_connection_is_kept_for_the_next_request(asked):
    pod = Scripted([OK + b"good"], [OK + b"next"])
    assert asked(pod, b"one", b"two") == [b"good", b"next"]
    assert pod.connections == 1


@pytest.mark.parametrize(
    "more", [pytest.param(OK + b"evil", id="an answer"), pytest.param(OK[:1], id="the first byte of one")]
)
def test_a_connection_on_which_more_came_than_was_asked_for_is_not_kept(asked, more):
    pod = Scripted([OK + b"good" + more], [OK + b"next"])
    assert asked(pod, b"one", b"two") == [b"good", b"next"]
    assert pod.connections == 2


def test_a_connection_whose_request_was_answered_before_all_of_it_was_sent_is_not_kept(asked):
    heads = []

    async def hasty(reader, writer):
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK + b"good")
        await writer.drain()

    assert asked(hasty, b"x" * (64 << 20), b"two") == [b"good"] * 2
    assert len(heads) == 2


def test_what_met_a_kept_connection_that_ended_is_asked_once_more(asked):
    pod = Scripted([OK + b"good"], [None], [OK + b"next"])
    assert asked(pod, b"one", b"two", twice=True) == [b"good", b"next"]
    assert pod.connections == 2


class Ended(Connection):
    """A connection that has ended before anything could be sent."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self._closed = True


@pytest.mark.parametrize(("twice", "kept"), [(True, False), (False, False), (True, True)])
def test_what_has_run_where_a_connection_ended_before_anything_was_sent(asked, twice, kept):
    """Nothing, unless a kept connection had taken the same before."""

    def changed(line):
        line.pool._kind = Ended

    pod = Scripted([OK + b"good"], [None]) if kept else Scripted()
    frames = [b"first", b"second"] if kept else [b"frame"]
    with pytest.raises(PodError) as caught:
        asked(pod, *frames, twice=twice, before_last=changed)
    assert (caught.value.ran, caught.value.gone) == (kept, True)


def test_what_may_not_run_twice_is_not_asked_once_more(asked):
    with pytest.raises(PodError) as caught:
        asked(Scripted([OK + b"good"], [None], [OK + b"next"]), b"one", b"two")
    assert (caught.value.ran, caught.value.gone) == (True, True)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        pytest.param([b"no HTTP at all\r\n\r\n"], "no HTTP", id="no HTTP"),
        pytest.param([OK + b"go", None], "before its answer was complete", id="broken off"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nx: " + b"x" * (1 << 19)],
            "no HTTP|the head of the pod's answer",
            id="endless head",
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n"], "over 1048576 bytes", id="too large"
        ),
    ],
)
def test_what_is_no_answer_is_told(asked, pieces, said):
    with pytest.raises(PodError, match=said) as caught:
        asked(Scripted(pieces, []), b"frame")
    assert caught.value.ran


def test_a_large_body_that_comes_with_the_rest_of_its_head_is_taken(loop):
    async def scenario():
        here, there = socket.socketpair()
        with there:
            _, connection = await asyncio.get_running_loop().create_unix_connection(Connection, sock=here)
            told = []
            connection.ask([b"request"], MAX_HEAD, told.append)
            head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % MAX_HEAD
            for piece in (head[:-2], head[-2:] + b"x" * (MAX_HEAD - 2), b"xx"):
                connection.data_received(piece)
            connection.close()
            return told

    (answer,) = loop.run(scenario())

    assert (answer.status, answer.body) == (200, b"x" * MAX_HEAD)
