from __future__ import annotations

import contextlib
import struct

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regrain.wire.codec import pack, pack_list, unpack
from regrain.wire.frames import Answered, Fault, FrameError, Leaf, Parts, Result, Timing, Value
from regrain_watchdog.front.flight import leaves
from regrain_watchdog.front.remote import wire
from regrain_watchdog.front.segments import Pool

GRAIN = "a | b"


@pytest.fixture
def pool():
    made = Pool(64 << 20)
    yield made
    made.close()


def packed(pool, *values):
    writer = pool.writer()
    parts = pack_list(list(values), writer)
    for extent in writer.extents:
        held = sum(leaf.generation == extent.generation for leaf in leaves(parts.values))
        pool.commit(extent, held)
    return parts


def carried(pool, parts, there):
    """Have another pool have what one pool has."""
    loading = wire.Loading(pool)
    guest = wire.Guest("id", 1.0, 2.0, False, 5, b"\x80", [loading.parts(one) for one in parts])
    frame = loading.sealed(wire.Ask(GRAIN, "a", [guest]))
    ask, tail = wire.opened(frame, wire.Ask)
    landing = wire.Landing(there, tail)
    landed = [landing.parts(one) for one in ask.units[0].values]
    landing.commit()
    return landed, len(frame)


def test_values_arrive_as_they_were_sent(pool):
    values = [np.arange(5000.0).reshape(50, 100).T, b"x" * 3000, "y" * 3000, {"a": [1, None, np.zeros(3)]}]
    there = Pool(64 << 20)

    [landed], _ = carried(pool, [packed(pool, *values)], there)

    got = [unpack(value, there) for value in landed.values]
    np.testing.assert_array_equal(got[0], values[0])
    assert got[0].strides == values[0].strides
    assert got[1:3] == values[1:3]
    np.testing.assert_array_equal(got[3]["a"][2], np.zeros(3))
    there.close()


def test_what_is_sent_twice_travels_once(pool):
    parts = packed(pool, np.zeros(100_000, np.uint8))
    there = Pool(64 << 20)

    landed, nbytes = carried(pool, [parts, parts], there)

    assert nbytes < 150_000
    for one in landed:
        assert unpack(one.values[0], there).shape == (100_000,)
    there.close()


def test_what_has_landed_goes_with_its_last_leaf(pool):
    there = Pool(64 << 20)
    [landed], _ = carried(pool, [packed(pool, np.zeros(5000), np.ones(5000))], there)
    assert there.in_use > 80_000

    for leaf in leaves(landed.values):
        there.release(leaf.generation)

    assert there.in_use == 0
    there.close()


def test_what_is_not_wanted_is_free_at_once(pool):
    landing = wire.Landing(pool, memoryview(b"x" * 5000))
    landing.value(Value(b"", (Leaf("bytes", (10,), (), wire.TAIL, 0, 10, 0),)))

    landing.forget()

    assert pool.in_use == 0


@pytest.mark.parametrize(
    "leaf",
    [
        Leaf("bytes", (10,), (), wire.TAIL, 4995, 10, 0),
        Leaf("bytes", (10,), (), wire.TAIL, -1, 10, 0),
        Leaf("bytes", (10,), (), wire.TAIL, 10, -10, 0),
        Leaf("bytes", (10,), (), 3, 0, 10, 0),
        Leaf("bytes", (10,), (), -1, 0, 10, 0, b"short"),
    ],
)
def test_a_leaf_that_did_not_come_is_refused(pool, leaf):
    landing = wire.Landing(pool, memoryview(b"x" * 5000))

    with pytest.raises(FrameError):
        landing.value(Value(b"", (leaf,)))

    landing.forget()


def test_outcomes_of_every_kind_arrive(pool):
    parts = packed(pool, np.ones(5000))
    loading = wire.Loading(pool)
    told = [
        Result([parts]),
        Answered(418, {"a": "b"}, pack("tea", None)),
        Fault(500, "a", "no such luck", {"retry-after": "3"}),
    ]
    outcomes = [wire.mapped(one, loading.parts, loading.value) for one in told]
    frame = loading.sealed(wire.Told(outcomes, [Timing("a", 0.5, 1, 1)]))

    got, tail = wire.opened(frame, wire.Told)
    landing = wire.Landing(pool, tail)
    result, answered, fault = [landing.outcome(one) for one in got.outcomes]

    assert unpack(result.outputs[0].values[0], pool).sum() == 5000
    assert (answered, fault) == tuple(told[1:])
    assert got.timings == [Timing("a", 0.5, 1, 1)]
    landing.commit()


