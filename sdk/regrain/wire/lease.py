"""The frames between the arbiter of a GPU and the processes that share it.

One frame is one packet of a SOCK_SEQPACKET socket, so the kernel keeps frames apart: a byte of protocol version, then a
msgpack array whose first element is the frame's tag. Both ends validate what they read, and a packet of more than
MAX_FRAME bytes is none.

A grant is named by its epoch and its number. Each start of an arbiter has a higher epoch and numbers go up within one,
so the pair orders all grants of a device, and one from before a restart is told from a fresh one.
"""

from __future__ import annotations

from types import UnionType
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from regrain.errors import RegrainError, SpecError

VERSION = 1
MAX_FRAME = 1 << 16
"""Bytes that a packet holds at most; the status of a device with a few hundred clients."""
ROOM = MAX_FRAME + 1
MAX_NAME = 128
LEAST = 1e-3
"""The smallest weight and ceiling."""
F = TypeVar("F")


class PacketError(RegrainError):
    """Bytes that are no lease frame."""


class LeaseError(RegrainError):
    """A share or lease that is refused; the message says why, and who holds what is missing."""


class Share(Struct, frozen=True, kw_only=True, array_like=True):
    """What a client is entitled to.

    weight: its part of the SM-seconds among those that wait, beside the weights of the others.
    floor: fraction of the device's SM-seconds that it gets for sure while it asks for them.
    ceiling: fraction that it never exceeds, changeable at run time.
    priority: smaller goes first; those behind still get a lease each `Limits.patience`.
    memory: bytes of device memory that it declares to hold at most.
    """

    weight: float = 1.0
    floor: float = 0.0
    ceiling: float = 1.0
    priority: int = 0
    memory: int = 0

    def __post_init__(self) -> None:
        """Refuse nonsense."""
        if not LEAST <= self.weight <= 1 / LEAST:
            raise SpecError(
                f"the weight of a GPU share must be in [{LEAST}, {1 / LEAST:g}], was {self.weight}"
            )
        if not 0 <= self.floor <= 1:
            raise SpecError(f"the floor of a GPU share must be in [0, 1], was {self.floor}")
        if not max(self.floor, LEAST) <= self.ceiling <= 1:
            raise SpecError(
                f"the ceiling of a GPU share must be in [{LEAST}, 1] and not below its floor {self.floor}, "
                f"was {self.ceiling}"
            )
        if self.memory < 0:
            raise SpecError(f"the memory of a GPU share must be 0 bytes or more, was {self.memory}")


# client -> arbiter -----------------------------------------------------------------------------------------


class Register(Struct, frozen=True, tag=1, array_like=True):
    """Be known as a client of the function `name`.

    epoch, resumes: the client that this process was before it lost its connection, whose leases it has given up; 0 for
    none.
    """

    name: str
    share: Share
    epoch: int = 0
    resumes: int = 0


class Ask(Struct, frozen=True, tag=2, array_like=True):
    """Ask for a lease.

    number: the client's own, to tell answers apart. share: fraction of the device's SMs, rounded down to whole ones.
    seconds: how long it is going to be held. memory: bytes in use meanwhile, at most what was declared.
    deadline: CLOCK_MONOTONIC seconds by which it is needed, 0 for none.
    """

    number: int
    share: float
    seconds: float
    memory: int = 0
    deadline: float = 0.0


class Renew(Struct, frozen=True, tag=3, array_like=True):
    """Give a lease back and ask again, as one: who does it in two steps is not in line when the first is decided."""

    epoch: int
    lease: int
    ask: Ask


class Release(Struct, frozen=True, tag=4, array_like=True):
    """Give a lease back; what it was for has ended on the device."""

    epoch: int
    lease: int


class Withdraw(Struct, frozen=True, tag=5, array_like=True):
    """Want the lease no more that was asked for under this number; Refused says that it was in time."""

    number: int


class Adjust(Struct, frozen=True, tag=6, array_like=True):
    """Change the share of a client while it runs (0: one's own)."""

    client: int
    share: Share


class Leave(Struct, frozen=True, tag=7, array_like=True):
    """Hold and want nothing any more."""


class Look(Struct, frozen=True, tag=8, array_like=True):
    """Ask for the Status."""


class Recall(Struct, frozen=True, tag=9, array_like=True):
    """Ask for the leases that have ended, from the one numbered `after` in the order of their ends."""

    after: int


# arbiter -> client -----------------------------------------------------------------------------------------


class Registered(Struct, frozen=True, tag=20, array_like=True):
    """The client is known: its number, the arbiter's epoch, the device's SMs, and for how long a lease is at most."""

    client: int
    epoch: int
    sms: int
    longest: float


