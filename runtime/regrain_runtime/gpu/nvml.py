"""NVIDIA's management library, as far as the backends use it: into which instances GPUs are cut.

Unlike CUDA it can be asked before a process has decided which part of a GPU to see. nvidia-ml-py is looked
for when the table is made; without it every call is a GpuError that says so.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from msgspec import Struct

from regrain_runtime.gpu.driver import GpuError

MODULE = "pynvml"
PACKAGE = "pip install 'regrain[gpu]'"
MIB = 1 << 20
T = TypeVar("T")


class Instance(Struct, frozen=True, kw_only=True):
    """A MIG instance that exists: which of `of` slices' worth of compute it has, its SMs, its memory in bytes.

    whole: whether it is all of its GPU instance; parts of one share its memory, bandwidth and faults.
    """

    uuid: str
    gpu: str
    name: str
    slices: int
    of: int
    sms: int
    memory: int
    whole: bool = True

    @property
    def part(self) -> float:
        """What part of its GPU's compute it is."""
        return self.slices / self.of


class Nvml(Protocol):
    """The one question that is asked; it may raise GpuError."""

    def instances(self) -> tuple[Instance, ...]:
        """Return the MIG instances of all of them."""
        ...


class NvmlLibrary:
    """The table over nvidia-ml-py; or over `module`, which has functions of the same names."""

    def __init__(self, module: object = None) -> None:
        self._given = module

    def instances(self) -> tuple[Instance, ...]:
        """Return the MIG instances of all GPUs."""
        with self._session():
            return tuple(
                self._instance(gpu, found)
                for gpu in self._handles()
                if self._is_cut(gpu)
                for index in range(self._call("nvmlDeviceGetMaxMigDeviceCount", int, gpu))
                if (found := self._found(gpu, index)) is not None
            )

    # ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _session(self) -> Iterator[None]:
        self._call("nvmlInit", object)
        try:
            yield
        finally:
            self._call("nvmlShutdown", object)

    def _handles(self) -> Iterator[object]:
        for index in range(self._call("nvmlDeviceGetCount", int)):
            yield self._call("nvmlDeviceGetHandleByIndex", object, index)

    def _is_cut(self, handle: object) -> bool:
        """Whether a GPU is in MIG mode; most cannot be, which is an error of its own."""
        try:
            return bool(self._call("nvmlDeviceGetMigMode", list, handle)[0])
        except GpuError:
            return False

    def _found(self, gpu: object, index: int) -> object | None:
        """Return the handle of an instance, None where there is none at this index."""
        try:
            return self._call("nvmlDeviceGetMigDeviceHandleByIndex", object, gpu, index)
        except GpuError:
            return None

    def _instance(self, gpu: object, handle: object) -> Instance:
        attributes = self._call("nvmlDeviceGetAttributes", object, handle)
        slices = int(getattr(attributes, "computeInstanceSliceCount", 0))
        return Instance(
            uuid=self._call("nvmlDeviceGetUUID", str, handle),
            gpu=self._call("nvmlDeviceGetUUID", str, gpu),
            name=self._call("nvmlDeviceGetName", str, handle),
            slices=slices,
            of=self._call("nvmlDeviceGetMaxMigDeviceCount", int, gpu),
            sms=int(getattr(attributes, "multiprocessorCount", 0)),
            memory=int(getattr(attributes, "memorySizeMB", 0)) * MIB,
            whole=slices == getattr(attributes, "gpuInstanceSliceCount", slices),
        )

    def _call(self, name: str, kind: type[T], *arguments: object) -> T:
        module = self._module()
        function: Callable[..., object] = getattr(module, name)
        failure: type[Exception] = getattr(module, "NVMLError", Exception)
        try:
            answer = function(*arguments)
        except failure as error:
            raise GpuError(f"NVML refuses {name}: {error}") from error
        if kind is list and isinstance(answer, tuple):
            answer = list(answer)
        if not isinstance(answer, kind):
            raise GpuError(f"NVML gave {answer!r} for {name}")
        return answer

    def _module(self) -> object:
        if self._given is None:
            try:
                self._given = importlib.import_module(MODULE)
            except ImportError as error:
                raise GpuError(f"NVML is called by nvidia-ml-py: {PACKAGE} ({error})") from error
        return self._given