def test_a_fault_of_a_pod_that_knows_no_headers_has_none():
    head = msgspec.msgpack.encode([[[2, 500, "a", "no luck"]], []])

    told, _ = wire.opened(struct.pack("<I", len(head)) + head, wire.Told)

    assert told.outcomes == [Fault(500, "a", "no luck")]


@given(st.binary(max_size=60))
def test_bytes_that_are_no_frame_are_refused(data):
    with pytest.raises(FrameError):
        wire.opened(data, wire.Ask)


def framed(kind):
    """A frame with a leaf behind its head, and one in it."""
    leaves = (
        Leaf("float64", (2, 3), (), wire.TAIL, 0, 48, 0),
        Leaf("bytes", (4,), (), -1, 0, 4, 0, b"four"),
    )
    parts = Parts([Value(b"\x80", leaves, 1.5)])
    heads = {
        wire.Ask: wire.Ask(GRAIN, "a", [wire.Guest("id", 1.0, 2.0, False, 5, b"\x80", [parts])]),
        wire.Told: wire.Told(
            [Result([parts]), Answered(418, {"a": "b"}, parts.values[0]), Fault(500, "a", "no luck")],
            [Timing("a", 0.5, 1, 1)],
        ),
    }
    return wire.Loading(None).sealed(heads[kind]) + b"x" * 48


@given(st.sampled_from([wire.Ask, wire.Told]), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_frame_that_was_changed_lands_or_is_refused_and_leaves_nothing(pool, kind, data):
    frame = bytearray(framed(kind))
    places = st.tuples(st.integers(0, len(frame) - 1), st.integers(0, 255))
    for place, byte in data.draw(st.lists(places, max_size=4)):
        frame[place] = byte
    del frame[data.draw(st.integers(0, len(frame))) :]

    landing = None
    with contextlib.suppress(FrameError):
        head, tail = wire.opened(bytes(frame), kind)
        landing = wire.Landing(pool, tail)
        for unit in getattr(head, "units", ()):
            for parts in unit.values:
                landing.parts(parts)
        for outcome in getattr(head, "outcomes", ()):
            landing.outcome(outcome)
    if landing is not None:
        landing.forget()
    assert pool.in_use == 0


def test_each_part_of_a_request_counts_for_its_signature():
    def signed(secret="s", method="POST", path="/p", body=b"b", *, version="v", epoch=1):
        return wire.signature(secret, method, path, body, version=version, epoch=epoch)

    others = [
        signed(secret="t"),
        signed(method="GET"),
        signed(path="/q"),
        signed(body=b"c"),
        signed(version="w"),
        signed(epoch=2),
        signed(path="/pv", version=""),
    ]
    assert len({signed(), *others}) == 1 + len(others)


class Long(bytes):
    """Says that it is longer than it is."""

    def __len__(self):
        return 5 << 30


def test_a_frame_of_over_4_gb_is_signed():
    assert wire.signature("s", "POST", "/p", Long(b"x"), version="v", epoch=1)


@given(
    st.lists(st.text(max_size=4), min_size=3, max_size=3),
    st.lists(st.text(max_size=4), min_size=3, max_size=3),
    st.binary(max_size=4),
    st.binary(max_size=4),
)
def test_no_two_requests_have_a_signature_in_common(one, other, body, another):
    def signed(parts, body):
        method, path, version = parts
        return wire.signature("s", method, path, body, version=version, epoch=1)

    assert (signed(one, body) == signed(other, another)) == ((one, body) == (other, another))


@given(st.lists(st.binary(max_size=5), max_size=5))
def test_how_a_body_is_cut_makes_no_difference_to_its_signature(pieces):
    def signed(*body):
        return wire.signature("s", "POST", "/p", *body, version="v", epoch=1)

    assert signed(*pieces) == signed(b"".join(pieces)) == signed(*map(memoryview, pieces))


def test_small_values_are_handed_on_as_they_are(pool):
    parts = Parts([pack(1, None)])
    assert wire.Loading(pool).parts(parts) is parts
