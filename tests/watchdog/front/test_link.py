import asyncio
import gc
import os
import socket
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain.errors import RegrainError
from regrain.wire import frames
from regrain_watchdog.front import link as links
from regrain_watchdog.front.link import Link

TIMEOUT = 60.0


class Ends:
    """A link, and the peer's bare socket; what the link tells is noted."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.got: list[frames.FromReplica] = []
        self.taken: list[int] = []
        self.reasons: list[str] = []
        self.changed = asyncio.Event()
        self.link: Link[frames.FromReplica] = Link(
            ours, frames.FromReplica, received=self._received, closed=self._closed
        )
        self.link.start()

    def _received(self, frame: frames.FromReplica, descriptors: list[int]) -> None:
        self.got.append(frame)
        if isinstance(frame, frames.LoadFailed) and frame.stage == "unfit":
            raise RegrainError(frame.detail)
        if isinstance(frame, frames.Need) and frame.run < 0:  # takes one
            self.taken.append(descriptors.pop(0))
        self.changed.set()

    def _closed(self, reason: str) -> None:
        self.reasons.append(reason)
        self.changed.set()

    async def until(self, claim: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not claim():
                self.changed.clear()
                await self.changed.wait()

    def end(self) -> None:
        self.link.close()
        self.peer.close()
        for fd in self.taken:
            os.close(fd)


def play(scenario: Callable[[Ends], Awaitable[None]]) -> None:
    async def main() -> None:
        ends = Ends()
        try:
            await scenario(ends)
        finally:
            ends.end()

    asyncio.run(main())


def need(number: int) -> frames.Need:
    return frames.Need(number, 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.lists(st.integers(1, 400), max_size=10))
def test_frames_arrive_whole_and_in_order_wherever_the_stream_is_cut(count, cuts):
    sent = [frames.LoadFailed("stage", "x" * number) for number in range(count)]
    data = b"".join(map(frames.encode, sent))

    async def scenario(ends):
        loop = asyncio.get_running_loop()
        rest = data
        for cut in (*cuts, len(data)):
            await loop.sock_sendall(ends.peer, rest[:cut])
            rest = rest[cut:]
            await asyncio.sleep(0)
        await ends.until(lambda: len(ends.got) == count)
        assert ends.got == sent
        assert ends.reasons == []

    play(scenario)


def test_a_frame_whose_descriptors_cannot_be_copied_leaves_nothing_behind(without_descriptors):
    async def scenario(ends):
        before = len(os.listdir("/proc/self/fd"))
        with without_descriptors(more=1), pytest.raises(OSError, match="Too many open files"):
            ends.link.send(frames.Segment(1, 10, writable=False), [ends.peer.fileno()] * 2)
        assert len(os.listdir("/proc/self/fd")) == before

        ends.link.send(frames.Drop(3))
        await asyncio.sleep(0)

        assert ends.peer.recv(1 << 16) == frames.encode(frames.Drop(3))

    play(scenario)


def test_frames_of_one_turn_leave_in_order_beside_their_descriptors():
    async def scenario(ends):
        ends.link.send(frames.Drop(1))
        ends.link.send(frames.Segment(2, 10, writable=False), [ends.peer.fileno()])
        ends.link.send(frames.Drop(3))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        reader = frames.FrameReader(frames.ToReplica)
        got, descriptors = [], []
        while len(got) < 3:
            chunk, new, _, _ = socket.recv_fds(ends.peer, 1 << 16, 4)
            got += reader.feed(chunk)
            descriptors += new

        assert got == [frames.Drop(1), frames.Segment(2, 10, writable=False), frames.Drop(3)]
        assert len(descriptors) == 1
        os.close(descriptors[0])

    play(scenario)


def test_a_descriptor_waits_for_the_frame_that_takes_it():
    async def scenario(ends):
        with open(os.devnull) as file:
            plain, taking = frames.encode(need(1)), frames.encode(need(-1))
            socket.send_fds(ends.peer, [plain + taking[:3]], [file.fileno()])
            await ends.until(lambda: len(ends.got) == 1)
            assert ends.taken == []
            ends.peer.send(taking[3:])
            await ends.until(lambda: len(ends.got) == 2)

            assert os.path.samestat(os.fstat(ends.taken[0]), os.fstat(file.fileno()))

    play(scenario)


def test_a_peer_that_floods_us_with_descriptors_is_cut_off_and_they_are_closed():
    async def scenario(ends):
        gc.collect()  # what earlier tests left would be closed at any time
        before = len(os.listdir("/proc/self/fd"))
        with open(os.devnull) as file:
            for _ in range(20):
                socket.send_fds(ends.peer, [frames.encode(need(1))], [file.fileno()])
        await ends.until(lambda: bool(ends.reasons))

        assert ends.reasons == ["it sends descriptors that nobody asked for"]
        assert len(os.listdir("/proc/self/fd")) == before - 1  # the link's own

    play(scenario)


def test_what_the_peer_sent_before_it_closed_arrives_first():
    async def scenario(ends):
        ends.peer.send(frames.encode(need(1)))
        ends.peer.close()
        await ends.until(lambda: bool(ends.reasons))

        assert ends.got == [need(1)]
        assert ends.reasons == ["it closed its socket"]

    play(scenario)


def test_draining_takes_what_the_peer_sent_before_it_ended():
    async def scenario(ends):
        ends.peer.send(frames.encode(need(1)))

        ends.link.drain("its process ended")

        assert ends.got == [need(1)]
        assert ends.reasons == ["its process ended"]

    play(scenario)


def test_a_send_to_a_peer_that_has_closed_loses_nothing_of_what_it_sent():
    async def scenario(ends):
        ends.peer.send(frames.encode(need(1)))
        ends.peer.close()
        ends.link.send(frames.Stop())
        ends.link.flush()
        await asyncio.sleep(0)

        assert ends.got == [need(1)]
        assert len(ends.reasons) == 1

    play(scenario)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"\xff" * 64, "version", id="noise"),
        pytest.param(frames.HEADER.pack(frames.MAX_FRAME + 1, frames.VERSION), "frame of", id="too long"),
        pytest.param(frames.HEADER.pack(3, frames.VERSION) + b"\x91\x63", "not a frame", id="unknown tag"),
        pytest.param(frames.encode(frames.Stop()), "not a frame", id="of the other direction"),
    ],
)
def test_bytes_that_are_no_frame_end_the_link_once_with_the_reason(data, reason):
    async def scenario(ends):
        ends.peer.send(data)
        await ends.until(lambda: bool(ends.reasons))
        ends.link.close("again")
        ends.link.send(frames.Stop())

        assert len(ends.reasons) == 1
        assert reason in ends.reasons[0]

    play(scenario)


def test_a_frame_that_cannot_be_taken_ends_the_link_before_the_next_one():
    async def scenario(ends):
        ends.peer.send(
            b"".join(map(frames.encode, (need(1), frames.LoadFailed("unfit", "no value"), need(2))))
        )
        await ends.until(lambda: bool(ends.reasons))

        assert ends.reasons == ["no value"]
        assert ends.got == [need(1), frames.LoadFailed("unfit", "no value")]

    play(scenario)


def test_a_peer_that_reads_nothing_is_given_up_before_much_waits_for_it(monkeypatch):
    monkeypatch.setattr(links, "MAX_QUEUED", 1 << 20)
    frame = frames.Load(("x" * 1000,))

    async def scenario(ends):
        for _ in range(4 << 10):
            ends.link.send(frame)
            await asyncio.sleep(0)
            if ends.reasons:
                break

        assert ends.reasons == ["it does not read"]

    play(scenario)


def test_a_slow_peer_gets_everything_in_order():
    count = 3000
    wanted = [frames.Load((f"{number}" * 100,)) for number in range(count)]

    async def scenario(ends):
        for frame in wanted:
            ends.link.send(frame)
        reader = frames.FrameReader(frames.ToReplica)
        got = []
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(TIMEOUT):
            while len(got) < count:
                got += reader.feed(await loop.sock_recv(ends.peer, 10_000))

        assert got == wanted

    play(scenario)
