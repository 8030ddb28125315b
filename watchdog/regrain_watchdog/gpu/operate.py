"""Ask an arbiter, from outside, how its device is shared, and change a client's share."""

from __future__ import annotations

import socket
from pathlib import Path

from regrain.wire import lease as wire
from regrain.wire.lease import LeaseError, PacketError, Share

PATIENCE = 5.0
"""Seconds in which an arbiter must have answered."""


def look(path: Path) -> wire.Status:
    """Return who shares the device of the arbiter at `path`, and what each function has had of it.

    Raises:
        LeaseError: no arbiter serves there, or it does not answer.
    """
    answer = _call(path, wire.Look())
    if not isinstance(answer, wire.Status):
        raise LeaseError(f"the arbiter at {path} says {answer}")
    return answer


def recall(path: Path) -> list[wire.Hold]:
    """Return the leases that the arbiter at `path` remembers, and those that run; LeaseError as `look` raises."""
    holds: list[wire.Hold] = []
    after = 0
    while True:
        answer = _call(path, wire.Recall(after))
        if not isinstance(answer, wire.History):
            raise LeaseError(f"the arbiter at {path} says {answer}")
        holds += answer.ended
        if not answer.ended or answer.running:
            return holds + answer.running
        after = answer.next


def adjust(path: Path, client: int, share: Share) -> None:
    """Change a client's share from now on; LeaseError if that is refused, or as `look` raises."""
    answer = _call(path, wire.Adjust(client, share))
    if not isinstance(answer, wire.Adjusted):
        raise LeaseError(answer.reason if isinstance(answer, wire.Refused) else f"{path} says {answer}")


def _call(path: Path, frame: wire.FromClient) -> wire.FromArbiter:
    reader: wire.PacketReader[wire.FromArbiter] = wire.PacketReader(wire.FromArbiter)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(path))
            sock.send(wire.encode(frame))
            return reader.decode(sock.recv(wire.ROOM))
    except OSError as error:
        raise LeaseError(f"no arbiter answers at {path}: {error}") from error
    except PacketError as error:
        raise LeaseError(f"what serves at {path} is no arbiter for this version: {error}") from error
