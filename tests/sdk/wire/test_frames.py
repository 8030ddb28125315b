"""Frames come out as they went in, however the stream is cut; whatever else comes is a FrameError."""

from __future__ import annotations

import contextlib
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain.graph import Ref
from regrain.plan import Input, Output, Step
from regrain.wire import frames
from regrain.wire.frames import HEADER, MAX_FRAME, VERSION, FrameError, FrameReader
from regrain.wire.lease import Share

LEAF = frames.Leaf("<f4", (2, 3), (4, 8), 5, 64, 24, 9)
VALUE = frames.Value(b"\x01", (LEAF, frames.Leaf("bytes", (2,), (), -1, 0, 2, 0, b"ab")), 1.5)
EXTENT = frames.Extent(1, 64, 4096, 7)
STEP = Step(
    stages=("a", "b"),
    inputs=(Input(Ref("$image")), Input(Ref("a", ("boxes", 0)), each=True)),
    outputs=(Output(Ref("b"), split=True),),
    per_item=True,
)
UNIT = frames.Unit("call", 3, 12.5, b"\x80", [frames.Parts([VALUE, VALUE], split=True)])
OUTCOMES = [
    frames.Result([frames.Parts([VALUE])]),
    frames.Fault(500, "a", "it failed", {"retry-after": "3"}),
    frames.Answered(201, {"X-A": "b"}, VALUE),
]

TO_REPLICA = [
    frames.Segment(1, 1 << 20, True),
    frames.Drop(1),
    frames.Entitle("/run/gpu0.sock", "app/a", "emulated", 0, 0.5, Share(weight=2.0), "v100", "scenario.toml"),
    frames.Load(("a", "b")),
    frames.Unload(("a",)),
    frames.Define(4, STEP),
    frames.Run(5, 4, [UNIT], [EXTENT]),
    frames.Credit(3, 16),
    frames.Grant(5, EXTENT),
    frames.Grant(5, None),
    frames.Stop(),
]
FROM_REPLICA = [
    frames.Loaded(("a",), {"a": 0.5}),
    frames.LoadFailed("a", "no model"),
    frames.Item(3, frames.Value(b"x")),
    frames.Need(5, 1 << 30),
    frames.Done(5, OUTCOMES, [frames.Timing("a", 0.1, 4, 1)]),
]
TO_ZYGOTE = [frames.Fork(1), frames.Stop()]
FROM_ZYGOTE = [
    frames.Hello(b"{}", ""),
    frames.Broken("no app"),
    frames.Forked(1, 99),
    frames.Exited(1, 99, -9),
]
DIRECTIONS = [
    pytest.param(frames.ToReplica, TO_REPLICA, id="to a replica"),
    pytest.param(frames.FromReplica, FROM_REPLICA, id="from a replica"),
    pytest.param(frames.ToZygote, TO_ZYGOTE, id="to a zygote"),
    pytest.param(frames.FromZygote, FROM_ZYGOTE, id="from a zygote"),
]


def read(kind: object, *chunks: bytes) -> list[object]:
    reader: FrameReader[object] = FrameReader(kind)
    return [frame for chunk in chunks for frame in reader.feed(chunk)]


@pytest.mark.parametrize(("kind", "sent"), DIRECTIONS)
def test_every_frame_of_a_direction_comes_out_as_it_went_in(kind: object, sent: list[object]) -> None:
    assert {type(frame) for frame in sent} == set(kind.__args__)

    assert read(kind, b"".join(map(frames.encode, sent))) == sent


@pytest.mark.parametrize(("kind", "sent"), DIRECTIONS)
def test_a_stream_may_be_cut_anywhere(kind: object, sent: list[object]) -> None:
    stream = b"".join(map(frames.encode, sent))

    for cut in range(len(stream) + 1):
        assert read(kind, stream[:cut], stream[cut:]) == sent
    assert read(kind, *[stream[place : place + 1] for place in range(len(stream))]) == sent


