"""How a replica is held to its share of a GPU: one interface, several ways of carrying it out.

A replica asks a backend in this order: `obstacle` (does it work here?), `environment` (what must be set before the
process first uses CUDA), `lane` (where a stage's work goes), then `fence` before each lease is given back, and `stop`
at its end. The arbiter's leases decide when and how much; a backend carries it out, as far as its Capability claims.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Protocol

from regrain.errors import SpecError
from regrain_runtime.gpu.capability import Capability
from regrain_runtime.gpu.driver import Driver, GpuError

ROUNDING = 1e-9
"""What binary fractions lack: 0.29 of 100 SMs are 29."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a replica may use of a device.

    Attributes:
        part: of the device's SMs, in (0, 1].
        memory: bytes, 0 for no limit.
        priority: smaller goes first, where the backend can tell; 0 is the default.
    """

    part: float
    memory: int = 0
    priority: int = 0

    def __post_init__(self) -> None:
        """Refuse nonsense."""
        if not 0 < self.part <= 1:
            raise SpecError(f"the part of a GPU share must be in (0, 1], was {self.part}")
        if self.memory < 0:
            raise SpecError(f"the memory of a GPU share must be 0 bytes or more, was {self.memory}")

    def sms(self, of: int) -> int:
        """Return how many whole SMs this is of so many."""
        return int(self.part * of + ROUNDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Where work goes so that it stays within a share; for one thread at a time.

    Attributes:
        device: the GPU's ordinal in this process.
        stream: the CUDA stream to launch into, 0 for any.
        sms: how many SMs that is.
        short: SMs of the share that rounding keeps from it, 0 where only the driver knows.
        memory: bytes that may be allocated, 0 for no limit.
        device_memory: bytes of the device.
    """

    device: int
    stream: int
    sms: int
    short: int
    memory: int
    device_memory: int


class Backend(Protocol):
    """A way of carrying out shares in a replica."""

    @property
    def capability(self) -> Capability:
        """What it claims."""
        ...

    def obstacle(self) -> str:
        """Return why it does not work on this machine, in one sentence; "" if it does."""
        ...

    def environment(self, share: Allowance) -> dict[str, str]:
        """Return the variables that a replica of this share needs before it uses CUDA; makes no CUDA call itself.

        Raises:
            SpecError: the share cannot be expressed; says what can.
            GpuError: nobody can be let in now.
        """
        ...

    def lane(self, share: Allowance) -> Lane:
        """Return a lane of this share, in the replica.

        Raises:
            SpecError: the share is smaller than the least that can be carried out.
            GpuError: the device has no room for it, or refuses. What was begun is undone.
        """
        ...

    def resize(self, lane: Lane, share: Allowance) -> Lane:
        """Return a lane that takes the place of another, whose work is waited for.

        Raises:
            SpecError: as `lane`.
            GpuError: as `lane`, and where a running process cannot change its share. The old lane then stays.
        """
        ...

    def fence(self, lane: Lane) -> None:
        """Wait until a lane's work has ended; GpuError if it failed, after which the process is of no use."""
        ...

    def close(self, lane: Lane) -> None:
        """Give a lane back; its work is waited for."""
        ...

    def end(self, pid: int, pidfd: int) -> None:
        """End another process that uses the device, without harm to the others as far as that can be."""
        ...

    def stop(self) -> None:
        """Give everything back. Done twice it does nothing more."""
        ...


def kill(_pid: int, pidfd: int) -> None:
    """End a process at once."""
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def visible(uuid: str) -> dict[str, str]:
    """Return the variables by which a process sees one device only; none for "", when it sees them all."""
    return {"CUDA_VISIBLE_DEVICES": uuid} if uuid else {}


def driver_obstacle(driver: Driver, ordinal: int) -> str:
    """Return why a device cannot be used at all; "" if it can."""
    try:
        found = driver.devices()
    except GpuError as error:
        return str(error)
    return "" if ordinal < found else f"there is no GPU {ordinal}, this process sees {found}"
