"""How a line comes to speak frames with a pod, and what it makes of what goes wrong there."""

from __future__ import annotations

import asyncio
import socket

import pytest
from blake3 import blake3

from regrain_watchdog.front.remote import switch
from regrain_watchdog.front.remote.channel import Channel
from regrain_watchdog.front.remote.line import PodError, Terms

SECRET = "a secret of the pods"
LIMIT = 1 << 20
TERMS = Terms(secret=SECRET, version="v", epoch=lambda: 3, limit=LIMIT)
PATIENCE = 60.0
FIRST = [b"POST /_/groups/a", b"GET /_/groups"]
"""The first frame, and whether the connection goes on in frames."""
HTTP = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhttp"


def answer(body, status=200, keeps=1):
    return switch.ANSWER.pack(len(body), status, keeps) + body


class Scripted:
    """A pod that answers each frame with the next pieces it was given; None ends the connection.

    switched: what it answers to who asks to go on in frames; None for 101.
    stays: whether it leaves the connection open.
    """

    def __init__(self, *answers, switched=None, stays=False):
        self.answers = list(answers)
        self.stays = stays
        self.switched = switched
        self.heads = []
        self.frames = []

    async def __call__(self, reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.split(b" HTTP", 1)[0])
            named = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
            await reader.readexactly(int(named.get("content-length", "0")))
            if "upgrade" not in named:
                writer.write(HTTP)
                continue
            if self.switched is not None:
                writer.write(self.switched)
                continue
            await self.talk(reader, writer, named[switch.NONCE])
            return

    async def talk(self, reader, writer, asked):
        answered = switch.nonce()
        fields = f"connection: upgrade\r\nupgrade: {switch.PROTOCOL}\r\n{switch.NONCE}: {answered}\r\n\r\n"
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n" + fields.encode())
        key = switch.key(SECRET, "v", asked, answered)
        assert await self.frame(reader, key, 0) == (0, b"")
        number = 0
        while self.answers:
            number += 1
            self.frames.append(await self.frame(reader, key, number))
            for piece in self.answers.pop(0):
                if piece is None:
                    writer.close()
                    return
                writer.write(piece)
                await writer.drain()
        if self.stays:
            await reader.read()
        writer.close()

    @staticmethod
    async def frame(reader, key, expected):
        """The epoch and the bytes of a frame that is proven."""
        mac = await reader.readexactly(switch.MAC)
        head = await reader.readexactly(switch.HEAD.size)
        number, epoch, nbytes = switch.HEAD.unpack(head)
        frame = await reader.readexactly(nbytes)
        assert number == expected
        assert mac == blake3(head + frame, key=key).digest()
        return epoch, frame


async def sent(line, frame, *, twice=False, timeout=PATIENCE):
    """What a line gets for a frame, no connection being about to go on in frames."""
    while line.switching:
        await asyncio.sleep(0)
    told = asyncio.get_running_loop().create_future()

    def heard(outcome):
        told.set_result(bytes(outcome) if isinstance(outcome, memoryview) else outcome)

    line.send("/_/groups/a", [frame], heard, timeout=timeout, twice=twice)
    return await told


@pytest.fixture
def asked(lined):
    """What a line gets for its frames, one after the other, behind a first one that makes its connection."""

    def run(pod, *frames, **how):
        async def one_by_one(line):
            assert await sent(line, b"first") == b"http"
            return [await sent(line, frame, **how) for frame in frames]

        return lined(pod, TERMS, one_by_one)

    return run


def is_error(outcome, **said):
    assert isinstance(outcome, PodError), outcome
    names = ("ran", "gone", "refused", "timed_out")
    return {name for name in names if getattr(outcome, name)} == {name for name in names if said.get(name)}


@pytest.mark.parametrize("nbytes", [0, 1, 1 << 16, (1 << 16) + 1, LIMIT])
def test_frames_and_answers_of_any_length_go_over_one_connection(asked, nbytes):
    body = bytes(nbytes)
    pod = Scripted([answer(body)], [answer(b"two")], [answer(body)])

    assert asked(pod, body, b"short", body) == [body, b"two", body]
    assert pod.heads == FIRST
    assert pod.frames == [(3, body), (3, b"short"), (3, body)]


