"""Slices of a GPU that an administrator has cut: existing MIG instances are used, none is ever made.

Cutting needs root and an idle GPU, so it is nothing to do while functions serve. A replica is shown one instance, and
that is all it sees of the GPU; what is one's own by hardware needs nothing else. A compute instance that is but a
part of its GPU instance is left alone: the memory that it shows is that of the other parts, too, and so are faults.
"""

from __future__ import annotations

from collections.abc import Iterable

from regrain.errors import SpecError
from regrain_runtime.gpu import backend
from regrain_runtime.gpu.backend import ROUNDING, Allowance, Lane
from regrain_runtime.gpu.capability import MIG, Capability
from regrain_runtime.gpu.driver import Driver, GpuError
from regrain_runtime.gpu.nvml import Instance, Nvml
from regrain_runtime.gpu.primary import Primary


def smallest(instances: Iterable[Instance], share: Allowance) -> Instance | None:
    """Return the smallest instance that covers a share's compute and memory, None if none does."""
    fitting = [
        instance
        for instance in instances
        if instance.part >= share.part - ROUNDING and instance.memory >= share.memory
    ]
    return min(
        fitting,
        key=lambda instance: (instance.slices / instance.of, instance.memory, instance.uuid),
        default=None,
    )


class MigBackend:
    """The backend `mig`. uuid: the instance that the replica was given; "" for the smallest that covers its share.

    Of an instance that was given a share is a part; where one is to be found, it is a part of the whole GPU.
    """

    def __init__(self, driver: Driver, nvml: Nvml, *, uuid: str = "") -> None:
        self._nvml = nvml
        self._driver = driver
        self._uuid = uuid
        self._primary = Primary(driver, 0)

    @property
    def capability(self) -> Capability:
        """What it claims."""
        return MIG

    def obstacle(self) -> str:
        """Return why it does not work here: there must be an instance."""
        try:
            found = self._nvml.instances()
        except GpuError as error:
            return str(error)
        if not found:
            return "no GPU is cut into MIG instances: nvidia-smi mig does that, as root"
        if not any(instance.whole for instance in found):
            return "every MIG instance here is a part of a GPU instance, and shares its memory and its faults"
        return ""

    def environment(self, share: Allowance) -> dict[str, str]:
        """Return which instance to see."""
        return backend.visible(self._uuid or self._smallest(share).uuid)

    def lane(self, share: Allowance) -> Lane:
        """Return the process's context: the instance is all that it sees, its memory all there is."""
        device = self._primary.start()
        return self._primary.lane(share, memory=device.memory)

    def resize(self, lane: Lane, share: Allowance) -> Lane:
        """Return the same lane for what it has room for: instances are as they were cut."""
        if self._uuid and share.memory <= lane.memory:
            self.fence(lane)
            return lane
        raise GpuError("a MIG instance keeps its size: start another replica on one of another size")

    def fence(self, lane: Lane) -> None:  # noqa: ARG002 - there is but one
        """Wait for all work of the process."""
        self._primary.fence()

    def close(self, lane: Lane) -> None:
        """Wait for its work; the context stays until the end."""
        self.fence(lane)

    def end(self, pid: int, pidfd: int) -> None:
        """Kill the process: nothing of it is shared with others."""
        backend.kill(pid, pidfd)

    def stop(self) -> None:
        """Release the context."""
        self._primary.stop()

    def _smallest(self, share: Allowance) -> Instance:
        instances = [instance for instance in self._nvml.instances() if instance.whole]
        if not instances:
            raise GpuError(self.obstacle())
        chosen = smallest(instances, share)
        if chosen is None:
            there = sorted({(round(instance.part, 3), instance.memory) for instance in instances})
            raise SpecError(
                f"no MIG instance covers a share of {share.part} with {share.memory} bytes; "
                f"there are (share, bytes): {', '.join(map(str, there))}"
            )
        return chosen
