"""The backend of a name, over this machine's own driver, NVML and MPS daemon."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from regrain.errors import SpecError
from regrain_runtime.gpu.backend import Backend
from regrain_runtime.gpu.driver import Driver
from regrain_runtime.gpu.green import GreenBackend
from regrain_runtime.gpu.lease import LeaseBackend
from regrain_runtime.gpu.mig import MigBackend
from regrain_runtime.gpu.mps import Daemon, MpsBackend
from regrain_runtime.gpu.nvml import NvmlLibrary

logger = logging.getLogger(__name__)

BACKENDS: Mapping[str, Callable[[Driver, str], Backend]] = {
    "lease": lambda driver, uuid: LeaseBackend(driver, uuid=uuid),
    "green": lambda driver, uuid: GreenBackend(driver, uuid=uuid),
    "mps": lambda driver, uuid: MpsBackend(driver, Daemon(), uuid=uuid),
    "mig": lambda driver, uuid: MigBackend(driver, NvmlLibrary(), uuid=uuid),
}
"""Each by its name: of a driver, and of the UUID of the GPU that a replica shall see ("" for all)."""


def backend_named(name: str, driver: Driver, *, uuid: str = "") -> Backend:
    """Return the backend of a name; SpecError if there is none."""
    if name not in BACKENDS:
        raise SpecError(
            f"there is no GPU backend {name!r} that runs in a replica, there are {', '.join(BACKENDS)}"
        )
    return BACKENDS[name](driver, uuid)


def backend_for_replica(name: str, driver: Driver, *, uuid: str = "") -> Backend:
    """Return the backend of a name, or `lease` where it was `mps` and its daemon has ended; SpecError as above.

    The next replica tries the service again.
    """
    chosen = backend_named(name, driver, uuid=uuid)
    if isinstance(chosen, MpsBackend) and (absence := chosen.absence()):
        logger.warning("demoting this replica from mps to lease: %s", absence)
        return LeaseBackend(driver, uuid=uuid)
    return chosen