@given(cuts=st.lists(st.integers(0, 3000)), kind=st.sampled_from([bytes, bytearray, memoryview]))
def test_any_chunks_of_any_kind_give_the_same_frames(cuts: list[int], kind: type) -> None:
    sent = TO_REPLICA * 3
    stream = b"".join(map(frames.encode, sent))
    places = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]

    chunks = [kind(stream[start:end]) for start, end in pairwise(places)]

    assert read(frames.ToReplica, *chunks) == sent


@given(chunks=st.lists(st.binary(max_size=40), max_size=6))
@settings(max_examples=300)
def test_garbage_gives_frames_or_a_frame_error(chunks: list[bytes]) -> None:
    with contextlib.suppress(FrameError):
        read(frames.ToReplica, *chunks)


@given(body=st.binary(min_size=1, max_size=60), kind=st.sampled_from([frames.ToReplica, frames.FromReplica]))
@settings(max_examples=300)
def test_a_garbled_body_gives_a_frame_or_a_frame_error(body: bytes, kind: object) -> None:
    with contextlib.suppress(FrameError):
        read(kind, HEADER.pack(len(body) + 1, VERSION) + body)


@given(place=st.integers(0, 10_000), byte=st.integers(0, 255), frame=st.sampled_from(TO_REPLICA))
@settings(max_examples=300)
def test_a_frame_with_one_wrong_byte_gives_a_frame_or_a_frame_error(
    place: int, byte: int, frame: object
) -> None:
    data = bytearray(frames.encode(frame))
    data[place % len(data)] = byte

    with contextlib.suppress(FrameError):
        read(frames.ToReplica, bytes(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(
            HEADER.pack(2, VERSION + 1) + b"\x91\x08", f"version {VERSION + 1}", id="another version"
        ),
        pytest.param(HEADER.pack(MAX_FRAME + 1, VERSION), "allowed are 2 to", id="too long"),
        pytest.param(HEADER.pack(2**32 - 1, VERSION), "allowed are 2 to", id="as long as can be"),
        pytest.param(HEADER.pack(0, VERSION), "allowed are 2 to", id="no length"),
        pytest.param(HEADER.pack(1, VERSION), "allowed are 2 to", id="no body"),
        pytest.param(HEADER.pack(3, VERSION) + b"\x91\x63", "not a frame", id="an unknown tag"),
        pytest.param(HEADER.pack(2, VERSION) + b"\xc0", "not a frame", id="no array"),
        pytest.param(HEADER.pack(5001, VERSION) + b"\x91" * 5000, "not a frame", id="thousands of arrays"),
        pytest.param(frames.encode(frames.Need(1, 2)), "not a frame", id="a frame of the other direction"),
    ],
)
def test_what_is_no_frame_is_named(data: bytes, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        read(frames.ToReplica, data)


def test_the_frames_before_a_wrong_one_come_out_first() -> None:
    reader: FrameReader[object] = FrameReader(frames.ToReplica)
    arriving = reader.feed(frames.encode(frames.Drop(1)) + b"garbage")

    assert next(arriving) == frames.Drop(1)
    with pytest.raises(FrameError):
        next(arriving)


def test_a_frame_over_the_limit_is_not_sent() -> None:
    with pytest.raises(FrameError, match=f"at most {MAX_FRAME} bytes"):
        frames.encode(frames.Hello(b"x" * MAX_FRAME, ""))


def test_a_reader_holds_no_more_than_what_has_not_come_out() -> None:
    stream = frames.encode(frames.Hello(b"x" * 60_000, ""))
    reader: FrameReader[object] = FrameReader(frames.FromZygote)

    tracemalloc.start()
    try:
        for _ in range(200):
            assert len(list(reader.feed(stream))) == 1
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < 4 * len(stream)


def test_lengths_that_a_frame_claims_are_not_reserved() -> None:
    claims = [b"\xdd\xff\xff\xff\xff", b"\x92\x06\xdd\xff\xff\xff\xff", b"\x93\x04\x01\xdb\xff\xff\xff\xff"]

    tracemalloc.start()
    try:
        for body in claims:
            with pytest.raises(FrameError):
                read(frames.ToReplica, HEADER.pack(len(body) + 1, VERSION) + body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1 << 20
