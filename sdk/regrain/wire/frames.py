"""The frames between the front, the zygotes and the replicas.

A frame is 4 bytes of length (little endian, of what follows), one byte of protocol version, and a msgpack
array whose first element is the frame's tag. Both ends validate what they read; a frame of another shape is
a FrameError, never an exception of another kind. Segments travel as file descriptors beside their frame.
"""

from __future__ import annotations

import socket
import struct
from array import array
from collections.abc import Iterator
from types import UnionType
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from regrain.errors import RegrainError
from regrain.plan import Step
from regrain.wire.lease import Share

VERSION = 1
HEADER = struct.Struct("<IB")
F = TypeVar("F")
MAX_FRAME = 64 << 20
"""Bytes that a frame holds at most: what a peer can make us hold. Large values travel in segments."""


class FrameError(RegrainError):
    """Bytes that are no frame of this protocol."""


class Leaf(Struct, frozen=True, array_like=True):
    """A run of bytes that belongs to a value: in a segment, or (`segment` -1) in `inline`.

    dtype: "bytes", "str", "torch.<name>" or an array's (regrain.wire.dtypes).
    shape in items, strides in bytes (empty: C order).
    generation: the extent that holds it; never used twice, so a stale leaf is told from a fresh one.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    segment: int
    offset: int
    nbytes: int
    generation: int
    inline: bytes = b""


class Value(Struct, frozen=True, array_like=True):
    """A value: its skeleton (msgpack, regrain.wire.skeleton), which names `leaves` in order.

    `size` is its measure for the consumer.
    """

    skeleton: bytes
    leaves: tuple[Leaf, ...] = ()
    size: float = 0.0


class Parts(Struct, frozen=True, array_like=True):
    """One value, or (`split`) a list whose items are values of their own."""

    values: list[Value]
    split: bool = False


class Extent(Struct, frozen=True, array_like=True):
    """A writable run of a segment, granted to one dispatch."""

    segment: int
    offset: int
    nbytes: int
    generation: int


class Unit(Struct, frozen=True, array_like=True):
    """A request's (or item's) part of a dispatch.

    call: call id. slot: its byte on the cancel board. deadline: CLOCK_MONOTONIC seconds, 0 for none.
    headers: msgpack map of the request's headers. values: one per Step.inputs.
    """

    call: str
    slot: int
    deadline: float
    headers: bytes
    values: list[Parts]


# front -> replica ------------------------------------------------------------------------------------------


class Segment(Struct, frozen=True, tag=1, array_like=True):
    """Map this segment (its descriptor comes with the frame); `writable` for one's own."""

    id: int
    nbytes: int
    writable: bool


class Drop(Struct, frozen=True, tag=2, array_like=True):
    """Unmap a segment."""

    id: int


class Load(Struct, frozen=True, tag=3, array_like=True):
    """Load these stages into the resident set."""

    stages: tuple[str, ...]


class Unload(Struct, frozen=True, tag=4, array_like=True):
    """Drop these stages from the resident set."""

    stages: tuple[str, ...]


class Define(Struct, frozen=True, tag=5, array_like=True):
    """Remember a step under a number."""

    id: int
    step: Step


class Run(Struct, frozen=True, tag=6, array_like=True):
    """Run a step on these units and write what they give into the extents."""

    id: int
    step: int
    units: list[Unit]
    extents: list[Extent]


class Entitle(Struct, frozen=True, tag=10, array_like=True):
    """Run stages that need a GPU under leases from here on.

    path: the socket of the device's arbiter. name: the function, for its books. backend: how a lease is carried out.
    device: the number of the GPU. card: its type, where it is emulated; uuid: by which the driver knows a real one.
    fraction: of its SMs, that each lease asks for. fractions: likewise, for stages that ask for another.
    share: what the replica is entitled to.
    scenario: the file that says what stages stand for on an emulated GPU, or "".
    """

    path: str
    name: str
    backend: str
    device: int
    fraction: float
    share: Share
    card: str = ""
    scenario: str = ""
    uuid: str = ""
    fractions: dict[str, float] = {}


class Grant(Struct, frozen=True, tag=7, array_like=True):
    """The answer to Need; no extent means refused."""

    run: int
    extent: Extent | None


class Credit(Struct, frozen=True, tag=9, array_like=True):
    """So many more items may be sent of a run that streams; 0: nobody takes any."""

    run: int
    items: int


class Stop(Struct, frozen=True, tag=8, array_like=True):
    """Finish what was read and exit 0."""


# replica -> front ------------------------------------------------------------------------------------------


class Loaded(Struct, frozen=True, tag=20, array_like=True):
    """The resident set as it is now, and the seconds that each newly loaded stage took.

    memory: bytes that the replica holds for itself. freed: bytes that dropping stages gave back just now.
    """

    stages: tuple[str, ...]
    seconds: dict[str, float]
    memory: int = 0
    freed: int = 0


