"""Lease frames come out as they went in; whatever else comes is a PacketError."""

from __future__ import annotations

import contextlib
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain.wire import lease
from regrain.wire.lease import MAX_FRAME, ROOM, VERSION, PacketError, PacketReader, Share, encode

SHARE = Share(weight=2.0, floor=0.25, ceiling=0.5, priority=-1, memory=1 << 34)
ASK = lease.Ask(3, 0.5, 0.02, 1 << 30, 12.5)
HOLD = lease.Hold(client=2, name="a", pid=9, lease=17, sms=66, start=1.0, end=1.5, overuse=0.25)
FROM_CLIENT = [
    lease.Register("ocr/detect", SHARE, 4, 2),
    ASK,
    lease.Renew(4, 17, ASK),
    lease.Release(4, 17),
    lease.Withdraw(3),
    lease.Adjust(2, SHARE),
    lease.Leave(),
    lease.Look(),
    lease.Recall(400),
]
FROM_ARBITER = [
    lease.Registered(2, 4, 132, 2.0),
    lease.Granted(3, 4, 17, 66, 0.02),
    lease.Granted(3, 4, 17, 66, 0.02, (lease.Beside("ocr/detect", 33),)),
    lease.Refused(3, "no"),
    lease.Revoked(4, 17, "over"),
    lease.Adjusted(2),
    lease.Ended("garbage"),
    lease.Status(
        epoch=4,
        sms=132,
        free_sms=66,
        memory=1 << 37,
        free_memory=1 << 36,
        members=(lease.Member(client=2, name="a", pid=9, share=SHARE, sms=66, waiting=1),),
        usage=(lease.Usage(name="a", sm_seconds=1.5, quarantined=3),),
    ),
    lease.History(401, [HOLD], [HOLD]),
]
DIRECTIONS = [
    pytest.param(lease.FromClient, FROM_CLIENT, id="from a client"),
    pytest.param(lease.FromArbiter, FROM_ARBITER, id="from the arbiter"),
]


def body(value: object) -> bytes:
    return bytes((VERSION,)) + msgspec.msgpack.encode(value)


@pytest.mark.parametrize(("kind", "sent"), DIRECTIONS)
def test_every_frame_of_a_direction_comes_out_as_it_went_in(kind, sent):
    reader = PacketReader(kind)

    assert {type(frame) for frame in sent} == set(kind.__args__)
    assert [reader.decode(encode(frame)) for frame in sent] == sent


@given(packet=st.binary(max_size=80), kind=st.sampled_from([lease.FromClient, lease.FromArbiter]))
@settings(max_examples=300)
def test_garbage_gives_a_frame_or_a_packet_error(packet, kind):
    for data in (packet, bytes((VERSION,)) + packet):
        with contextlib.suppress(PacketError):
            PacketReader(kind).decode(data)


@given(place=st.integers(0, 200), byte=st.integers(0, 255), frame=st.sampled_from(FROM_CLIENT))
@settings(max_examples=300)
def test_a_frame_with_one_wrong_byte_gives_a_frame_or_a_packet_error(place, byte, frame):
    data = bytearray(encode(frame))
    data[place % len(data)] = byte

    with contextlib.suppress(PacketError):
        PacketReader(lease.FromClient).decode(bytes(data))


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        pytest.param(b"", "no version", id="nothing"),
        pytest.param(b"\x09" + encode(ASK)[1:], "version 9, this side speaks 1", id="another version"),
        pytest.param(encode(ASK) + b"x" * MAX_FRAME, f"more than {MAX_FRAME} bytes", id="too large"),
        pytest.param(body([99]), "not a lease frame", id="an unknown tag"),
        pytest.param(body(None), "not a lease frame", id="no array"),
        pytest.param(bytes((VERSION,)) + b"\x91" * 5000, "not a lease frame", id="thousands of arrays"),
        pytest.param(encode(lease.Ended("x")), "not a lease frame", id="of the other direction"),
        pytest.param(body([1, "a", [-1.0]]), r"weight of a GPU share must be in .* was -1\.0", id="a share"),
        pytest.param(body([2, 1, "half", 1.0]), "Expected `float`", id="a text for a number"),
    ],
)
def test_what_is_no_frame_is_named(packet, message):
    with pytest.raises(PacketError, match=message):
        PacketReader(lease.FromClient).decode(packet)


def test_a_frame_over_the_limit_is_not_sent():
    with pytest.raises(PacketError, match=f"at most {MAX_FRAME} bytes"):
        encode(lease.Ended("x" * MAX_FRAME))

    assert ROOM > MAX_FRAME


@pytest.mark.parametrize(
    ("share", "message"),
    [
        pytest.param({"weight": 0.0}, r"weight .* \[0\.001, 1000\], was 0", id="weight"),
        pytest.param({"weight": math.inf}, "weight .* was inf", id="endless weight"),
        pytest.param({"weight": math.nan}, "weight .* was nan", id="nan weight"),
        pytest.param({"floor": 1.5}, r"floor .* \[0, 1\], was 1\.5", id="floor"),
        pytest.param({"floor": math.nan}, "floor .* was nan", id="nan floor"),
        pytest.param({"ceiling": 0.0}, r"ceiling .* was 0\.0", id="ceiling"),
        pytest.param({"ceiling": math.nan}, "ceiling .* was nan", id="nan ceiling"),
        pytest.param({"ceiling": 0.2, "floor": 0.3}, r"not below its floor 0\.3, was 0\.2", id="crossed"),
        pytest.param({"memory": -1}, "memory .* 0 bytes or more, was -1", id="memory"),
    ],
)
def test_a_share_refuses_nonsense(share, message):
    with pytest.raises(SpecError, match=message):
        Share(**share)
