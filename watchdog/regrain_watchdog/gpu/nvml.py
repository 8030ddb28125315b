"""What each process holds of a GPU's memory, as NVIDIA's driver sees it: the audit of what they declare.

Looked at through NVML, whose Python module (nvidia-ml-py) is looked for when the first device is observed.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from regrain.errors import RegrainError

logger = logging.getLogger(__name__)

MODULE = "pynvml"
LISTS = (
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetMPSComputeRunningProcesses",
    "nvmlDeviceGetGraphicsRunningProcesses",
)
"""A process may be in several of these, with all of its memory in each."""
NAMESPACE = Path("/proc/self/ns/pid")
HOST = "pid:[4026531836]"
"""The host's own process numbers, whose namespace has the number PROC_PID_INIT_INO on every Linux."""


class NvmlError(RegrainError):
    """A device cannot be observed."""


class NvmlObserver:
    """Observes one device, by its UUID; an observer as the server wants it.

    The driver names processes as the host does. An arbiter in a container that does not share the host's process
    numbers would take every client for a stranger: `observers` gives it none. Nor is there one where MPS may show the
    memory of all as its own. Not verified on hardware yet.

    Args:
        uuid: of the device, as nvidia-smi prints it.
        module: has NVML's functions by their names; None for nvidia-ml-py.

    Raises:
        NvmlError: there is no NVML here, or no such device.
    """

    def __init__(self, uuid: str, *, module: object = None) -> None:
        self._uuid = uuid
        self._last: dict[int, int] = {}
        self._failing = False
        try:
            self._module = module or importlib.import_module(MODULE)
        except ImportError as error:
            raise NvmlError(f"NVML is called by nvidia-ml-py, which is not installed: {error}") from error
        failure: type[Exception] = getattr(self._module, "NVMLError", Exception)
        self._failure = failure
        try:
            self._call("nvmlInit")
            self._device = self._call("nvmlDeviceGetHandleByUUID", uuid)
        except failure as error:
            raise NvmlError(f"GPU {uuid} cannot be observed: {error}") from error

    def used(self) -> Mapping[int, int]:
        """Return the bytes by process, as they are now; if the driver does not say now, as they were seen last."""
        try:
            self._last = self._look()
        except self._failure as error:
            if not self._failing:
                logger.warning("cannot observe GPU %s: %s", self._uuid, error)
            self._failing = True
        else:
            self._failing = False
        return self._last

    def _look(self) -> dict[int, int]:
        used: dict[int, int] = {}
        for name in LISTS:
            found = self._call(name, self._device)
            for process in found if isinstance(found, Iterable) else ():
                pid, nbytes = getattr(process, "pid", 0), getattr(process, "usedGpuMemory", None)
                if nbytes is not None:  # None where the driver keeps it to itself
                    used[pid] = max(used.get(pid, 0), nbytes)
        return used

    def _call(self, name: str, *arguments: object) -> object:
        function: Callable[..., object] = getattr(self._module, name)
        return function(*arguments)


def observers(
    uuids: Sequence[str], *, module: object = None, namespace: Path = NAMESPACE
) -> list[NvmlObserver | None]:
    """Return an observer for each device; None for all where they cannot be observed, which is warned of once.

    Args:
        uuids: of the devices.
        module: as of NvmlObserver.
        namespace: the link that tells by which numbers this process knows others.
    """
    try:
        if str(namespace.readlink()) != HOST:
            raise NvmlError(
                "the driver tells processes by the host's numbers, which this container does not share"
            )
        return [NvmlObserver(uuid, module=module) for uuid in uuids]
    except (NvmlError, OSError) as error:
        logger.warning("nobody audits what processes hold of GPU memory: %s", error)
        return [None for _ in uuids]