def test_a_connection_may_be_used_while_its_first_frame_waits_to_be_sent(loop):
    """As it does for the rest of the loop's turn, where that sends nothing at once."""

    async def scenario():
        here, there = socket.socketpair()
        with there:
            transport, _ = await asyncio.get_running_loop().create_unix_connection(
                asyncio.Protocol, sock=here
            )
            transport.write(bytes(1 << 24))  # which nobody takes
            channel = Channel(transport, bytes(switch.MAC))
            waits = transport.get_write_buffer_size() > switch.MAC + switch.HEAD.size
            found = waits, channel.reusable
            channel.close()
        return found

    assert loop.run(scenario()) == (True, True)


@pytest.mark.parametrize(
    "switched",
    [
        HTTP,
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: frames\r\n\r\nand more",
        b"no HTTP at all\r\n\r\n",
    ],
)
def test_a_pod_that_does_not_go_on_in_frames_is_asked_over_http(asked, switched):
    pod = Scripted(switched=switched)

    assert asked(pod, b"one", b"two", b"three") == [b"http"] * 3
    assert pod.heads == [*FIRST, *[b"POST /_/groups/a"] * 3]


def test_one_connection_of_many_is_tried(lined):
    pod = Scripted(switched=HTTP)

    async def at_once(line):
        return await asyncio.gather(*(sent(line, b"one") for _ in range(8)))

    assert lined(pod, TERMS, at_once) == [b"http"] * 8
    assert pod.heads.count(b"GET /_/groups") == 1


def test_one_that_says_nothing_to_it_is_asked_over_http(asked, monkeypatch):
    monkeypatch.setattr("regrain_watchdog.front.remote.line.SWITCH", 0.05)
    pod = Scripted(switched=b"")

    assert asked(pod, b"one", b"two") == [b"http"] * 2


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, {"gone", "refused"}),
        (409, {"gone", "refused"}),
        (404, {"gone"}),
        (503, {"gone"}),
        (400, {"ran"}),
        (413, {"ran"}),
        (500, {"ran"}),
    ],
)
def test_what_an_answer_says_of_what_was_run(asked, status, said):
    (outcome,) = asked(Scripted([answer(b"because", status)]), b"frame")

    assert is_error(outcome, **dict.fromkeys(said, True))
    assert f"{status} because" in str(outcome)


@pytest.mark.parametrize("pieces", [[None], [answer(b"good")[:5], None], [answer(b"good")[:-1], None]])
def test_a_connection_that_dies_in_the_middle_of_a_frame_has_run_it(asked, pieces):
    (outcome,) = asked(Scripted(pieces), b"frame")

    assert is_error(outcome, ran=True, gone=True)


def test_a_kept_connection_that_has_ended_is_made_anew_where_that_may_be(asked):
    assert asked(Scripted([answer(b"good")], [None]), b"one", b"two", twice=True) == [b"good", b"http"]


def test_half_an_answer_of_a_kept_connection_is_not_asked_for_again(asked):
    one, two = asked(Scripted([answer(b"good")], [answer(b"good")[:-1], None]), b"1", b"2", twice=True)

    assert one == b"good"
    assert is_error(two, ran=True, gone=True)


@pytest.mark.parametrize(
    "first", [[answer(b"good", keeps=0)], [answer(b"good") + b"x"], [answer(b"good") + answer(b"more")]]
)
def test_a_connection_that_does_not_stay_is_not_used_again(asked, first):
    pod = Scripted(first, stays=True)
    assert asked(pod, b"one", b"two") == [b"good", b"http"]
    assert pod.heads == [*FIRST, FIRST[0]]


def test_an_answer_that_is_too_large_is_not_received(asked):
    (outcome,) = asked(Scripted([switch.ANSWER.pack(LIMIT + 1, 200, 1)]), b"frame")

    assert is_error(outcome, ran=True)
    assert f"over {LIMIT} bytes" in str(outcome)


def test_a_pod_that_does_not_answer_in_time_is_not_waited_for(asked, with_time):
    def attempt(seconds):
        (outcome,) = asked(Scripted([answer(b"good")[:-1]], [b""]), b"frame", timeout=seconds)

        assert is_error(outcome, ran=True, timed_out=True)

    with_time(attempt, 0.1)
