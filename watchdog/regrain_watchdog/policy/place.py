"""On which GPU a replica goes: its share lies on one device, with memory and floor that nobody else has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from regrain.plan import GpuShare

EXACT = 1e-9
"""What sums of floors may be off by in floating point."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a device has left: bytes of memory, and the part of its SM-seconds that no floor reserves.

    given: fractions of its SMs that leases ask for, summed up; above 1 they wait for each other.
    part: of a GPU that the device is, where it is a slice of one; leases of more do not fit.
    """

    memory: int
    floor: float = 1.0
    part: float = 1.0
    given: float = 0.0

    def fits(self, share: GpuShare) -> bool:
        """Whether a share can go here."""
        return (
            share.memory <= self.memory
            and share.floor <= self.floor + EXACT
            and share.fraction <= self.part + EXACT
        )

    def less(self, share: GpuShare) -> Room:
        """Return what is left beside a share."""
        return replace(
            self,
            memory=self.memory - share.memory,
            floor=self.floor - share.floor,
            given=self.given + share.fraction,
        )


def choose(rooms: Sequence[Room], share: GpuShare) -> int | None:
    """Return the device for one more share: of those where it fits, the one with the most SM-seconds free.

    Then the smallest slice, then the one of which least was given, then the one with the most memory, so that load
    spreads; None where it fits nowhere.
    """
    able = [place for place, room in enumerate(rooms) if room.fits(share)]
    return max(
        able,
        key=lambda place: (
            rooms[place].floor,
            -rooms[place].part,
            -rooms[place].given,
            rooms[place].memory,
            -place,
        ),
        default=None,
    )


def place(rooms: Sequence[Room], shares: Sequence[GpuShare]) -> list[int] | None:
    """Return a device for each share; None where they do not fit together.

    First-fit, the largest first: by memory or floor, whichever is more of a device; if that fails, by either alone. It
    may miss a packing that exists (0.7 % of random ones on one to four devices); a share is never put where it does not
    fit.
    """
    if sum(share.floor for share in shares) > sum(room.floor for room in rooms) + len(shares) * EXACT:
        return None
    most = max((room.memory for room in rooms), default=0) or 1
    parts = [(share.memory / most, share.floor) for share in shares]
    for sizes in (
        [(max(both), min(both)) for both in parts],
        parts,
        [(floor, held) for held, floor in parts],
    ):
        order = sorted(range(len(shares)), key=sizes.__getitem__, reverse=True)
        found = _first_fit(rooms, shares, order)
        if found is not None:
            return found
    return None


def _first_fit(rooms: Sequence[Room], shares: Sequence[GpuShare], order: Sequence[int]) -> list[int] | None:
    left, found = list(rooms), [0] * len(shares)
    for one in order:
        at = next((place for place, room in enumerate(left) if room.fits(shares[one])), None)
        if at is None:
            return None
        left[at] = left[at].less(shares[one])
        found[one] = at
    return found


def spreads(rooms: Sequence[Room], shares: Sequence[GpuShare]) -> bool:
    """Whether each of these finds room if one after the other goes where `choose` says."""
    left = list(rooms)
    for share in shares:
        at = choose(left, share)
        if at is None:
            return False
        left[at] = left[at].less(share)
    return True
