"""SMs between the stages of one process, by green contexts.

The device's SMs are split once, into equal atoms; a lane is a green context on some of them. One split gives disjoint
atoms, so lanes are disjoint whatever their sizes. Two splits do not: each starts with the same SMs again, which is why
two of torch's own `GreenContext.create(num_sms=...)` overlap, and why none is made here by torch.

A green context keeps nobody else off its SMs. All work of the process has to go into lanes, warm-up included; kernels
in the default stream run on all SMs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from regrain.errors import SpecError
from regrain_runtime.gpu import backend
from regrain_runtime.gpu.backend import Allowance, Lane
from regrain_runtime.gpu.capability import GREEN, Capability
from regrain_runtime.gpu.driver import Device, Driver, GpuError, SmSet
from regrain_runtime.gpu.primary import Primary

LEAST_DRIVER = 12040
"""CUDA 12.4, the first with green contexts."""
LEAST_COMPUTE = 6
SIZES = {6: (1, 1), 7: (2, 2), 8: (4, 2)}
"""Least SMs and step of a part by compute capability (CUDA driver API, cuDevSmResourceSplitByCount)."""
SIZES_SINCE_9 = (8, 8)
FINE_SIZES = (2, 2)
"""The same with CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING; the driver's answer decides."""


def atom_size(device: Device, whole: SmSet, *, fine: bool) -> int:
    """Return how many SMs an atom of a device has: the least part, in whole steps.

    What the driver tells goes before the table. fine: without regard to which SMs can run a cluster together.
    """
    major = device.compute[0]
    told = (whole.least, whole.multiple)
    if fine:
        least, step = FINE_SIZES if major > LEAST_COMPUTE else SIZES[LEAST_COMPUTE]
    else:
        least, step = told if all(told) else SIZES.get(major, SIZES_SINCE_9)
    return -(-least // step) * step


@dataclass(frozen=True, slots=True)
class Atoms:
    """The atoms of a device, all of `size` SMs, and the SMs that are in none."""

    device: Device
    parts: tuple[SmSet, ...]
    size: int
    remainder: int

    def wanted(self, share: Allowance) -> int:
        """Return how many atoms a share is, rounded down; SpecError if none."""
        count = min(share.sms(self.device.sms) // self.size, len(self.parts))
        if not count:
            raise SpecError(
                f"a green context on {self.device.name} has {self.size} of its {self.device.sms} SMs or more, "
                f"a share of {self.size / self.device.sms:.4f}; asked for {share.part}"
            )
        return count


@dataclass(frozen=True, slots=True)
class _Opened:
    atoms: frozenset[int]
    context: int
    share: Allowance


class GreenBackend:
    """The backend `green`. fine: atoms of 2 SMs, at the price of large thread block clusters."""

    def __init__(self, driver: Driver, *, uuid: str = "", ordinal: int = 0, fine: bool = False) -> None:
        self._driver = driver
        self._uuid = uuid
        self._fine = fine
        self._primary = Primary(driver, ordinal, uuid=uuid)
        self._atoms: Atoms | None = None
        self._lanes: dict[int, _Opened] = {}

    @property
    def capability(self) -> Capability:
        """What it claims."""
        return GREEN

    @property
    def remainder(self) -> int:
        """How many SMs no lane can have, known once the first was asked for."""
        return self._atoms.remainder if self._atoms else 0

    def obstacle(self) -> str:
        """Return why it does not work here: it needs CUDA 12.4 and compute capability 6.0."""
        if reason := backend.driver_obstacle(self._driver, self._primary.ordinal):
            return reason
        version = self._driver.version()
        if version < LEAST_DRIVER:
            return f"green contexts need a driver for CUDA 12.4 or later, this one is for {_dotted(version)}"
        device = self._driver.device(self._primary.ordinal)
        if device.compute[0] < LEAST_COMPUTE:
            return f"green contexts need compute capability 6.0 or later, {device.name} has {device.compute[0]}.x"
        return ""

    def environment(self, share: Allowance) -> dict[str, str]:  # noqa: ARG002 - all shares alike
        """Return which GPU to see."""
        return backend.visible(self._uuid)

    def lane(self, share: Allowance) -> Lane:
        """Return a lane on atoms that no other has."""
        return self._place(share, self._start(), own=frozenset())

    def resize(self, lane: Lane, share: Allowance) -> Lane:
        """Return a lane of another size; it keeps atoms of the old one, which ends once the new one is there.

        Where the share differs in memory alone the lane keeps its stream, and so what was built for it.
        """
        opened = self._opened(lane)
        self.fence(lane)
        if (share.part, share.priority) == (opened.share.part, opened.share.priority):
            return replace(lane, memory=share.memory)
        placed = self._place(share, self._start(), own=opened.atoms)
        self._end(lane.stream)
        return placed

    def fence(self, lane: Lane) -> None:
        """Wait for the work in a lane's stream."""
        self._opened(lane)
        self._driver.finish_stream(lane.stream)

    def close(self, lane: Lane) -> None:
        """Wait for a lane's work and give its atoms back."""
        self.fence(lane)
        self._end(lane.stream)

    def end(self, pid: int, pidfd: int) -> None:
        """Kill the process."""
        backend.kill(pid, pidfd)

    def stop(self) -> None:
        """End all lanes, the last one first, and release the context. A failing call does not keep the others."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._primary.stop)
            for stream in self._lanes:
                stack.callback(self._end, stream)

    # ------------------------------------------------------------------------------------------------------

    def _start(self) -> Atoms:
        """Return the atoms, split at the first call and never again."""
        if self._atoms is None:
            if reason := self.obstacle():
                raise GpuError(reason)
            device = self._primary.start()
            try:
                self._atoms = self._split(device)
            except BaseException:
                self._primary.stop()
                raise
        return self._atoms

    def _split(self, device: Device) -> Atoms:
        whole = self._driver.sms(device.ordinal)
        size = atom_size(device, whole, fine=self._fine)
        parts, _ = self._driver.split(whole, whole.count // size, size, fine=self._fine)
        sizes = {part.count for part in parts}
        if len(sizes) != 1 or 0 in sizes:
            raise GpuError(
                f"the driver cut the {whole.count} SMs of {device.name} into parts of {sorted(sizes)} SMs, "
                "which should be one size"
            )
        made = sizes.pop()
        return Atoms(device, parts, made, device.sms - made * len(parts))

    def _place(self, share: Allowance, atoms: Atoms, own: frozenset[int]) -> Lane:
        """Open a lane on free atoms and those of `own`, the latter first."""
        count = atoms.wanted(share)
        taken = frozenset[int]().union(*(opened.atoms for opened in self._lanes.values())) - own
        free = sorted(set(range(len(atoms.parts))) - taken, key=lambda atom: (atom not in own, atom))
        if len(free) < count:
            held, room = len(taken) * atoms.size, len(free) * atoms.size
            raise GpuError(
                f"{count * atoms.size} SMs of {atoms.device.name} were asked for and {room} are free: "
                f"other lanes hold {held}"
            )
        chosen = sorted(free[:count])
        stream = self._open(chosen, atoms.parts, share)
        sms = count * atoms.size
        return Lane(
            device=atoms.device.ordinal,
            stream=stream,
            sms=sms,
            short=share.sms(atoms.device.sms) - sms,
            memory=share.memory,
            device_memory=atoms.device.memory,
        )

    def _open(self, chosen: Sequence[int], parts: Sequence[SmSet], share: Allowance) -> int:
        """Return the stream of a new green context on these atoms."""
        context = self._driver.context(self._primary.ordinal, [parts[atom] for atom in chosen])
        try:
            stream = self._driver.stream(context, share.priority)
        except BaseException:
            self._driver.end_context(context)
            raise
        self._lanes[stream] = _Opened(frozenset(chosen), context, share)
        return stream

    def _end(self, stream: int) -> None:
        """End a lane's stream, then its context."""
        opened = self._lanes.pop(stream)
        with contextlib.ExitStack() as stack:
            stack.callback(self._driver.end_context, opened.context)
            stack.callback(self._driver.end_stream, stream)

    def _opened(self, lane: Lane) -> _Opened:
        if lane.stream not in self._lanes:
            raise GpuError("the lane is closed: it was resized, given back, or its backend was stopped")
        return self._lanes[lane.stream]


def _dotted(version: int) -> str:
    """Return 12040 as "12.4"."""
    return f"{version // 1000}.{version % 1000 // 10}"
