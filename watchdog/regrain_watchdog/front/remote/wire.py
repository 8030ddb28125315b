"""What goes between two pods: units of a group there, their outcomes back, and the signature under both.

A frame is 4 bytes (little endian: the length of its head), the head in msgpack, and the bytes of all leaves, each run
once. A leaf in the head says by `offset` where its bytes begin behind the head; where in shared memory it lies is no
business of others. Whoever receives a frame copies those bytes once, into an extent of its own.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
from blake3 import blake3
from msgspec import Struct, structs

from regrain.wire.arrays import NOWHERE
from regrain.wire.frames import Answered, Extent, Fault, FrameError, Leaf, Parts, Result, Timing, Value
from regrain.wire.segments import ALIGNMENT
from regrain_watchdog.front.segments import FRONT, Pool

PREFIX = "/_/groups"
MEDIA_TYPE = "application/vnd.regrain.group"
VERSION, EPOCH, SIGNATURE = "x-regrain-version", "x-regrain-epoch", "x-regrain-signature"
OPENING = "x-regrain-opening"
UNPROVEN = 1 << 16
"""Bytes of a body that are received before a signature tells who sends it; a longer one has its length signed, too."""
PURPOSE = "regrain 2026-11-22 signatures between pods"
"""What the key that is derived from the secret is for (BLAKE3's context string)."""
TAIL = 0
"""`Leaf.segment` of what lies behind the head."""
_LENGTH = struct.Struct("<I")
_SIZE = struct.Struct("<Q")
_encode = msgspec.msgpack.Encoder().encode

Outcome = Result | Fault | Answered
T = TypeVar("T", "Ask", "Told")


class Guest(Struct, frozen=True, array_like=True):
    """A unit: as `frames.Unit`, and how urgent it is.

    left: seconds to its deadline, 0.0 without one. budget: seconds that it had from its arrival to there. firm: whether
    its caller gave it.
    """

    call: str
    left: float
    budget: float
    firm: bool
    priority: int
    headers: bytes
    values: list[Parts]


class Ask(Struct, frozen=True, array_like=True):
    """Run a group of a grain on these units."""

    grain: str
    group: str
    units: list[Guest]


class Told(Struct, frozen=True, array_like=True):
    """One outcome per unit, in order, and what stages did for them."""

    outcomes: list[Outcome]
    timings: list[Timing]


_decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in (Ask, Told)
}


def signature(
    secret: str, method: str, path: str, *body: bytes | memoryview, version: str, epoch: int
) -> str:
    """Return the keyed BLAKE3 of a request; each part says how long it is, so that none runs into the next.

    body: its pieces; how it is cut makes no difference.
    """
    made = _addressed(secret, method, path, version, epoch).copy()
    made.update(_SIZE.pack(sum(map(len, body))))
    for piece in body:
        made.update(piece)
    return made.hexdigest()


def opening(secret: str, method: str, path: str, nbytes: int, *, version: str, epoch: int) -> str:
    """Return what a request shows before its body of so many bytes: their number, signed as `signature` does it.

    It is no signature of any request with a body, since that covers the body too.
    """
    made = _addressed(secret, method, path, version, epoch).copy()
    made.update(_SIZE.pack(nbytes))
    return made.hexdigest()


@functools.lru_cache(maxsize=64)
def _addressed(secret: str, method: str, path: str, version: str, epoch: int) -> blake3:
    """Return the hash of all but a body by a secret of any length; it is to be copied, since many requests begin so."""
    made = blake3(key=blake3(secret.encode(), derive_key_context=PURPOSE).digest())
    for part in (method, path, version, str(epoch)):
        data = part.encode()
        made.update(_SIZE.pack(len(data)) + data)
    return made


