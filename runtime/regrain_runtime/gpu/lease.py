"""Turns on the whole GPU, by lease from its arbiter: on any GPU, with nothing but its driver.

The arbiter decides whose turn it is; all that is left to do here is to wait, before a lease is given back, until what
was started has really ended. How many SMs a lease is granted bounds who runs beside whom, not the kernels themselves.
"""

from __future__ import annotations

from regrain.errors import SpecError
from regrain_runtime.gpu import backend
from regrain_runtime.gpu.backend import Allowance, Lane
from regrain_runtime.gpu.capability import LEASE, Capability
from regrain_runtime.gpu.driver import Driver
from regrain_runtime.gpu.primary import Primary


class LeaseBackend:
    """The backend `lease`. uuid: the GPU that a replica shall see, "" for all of them."""

    def __init__(self, driver: Driver, *, uuid: str = "", ordinal: int = 0) -> None:
        self._driver = driver
        self._uuid = uuid
        self._primary = Primary(driver, ordinal, uuid=uuid)

    @property
    def capability(self) -> Capability:
        """What it claims."""
        return LEASE

    def obstacle(self) -> str:
        """Return why it does not work here."""
        return backend.driver_obstacle(self._driver, self._primary.ordinal)

    def environment(self, share: Allowance) -> dict[str, str]:  # noqa: ARG002 - all shares alike
        """Return which GPU to see."""
        return backend.visible(self._uuid)

    def lane(self, share: Allowance) -> Lane:
        """Return the whole context, with the SMs that its leases are to ask for."""
        device = self._primary.start()
        sms = share.sms(device.sms)
        if not sms:
            raise SpecError(f"a share of {device.name} must be 1 of its {device.sms} SMs or more")
        return self._primary.lane(share, sms=sms)

    def resize(self, lane: Lane, share: Allowance) -> Lane:
        """Return the same context with other SMs to ask for."""
        self.fence(lane)
        return self.lane(share)

    def fence(self, lane: Lane) -> None:  # noqa: ARG002 - there is but one
        """Wait for all work of the process, whatever stream it went to."""
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
