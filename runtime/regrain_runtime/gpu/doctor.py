"""What this machine has, and what it can do of each backend's claims: `python -m regrain_runtime gpu`, as JSON.

Asked in a process of its own: to look at a GPU is to begin to use CUDA, which a process cannot undo.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from regrain_runtime.gpu.backend import Backend
from regrain_runtime.gpu.capability import EMULATED, Capability
from regrain_runtime.gpu.choose import BACKENDS, backend_named
from regrain_runtime.gpu.driver import CudaDriver, Device, Driver, GpuError
from regrain_runtime.gpu.nvml import Instance, Nvml, NvmlLibrary


class Row(Struct, frozen=True, kw_only=True):
    """A backend: what it claims, and why it does not work on this machine ("" if it does)."""

    capability: Capability
    obstacle: str


class Report(Struct, frozen=True, kw_only=True):
    """The GPUs that a process sees here, the MIG instances that any of them is cut into, and the backends."""

    devices: tuple[Device, ...]
    instances: tuple[Instance, ...]
    backends: tuple[Row, ...]


def rows(backends: Iterable[Backend]) -> tuple[Row, ...]:
    """Return a row for each backend, and one for emulated GPUs, which work anywhere."""
    real = tuple(Row(capability=each.capability, obstacle=each.obstacle()) for each in backends)
    return (*real, Row(capability=EMULATED, obstacle=""))


def devices(driver: Driver) -> tuple[Device, ...]:
    """Return the GPUs that can be seen; none where there is no driver."""
    try:
        return tuple(driver.device(ordinal) for ordinal in range(driver.devices()))
    except GpuError:
        return ()


def instances(nvml: Nvml) -> tuple[Instance, ...]:
    """Return the MIG instances; none where nobody can tell."""
    try:
        return nvml.instances()
    except GpuError:
        return ()


def report() -> Report:
    """Return what there is here, by this machine's own driver, NVML and MPS daemon."""
    driver = CudaDriver()
    return Report(
        devices=devices(driver),
        instances=instances(NvmlLibrary()),
        backends=rows(backend_named(name, driver) for name in BACKENDS),
    )
