"""What the front and the controller's process say to each other: a length, and a message in msgpack."""

from __future__ import annotations

import struct

import msgspec
from msgspec import Struct

from regrain.errors import RegrainError
from regrain.manifest import SLOSpec
from regrain.plan import Plan
from regrain_watchdog.policy.refine import Seen
from regrain_watchdog.policy.resident import Living

HEADER = struct.Struct("<I")
LONGEST = 64 << 20
"""Bytes of a message at most."""


class Device(Struct, frozen=True):
    """A GPU: its type, SMs and bytes of memory; for a slice of one, what part of it that is."""

    name: str
    sms: int
    memory: int
    part: float = 1.0


class Brief(Struct, frozen=True, kw_only=True, tag=True):
    """The front's first message: what the controller is to decide for.

    Attributes:
        manifest: the app as JSON. slo: its objective.
        profile: what its stages cost, as JSON; b"" where nobody measured them.
        devices, cores, memory: of the node, or of all pods together.
        pods: that it consists of, equal ones; 1 for a node. remote: seconds of a hop between them.
        predictor: by name. period: seconds between two wakes.
        log: file of the decision log, or "".
        now: the time on the clock of the reports.
        past: reports to controllers before this one, the oldest first.
    """

    manifest: bytes
    slo: SLOSpec
    profile: bytes
    devices: tuple[Device, ...]
    cores: float
    memory: int
    predictor: str
    period: float
    log: str
    now: float
    past: tuple[Report, ...] = ()
    pods: int = 1
    remote: float = 0.0


class Taken(Struct, frozen=True):
    """What other apps have of a GPU: the part of its SM-seconds that they reserve or use, bytes that they declare."""

    share: float
    memory: int


class Report(Struct, frozen=True, kw_only=True, tag=True):
    """What happened since the report before, and how things stand; see control.observation.Observation.

    Attributes:
        at, size: 8-byte floats. widened: 8-byte integers, three for each.
        taken: of each GPU by other apps.
    """

    now: float
    at: bytes
    size: bytes
    first: int
    widened: bytes
    hits: int
    misses: int
    plan: Plan
    living: tuple[Living, ...]
    is_changing: bool
    is_held: bool
    seen: tuple[Seen, ...] = ()
    taken: tuple[Taken, ...] = ()


class Word(Struct, frozen=True, kw_only=True):
    """The controller's answer to a brief or a report.

    Attributes:
        decision: what it decided as JSON, b"" if it slept on.
        plan: to be put in force; None where the one in force stays. placement: by group, the GPU of each replica.
        pods: by group, how many pods run it; empty on a node.
        predicted: hit rate of the plan that rules from now on; None where nothing is known of it.
        sentence: why. warning: what an operator should know, once.
        end: why there is no controller any more, as its last word; else "".
    """

    decision: bytes = b""
    plan: Plan | None = None
    placement: dict[str, tuple[int, ...]] = {}
    pods: dict[str, int] = {}
    predicted: float | None = None
    sentence: str = ""
    warning: str = ""
    end: str = ""


class Watched(Struct, frozen=True, kw_only=True):
    """What a pod tells whoever adapts the plan of all pods together.

    Attributes:
        report: what happened at its own front and in its own replicas since it was last asked.
        slo: its objective; None where it has none.
        devices, cores, memory: that it has.
    """

    report: Report
    slo: SLOSpec | None
    devices: tuple[Device, ...]
    cores: float
    memory: int


class WordError(RegrainError):
    """Bytes that are no message."""


_encoder = msgspec.msgpack.Encoder()
_reports: msgspec.msgpack.Decoder[Brief | Report] = msgspec.msgpack.Decoder(Brief | Report)
_words = msgspec.msgpack.Decoder(Word)


def encode(message: Brief | Report | Word) -> bytes:
    """Return a message with its length before it."""
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


def decode_word(body: bytes) -> Word:
    """Read what the controller said; WordError if it is nothing of the kind."""
    try:
        return _words.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WordError(str(error)) from error


def decode_report(body: bytes) -> Brief | Report:
    """Read what the front said; WordError if it is nothing of the kind."""
    try:
        return _reports.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WordError(str(error)) from error


class Pieces:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the messages that are complete with this chunk; WordError where one is too long."""
        buffer = self._buffer
        buffer += chunk
        found: list[bytes] = []
        while len(buffer) >= HEADER.size:
            (length,) = HEADER.unpack_from(buffer)
            if length > LONGEST:
                raise WordError(f"a message of {length} bytes; {LONGEST} are allowed")
            end = HEADER.size + length
            if len(buffer) < end:
                break
            found.append(bytes(memoryview(buffer)[HEADER.size : end]))
            del buffer[:end]
        return found