class Loading:
    """Turns values of a pool into values of a frame; `pieces` or `sealed` at the end gives the frame."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[tuple[int, int, int, int], int] = {}
        self._views: list[bytes | memoryview] = []
        self._nbytes = 0

    def parts(self, parts: Parts) -> Parts:
        """Return one input or output as it travels."""
        if not any(leaf.segment >= 0 for value in parts.values for leaf in value.leaves):
            return parts
        return Parts([self.value(value) for value in parts.values], parts.split)

    def value(self, value: Value) -> Value:
        """Return a value as it travels."""
        if not any(leaf.segment >= 0 for leaf in value.leaves):
            return value
        return structs.replace(value, leaves=tuple(map(self._leaf, value.leaves)))

    def sealed(self, head: Ask | Told) -> bytes:
        """Return a frame with this head; what it refers to is copied now."""
        return b"".join(self.pieces(head))

    def pieces(self, head: Ask | Told) -> list[bytes | memoryview]:
        """Return a frame with this head; what it refers to is to be held until it has been sent."""
        encoded = _encode(head)
        return [_LENGTH.pack(len(encoded)) + encoded, *self._views]

    def _leaf(self, leaf: Leaf) -> Leaf:
        if leaf.segment < 0:
            return leaf
        key = (leaf.segment, leaf.offset, leaf.nbytes, leaf.generation)
        offset = self._known.get(key)
        if offset is None:
            offset = self._known[key] = self._nbytes
            padding = -leaf.nbytes % ALIGNMENT
            self._views.append(self._pool.view(leaf.segment, leaf.offset, leaf.nbytes))
            if padding:
                self._views.append(bytes(padding))
            self._nbytes += leaf.nbytes + padding
        return structs.replace(leaf, segment=TAIL, offset=offset, generation=0)


def opened(data: bytes | memoryview, kind: type[T]) -> tuple[T, memoryview]:
    """Return a frame's head and what lies behind it; FrameError if it is none."""
    if len(data) < _LENGTH.size:
        raise FrameError(f"a frame of {len(data)} bytes")
    end = _LENGTH.size + int(_LENGTH.unpack_from(data)[0])
    if end > len(data):
        raise FrameError(f"a head of {end} bytes in a frame of {len(data)}")
    view = memoryview(data)
    try:
        return _decoders[kind].decode(view[_LENGTH.size : end]), view[end:]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"not a frame: {error}") from error


class Landing:
    """Puts what came with a frame into a pool.

    RequestError (503) where it has no room.

    Attributes:
        extent: where it is, which is to be committed; None where nothing came.
    """

    def __init__(self, pool: Pool, tail: memoryview) -> None:
        self._pool = pool
        self._nbytes = len(tail)
        self._references = 0
        self.extent: Extent | None = None
        if tail:
            self.extent = extent = pool.grant(FRONT, len(tail))
            pool.mappings.writable_view(extent)[: len(tail)] = tail

    def commit(self) -> None:
        """Have each leaf that landed hold its bytes."""
        if self.extent is not None:
            self._pool.commit(self.extent, self._references)

    def forget(self) -> None:
        """Nothing of it is wanted."""
        self._references = 0
        self.commit()

    def parts(self, parts: Parts) -> Parts:
        """Return one input or output as the pool has it; FrameError if its bytes did not come."""
        return Parts([self.value(value) for value in parts.values], parts.split)

    def value(self, value: Value) -> Value:
        """Return a value as the pool has it; FrameError as `parts`."""
        return structs.replace(value, leaves=tuple(map(self._leaf, value.leaves))) if value.leaves else value

    def outcome(self, outcome: Outcome) -> Outcome:
        """Return an outcome as the pool has it; FrameError as `parts`."""
        return mapped(outcome, self.parts, self.value)

    def _leaf(self, leaf: Leaf) -> Leaf:
        if leaf.segment == NOWHERE:
            if leaf.nbytes != len(leaf.inline):
                raise FrameError(f"a leaf of {leaf.nbytes} bytes came with {len(leaf.inline)}")
            return leaf
        is_inside = 0 <= leaf.offset <= leaf.offset + leaf.nbytes <= self._nbytes
        if leaf.segment != TAIL or self.extent is None or leaf.nbytes < 0 or not is_inside:
            raise FrameError(
                f"bytes {leaf.offset} to {leaf.offset + leaf.nbytes} of {self._nbytes} that came"
            )
        extent = self.extent
        self._references += 1
        return structs.replace(
            leaf, segment=extent.segment, offset=extent.offset + leaf.offset, generation=extent.generation
        )


def mapped(outcome: Outcome, parts: Callable[[Parts], Parts], value: Callable[[Value], Value]) -> Outcome:
    """Return an outcome with its values put elsewhere."""
    match outcome:
        case Result():
            return Result(list(map(parts, outcome.outputs)))
        case Answered():
            return structs.replace(outcome, value=value(outcome.value))
        case Fault():
            return outcome


def taken(parts: Iterable[Parts]) -> list[Value]:
    """Return all values of some inputs or outputs."""
    return [value for one in parts for value in one.values]
