"""Messages come out of a stream as they went in, however it is cut."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain_watchdog.front.remote.gathering import KEPT, PROMISED, START, Gathering

HEAD = struct.Struct("<I")
NEVER = 2**32 - 1


class Messages(Gathering):
    """Keeps what arrives; a head of NEVER is not wanted."""

    def __init__(self):
        super().__init__(HEAD.size)
        self.got = []
        self.refused = 0

    def begun(self, head):
        (follow,) = HEAD.unpack(head)
        self.refused += follow == NEVER
        return -1 if follow == NEVER else follow

    def arrived(self, message):
        self.got.append(bytes(message[HEAD.size :]))

    def feed(self, data):
        """Take data as a transport gives it: as much at once as there is room for."""
        while data:
            room = self.get_buffer(-1)
            assert len(room)
            size = min(len(room), len(data))
            room[:size] = data[:size]
            self.buffer_updated(size)
            data = data[size:]


def stream(messages):
    return b"".join(HEAD.pack(len(message)) + message for message in messages)


sizes = st.one_of(
    st.integers(0, 64), st.sampled_from([START - 4, START - 3, START, KEPT - 4, KEPT - 3, KEPT, 2 * KEPT + 1])
)


@settings(deadline=None)
@given(st.lists(sizes, max_size=6), st.lists(st.floats(0.0, 1.0), max_size=20), st.randoms())
def test_any_cut_of_a_stream_gives_the_same_messages(lengths, cuts, rng):
    messages = [rng.randbytes(length) for length in lengths]
    data, gathering = stream(messages), Messages()
    places = sorted({0, len(data), *(int(cut * len(data)) for cut in cuts)})

    for start, end in pairwise(places):
        gathering.feed(data[start:end])

    assert gathering.got == messages
    assert not gathering.has_begun


def test_memory_is_had_for_what_comes_and_not_for_what_is_promised():
    message, gathering = bytes(3 * PROMISED), Messages()
    gathering.feed(HEAD.pack(NEVER - 1))
    assert len(gathering.get_buffer(-1)) <= PROMISED

    gathering = Messages()
    gathering.feed(stream([message, b"next"]))
    assert gathering.got == [message, b"next"]


@given(st.lists(st.integers(0, 20), max_size=6))
def test_a_stream_may_come_byte_by_byte(lengths):
    messages = [bytes(range(length)) for length in lengths]
    data, gathering = stream(messages), Messages()

    for at in range(len(data)):
        gathering.feed(data[at : at + 1])

    assert gathering.got == messages


@pytest.mark.parametrize("cut", [1, 3, 5, 5000])
def test_behind_what_is_not_wanted_nothing_is_taken(cut):
    data = stream([b"one"]) + HEAD.pack(NEVER) + stream([b"two"] * 3000)
    gathering = Messages()

    for at in range(0, len(data), cut):
        gathering.feed(data[at : at + cut])

    assert (gathering.got, gathering.refused) == ([b"one"], 1)
    assert not gathering.has_begun


def test_a_part_of_a_message_has_begun():
    gathering = Messages()

    gathering.feed(stream([b"one"])[:-1])

    assert gathering.has_begun
    assert gathering.got == []


def test_a_long_message_keeps_no_memory():
    gathering = Messages()

    gathering.feed(stream([bytes(4 * KEPT), b"short"]))

    assert gathering.got == [bytes(4 * KEPT), b"short"]
    assert len(gathering.get_buffer(-1)) <= KEPT
