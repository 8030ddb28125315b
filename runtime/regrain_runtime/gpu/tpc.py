"""TPC masks as libsmctrl has them: which texture processing clusters (pairs of SMs) a kernel may run on.

A set bit disables. There are three masks: for the next launch of a thread, for a stream, and for everything else; the
narrower goes first, and a mask of zero counts as none given. Nothing here touches a GPU: decision 0014 says why green
contexts carry a mask out, and `green_atoms` says which of their atoms it amounts to.

Source: libsmctrl.c of J. Bakita (RTAS 2023; the state for CUDA 6.5 to 12.8), `control_callback_v2` and
`libsmctrl_set_stream_mask`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from regrain.errors import SpecError

NARROW, WIDE = 64, 128
"""Bits of the masks for a launch and for everything, and of a stream's. The first cannot speak of TPC 64 and later."""
LOW = (1 << NARROW) - 1
HIGH = ((1 << WIDE) - 1) ^ LOW
SMS = 2
"""SMs of a TPC, on every GPU since Pascal."""


def disabling_all_but(enabled: Iterable[int], *, bits: int = WIDE) -> int:
    """Return the mask under which only these TPCs work.

    Raises:
        SpecError: a TPC has no bit in such a mask, or none is enabled.
    """
    chosen = sorted(set(enabled))
    if not chosen:
        raise SpecError("a mask must leave a TPC enabled: a kernel without any never ends")
    if not 0 <= chosen[0] <= chosen[-1] < bits:
        raise SpecError(
            f"a mask of {bits} bits has TPCs 0 to {bits - 1}, was asked for {chosen[0]} to {chosen[-1]}"
        )
    return ((1 << bits) - 1) ^ sum(1 << tpc for tpc in chosen)


def widened(mask: int) -> int:
    """Return a stream's mask of 64 bits as one of 128: every TPC that it cannot speak of is disabled."""
    if not 0 <= mask <= LOW:
        raise SpecError(f"a mask of 64 bits was expected, was {mask:#x}")
    return HIGH | mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Masks:
    """The masks that a launch meets: 64 bits for the next launch and for everything, 128 for its stream; 0 is none.

    hooked: whether a mask for a launch or for everything was ever set in the process, be it 0. From then on libsmctrl
    disables TPC 64 and later for every launch, whatever its stream's mask says of them.
    """

    upcoming: int = 0
    stream: int = 0
    everything: int = 0
    hooked: bool = False

    def __post_init__(self) -> None:
        """Refuse bits that a mask has no room for."""
        for name, bits in (("upcoming", NARROW), ("stream", WIDE), ("everything", NARROW)):
            mask: int = getattr(self, name)
            if not 0 <= mask < 1 << bits:
                raise SpecError(f"the mask {name!r} has {bits} bits, was {mask:#x}")

    def in_force(self) -> int:
        """Return the mask that a launch gets, of 128 bits.

        A stream's mask counts as given by its lower 64 bits alone, where the hook is in place: one that disables
        nothing below TPC 64 gives way to that for everything.
        """
        if not (self.hooked or self.upcoming or self.everything):
            return self.stream
        return HIGH | (self.upcoming or self.stream & LOW or self.everything)

    def enabled(self, tpcs: int) -> frozenset[int]:
        """Return the TPCs that a launch may use, on a GPU of so many."""
        mask = self.in_force()
        return frozenset(tpc for tpc in range(tpcs) if not mask >> tpc & 1)


def sms(enabled: Iterable[int]) -> frozenset[int]:
    """Return the SMs of TPCs, numbered as kernels see them: TPC n has SMs 2n and 2n + 1, where no TPC lacks one."""
    return frozenset(tpc * SMS + which for tpc in enabled for which in range(SMS))


def green_atoms(enabled: Iterable[int], size: int) -> frozenset[int]:
    """Return the atoms of `size` SMs, cut in order, that lie within these TPCs: what they can carry out of a mask."""
    chosen = sms(enabled)
    if size < 1:
        raise SpecError(f"an atom has 1 SM or more, was {size}")
    return frozenset(
        atom for atom in {sm // size for sm in chosen} if chosen >= set(range(atom * size, (atom + 1) * size))
    )
