"""The frames between the holder of a GPU's weights and the replicas that map them.

One frame is one packet of a SOCK_SEQPACKET socket: a byte of protocol version, then a msgpack array whose first element
is the frame's tag. A Borrow may come with one descriptor, of the file that holds the weights.
"""

from __future__ import annotations

from types import UnionType
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from regrain.errors import RegrainError
from regrain_runtime.gpu.driver import IPC_HANDLE

VERSION = 1
ROOM = 4096
"""Bytes that are read of a packet; no frame comes near it, and what was cut off is none."""
Key = Annotated[str, Meta(min_length=1, max_length=128)]
F = TypeVar("F")


class PacketError(RegrainError):
    """Bytes that are no frame between a holder and a replica."""


class Borrow(Struct, frozen=True, tag=1, array_like=True):
    """Let me map the weights of this key: so many bytes, which those of the file are if one comes along."""

    key: Key
    nbytes: Annotated[int, Meta(gt=0)]


class Return(Struct, frozen=True, tag=2, array_like=True):
    """I have unmapped the weights of this key."""

    key: Key


class Lent(Struct, frozen=True, tag=11, array_like=True):
    """Map this. epoch: of the holder; the memory is there as long as its connection is."""

    key: Key
    nbytes: int
    handle: Annotated[bytes, Meta(min_length=IPC_HANDLE, max_length=IPC_HANDLE)]
    epoch: int


class Wanted(Struct, frozen=True, tag=12, array_like=True):
    """They are not here yet: ask again with the file."""

    key: Key


class Denied(Struct, frozen=True, tag=13, array_like=True):
    """They cannot be had; the reason is for a log."""

    key: Key
    reason: str


FromReplica = Borrow | Return
FromHolder = Lent | Wanted | Denied
_encoder = msgspec.msgpack.Encoder()


def encode(frame: FromReplica | FromHolder) -> bytes:
    """Return a frame as a packet."""
    return bytes((VERSION,)) + _encoder.encode(frame)


def decode(packet: bytes, kind: type[F] | UnionType) -> F:
    """Return the frame in a packet; PacketError if it is none of this protocol and direction."""
    if packet[:1] != bytes((VERSION,)):
        raise PacketError(f"a frame of version {packet[0] if packet else 'none'}, this side speaks {VERSION}")
    try:
        frame: F = msgspec.msgpack.decode(memoryview(packet)[1:], type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PacketError(f"no frame between a holder and a replica: {error}") from error
    return frame