class Beside(Struct, frozen=True, array_like=True):
    """A lease of so many SMs that a function holds at the same time."""

    name: str
    sms: int


class Granted(Struct, frozen=True, tag=21, array_like=True):
    """A lease of `sms` SMs for `seconds`, the answer to the ask of this number; and what was held beside it then."""

    number: int
    epoch: int
    lease: int
    sms: int
    seconds: float
    beside: tuple[Beside, ...] = ()


class Refused(Struct, frozen=True, tag=22, array_like=True):
    """No: `number` is that of the ask, or 0 for what else was wanted. `reason` names who holds what is missing."""

    number: int
    reason: str


class Revoked(Struct, frozen=True, tag=23, array_like=True):
    """A lease is overdue and others wait: finish the kernel and give it back."""

    epoch: int
    lease: int
    reason: str


class Adjusted(Struct, frozen=True, tag=24, array_like=True):
    """The share of a client is changed."""

    client: int


class Ended(Struct, frozen=True, tag=25, array_like=True):
    """The connection ends, for this reason."""

    reason: str


class Usage(Struct, frozen=True, array_like=True, kw_only=True):
    """What a function has had of the device since the arbiter started, with what runs and waits now.

    Of functions without clients only the latest are remembered.

    sm_seconds: SMs x seconds of lease. reserved_sm_seconds: its floors x SMs x seconds, used or not.
    lease_wait: seconds that its asks have waited. overuse: seconds that leases were held longer than granted.
    declared, seen, quarantined: bytes by its word, by observation, and of processes of its that are gone.
    held: bytes that count: of each process the more of what it declared and has in quarantine, and what was seen.
    """

    name: str
    sm_seconds: float = 0.0
    reserved_sm_seconds: float = 0.0
    grants: int = 0
    lease_wait: float = 0.0
    overuse: float = 0.0
    declared: int = 0
    seen: int = 0
    quarantined: int = 0
    held: int = 0


class Member(Struct, frozen=True, array_like=True, kw_only=True):
    """A client: the function and process it belongs to, what it is entitled to, the SMs it holds, the asks it has."""

    client: int
    name: str
    pid: int
    share: Share
    sms: int
    waiting: int


class Status(Struct, frozen=True, tag=26, array_like=True, kw_only=True):
    """The device, who shares it and what each function has had of it; memory in bytes.

    unclaimed: what its holder of weights has beyond what clients declare; counted as held, and theirs to declare.
    """

    epoch: int
    sms: int
    free_sms: int
    memory: int
    free_memory: int
    members: tuple[Member, ...]
    usage: tuple[Usage, ...]
    unclaimed: int = 0


class Hold(Struct, frozen=True, array_like=True, kw_only=True):
    """A lease that has ended, or runs until `end` at least: who had how many SMs when. CLOCK_MONOTONIC seconds."""

    client: int
    name: str
    pid: int
    lease: int
    sms: int
    start: float
    end: float
    overuse: float


class History(Struct, frozen=True, tag=27, array_like=True):
    """Some of the leases that have ended, what to ask after for more, and, if there are none, those that run."""

    next: int
    ended: list[Hold]
    running: list[Hold]


FromClient = Register | Ask | Renew | Release | Withdraw | Adjust | Leave | Look | Recall
FromArbiter = Registered | Granted | Refused | Revoked | Adjusted | Ended | Status | History
Frame = FromClient | FromArbiter

_encoder = msgspec.msgpack.Encoder()


def encode(frame: Frame) -> bytes:
    """Return a frame as a packet; PacketError if it is over MAX_FRAME."""
    packet = bytes((VERSION,)) + _encoder.encode(frame)
    if len(packet) > MAX_FRAME:
        raise PacketError(f"a lease frame holds at most {MAX_FRAME} bytes, this one has {len(packet)}")
    return packet


class PacketReader(Generic[F]):
    """Decodes the frames of one direction. Read packets with room for ROOM bytes, so that one too large shows."""

    def __init__(self, kind: type[F] | UnionType) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)

    def decode(self, packet: bytes) -> F:
        """Return the frame in a packet; PacketError if it is none of this protocol and direction."""
        if packet[:1] != bytes((VERSION,)):
            found = f"version {packet[0]}" if packet else "no version"
            raise PacketError(f"a lease frame of {found}, this side speaks {VERSION}")
        if len(packet) > MAX_FRAME:
            raise PacketError(f"a lease frame of more than {MAX_FRAME} bytes")
        try:
            frame: F = self._decoder.decode(memoryview(packet)[1:])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise PacketError(f"not a lease frame: {error}") from error
        return frame