class LoadFailed(Struct, frozen=True, tag=21, array_like=True):
    """A stage could not be loaded; `detail` is one line."""

    stage: str
    detail: str


class Need(Struct, frozen=True, tag=22, array_like=True):
    """The run's extents are full: `nbytes` more are needed for the next value."""

    run: int
    nbytes: int


class Result(Struct, frozen=True, tag=1, array_like=True):
    """What a unit gave: one Parts per Step.outputs."""

    outputs: list[Parts]


class Fault(Struct, frozen=True, tag=2, array_like=True):
    """A unit that failed: HTTP status, stage and one sentence; headers that go to the caller, names in lower case."""

    status: int
    stage: str
    detail: str
    headers: dict[str, str] = {}


class Answered(Struct, frozen=True, tag=3, array_like=True):
    """A unit whose stage ended the request by regrain.answer()."""

    status: int
    headers: dict[str, str]
    value: Value


class Timing(Struct, frozen=True, array_like=True):
    """What a stage did in a run: `seconds` of service for `count` inputs in `calls` calls.

    leased: seconds that it waited for leases of its GPU, which are no service.
    """

    stage: str
    seconds: float
    count: int
    calls: int
    leased: float = 0.0


class Done(Struct, frozen=True, tag=23, array_like=True):
    """A run is over: one outcome per unit, in order."""

    run: int
    outcomes: list[Result | Fault | Answered]
    timings: list[Timing]


class Item(Struct, frozen=True, tag=24, array_like=True):
    """The next item of a run that streams, all of it inline; the run ends with Done."""

    run: int
    value: Value


# front <-> zygote ------------------------------------------------------------------------------------------


class Hello(Struct, frozen=True, tag=40, array_like=True):
    """The zygote has imported the module. `unforkable` says why replicas must start afresh, or is ""."""

    manifest: bytes
    unforkable: str


class Broken(Struct, frozen=True, tag=41, array_like=True):
    """The module could not be imported or is no app; one line."""

    detail: str


class Fork(Struct, frozen=True, tag=42, array_like=True):
    """Fork a replica whose leash, socket and boards come with the frame."""

    id: int


class Forked(Struct, frozen=True, tag=43, array_like=True):
    """A replica lives; its pidfd comes with the frame."""

    id: int
    pid: int


class Exited(Struct, frozen=True, tag=44, array_like=True):
    """A replica was reaped; `status` is its exit code, or minus the signal that ended it."""

    id: int
    pid: int
    status: int


ToReplica = Segment | Drop | Entitle | Load | Unload | Define | Run | Grant | Credit | Stop
FromReplica = Loaded | LoadFailed | Need | Item | Done
ToZygote = Fork | Stop
FromZygote = Hello | Broken | Forked | Exited
Frame = ToReplica | FromReplica | ToZygote | FromZygote

DESCRIPTOR = array("i")
"""How descriptors lie in a socket's ancillary data."""


def descriptors(ancillary: list[tuple[int, int, bytes]]) -> Iterator[int]:
    """Yield the descriptors that came with a read (SCM_RIGHTS)."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            yield from array(DESCRIPTOR.typecode, data[: len(data) - len(data) % DESCRIPTOR.itemsize])


_encoder = msgspec.msgpack.Encoder()


def encode(frame: Frame) -> bytes:
    """Return a frame as bytes; FrameError if it is over MAX_FRAME."""
    body = _encoder.encode(frame)
    if len(body) >= MAX_FRAME:
        raise FrameError(f"a frame holds at most {MAX_FRAME} bytes, this one has {len(body)}")
    return HEADER.pack(len(body) + 1, VERSION) + body


class FrameReader(Generic[F]):
    """Cuts a byte stream into frames of one direction.

    Usage: `for frame in reader.feed(chunk): ...`. Frames that arrived whole are decoded; the rest waits.
    """

    def __init__(self, kind: type[F] | UnionType) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._buffer = bytearray()

    def feed(self, chunk: bytes | bytearray | memoryview) -> Iterator[F]:
        """Yield the frames that are complete with this chunk; FrameError on what is none."""
        buffer = self._buffer
        waits = bool(buffer)
        if waits:
            buffer += chunk
        data = buffer if waits else chunk
        start = 0
        try:
            while len(data) - start >= HEADER.size:
                length, version = HEADER.unpack_from(data, start)
                if version != VERSION:
                    raise FrameError(f"frame version {version}, this side speaks {VERSION}")
                if not 1 < length <= MAX_FRAME:
                    raise FrameError(f"frame of {length} bytes, allowed are 2 to {MAX_FRAME}")
                end = start + 4 + length
                if len(data) < end:
                    break
                body = data[start + HEADER.size : end]
                start = end
                yield self._decode(body)
        finally:
            if waits:
                del buffer[:start]
            else:
                buffer += chunk[start:]

    def _decode(self, body: bytes | bytearray | memoryview) -> F:
        try:
            frame: F = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FrameError(f"not a frame: {error}") from error
        return frame
