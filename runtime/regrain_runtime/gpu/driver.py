"""The CUDA driver, as far as the backends use it: one small typed table.

Nothing else in Regrain calls the driver, so a test that hands the table another set of functions of the same names
(regrain_runtime.gpu.fake) drives everything above it. cuda-bindings is looked for when the table is made; without it,
and without a driver, every call is a GpuError that says what is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Protocol, SupportsInt
from uuid import UUID

from regrain.errors import RegrainError

BINDINGS = "cuda.bindings.driver"
MODULE = "pip install 'regrain[gpu]'"
FINE = 1
"""CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING: SMs one by one, at the price of large thread block clusters."""
DEFAULT_STREAM = 1  # CU_GREEN_CTX_DEFAULT_STREAM, the flag that cuGreenCtxCreate asks for
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, the flag that cuGreenCtxStreamCreate asks for

IPC_HANDLE = 64
"""Bytes of a CUipcMemHandle, which are nobody's business but the driver's."""
LAZY_PEER_ACCESS = 1  # CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS, the flag that cuIpcOpenMemHandle asks for


class GpuError(RegrainError):
    """A GPU or its driver is missing, too old, or refuses; the message says which, and what is allowed."""


class DriverError(GpuError):
    """A call of the driver failed.

    Attributes:
        call: its name, such as "cuGreenCtxCreate".
        code: the driver's name for what was wrong, such as "CUDA_ERROR_OUT_OF_MEMORY".
    """

    def __init__(self, call: str, code: str) -> None:
        super().__init__(f"the GPU's driver refuses {call}: {code}")
        self.call = call
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU as this process sees it; under MPS or MIG its SMs are those of the process's part.

    uuid: by which others name it. memory in bytes. compute: the compute capability, such as (9, 0).
    """

    ordinal: int
    uuid: str
    name: str
    sms: int
    memory: int
    compute: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmSet:
    """Some SMs of a device: how many, and the driver's own word for which.

    least, multiple: what the driver tells of the sizes it can be cut into, 0 where it tells nothing (before CUDA 13.1).
    """

    count: int
    least: int
    multiple: int
    handle: object


class Driver(Protocol):
    """The calls that are used. Contexts and streams are handles; every call may raise GpuError."""

    def version(self) -> int:
        """Return the CUDA version of the driver: 13000 is 13.0."""
        ...

    def devices(self) -> int:
        """Return how many GPUs this process sees."""
        ...

    def device(self, ordinal: int) -> Device:
        """Return what there is to know of one."""
        ...

    def retain(self, ordinal: int) -> int:
        """Return a device's primary context, which stays until it is released as often."""
        ...

    def release(self, ordinal: int) -> None:
        """Release the primary context once."""
        ...

    def finish(self, context: int) -> None:
        """Wait until a context's work has ended, in all of its streams."""
        ...

    def sms(self, ordinal: int) -> SmSet:
        """Return all SMs of a device."""
        ...

    def split(self, whole: SmSet, parts: int, least: int, *, fine: bool) -> tuple[tuple[SmSet, ...], SmSet]:
        """Cut SMs into equal parts of `least` or more; return these, disjoint, and what is left over."""
        ...

    def context(self, ordinal: int, parts: Sequence[SmSet]) -> int:
        """Return a green context on these SMs, which must be of one split."""
        ...

    def end_context(self, context: int) -> None:
        """End a green context; its streams must have been ended."""
        ...

    def stream(self, context: int, priority: int) -> int:
        """Return a stream in a green context; a lower number is a higher priority, 0 the default."""
        ...

    def end_stream(self, stream: int) -> None:
        """End a stream once its work has ended, without waiting for that."""
        ...

    def finish_stream(self, stream: int) -> None:
        """Wait until a stream's work has ended."""
        ...


class Memory(Protocol):
    """The calls for memory of a device that several processes see; every call may raise GpuError.

    context: a device's primary context. Addresses are of the device, and each process has its own for the same memory.
    """

    def retain(self, ordinal: int) -> int:
        """Return a device's primary context, which stays until it is released as often."""
        ...

    def release(self, ordinal: int) -> None:
        """Release the primary context once."""
        ...

    def finish(self, context: int) -> None:
        """Wait until a context's work has ended, in all of its streams."""
        ...

    def allocate(self, context: int, nbytes: int) -> int:
        """Return the address of so many bytes, by themselves: a handle gives all of an allocation away."""
        ...

    def free(self, context: int, address: int) -> None:
        """Free an allocation, which nobody else may have mapped any more."""
        ...

    def fill(self, context: int, address: int, data: mmap) -> None:
        """Copy a file's bytes there, and wait until they have arrived."""
        ...

    def export(self, context: int, address: int) -> bytes:
        """Return the handle of an allocation, IPC_HANDLE bytes, by which another process maps it."""
        ...

    def attach(self, context: int, handle: bytes) -> int:
        """Return where another process's allocation is mapped now; a process maps none twice and none of its own."""
        ...

    def detach(self, context: int, address: int) -> None:
        """Unmap it; no work may be under way that uses it."""
        ...


class CudaDriver:
    """The table over cuda-bindings; or over `bindings`, which has functions of the same names."""

    def __init__(self, bindings: object = None) -> None:
        self._given = bindings
        self._initialised = False

    def version(self) -> int:
        """Return the CUDA version of the driver."""
        return _number(self._call("cuDriverGetVersion")[0])

    def devices(self) -> int:
        """Return how many GPUs this process sees."""
        self._initialise()
        return _number(self._call("cuDeviceGetCount")[0])

    def device(self, ordinal: int) -> Device:
        """Return what there is to know of a device."""
        handle = self._device(ordinal)
        name = self._call("cuDeviceGetName", 128, handle)[0]
        attributes = ("MULTIPROCESSOR_COUNT", "COMPUTE_CAPABILITY_MAJOR", "COMPUTE_CAPABILITY_MINOR")
        sms, major, minor = (self._attribute(name, handle) for name in attributes)
        return Device(
            ordinal=ordinal,
            uuid=_uuid(self._call("cuDeviceGetUuid", handle)[0]),
            name=name.partition(b"\0")[0].decode() if isinstance(name, bytes) else str(name),
            sms=sms,
            memory=_number(self._call("cuDeviceTotalMem", handle)[0]),
            compute=(major, minor),
        )

    def retain(self, ordinal: int) -> int:
        """Return a device's primary context, retained."""
        return _number(self._call("cuDevicePrimaryCtxRetain", self._device(ordinal))[0])

    def release(self, ordinal: int) -> None:
        """Release the primary context once."""
        self._call("cuDevicePrimaryCtxRelease", self._device(ordinal))

    def finish(self, context: int) -> None:
        """Wait until a context's work has ended."""
        with self._current(context):
            self._call("cuCtxSynchronize")

    def sms(self, ordinal: int) -> SmSet:
        """Return all SMs of a device."""
        kind = self._constant("CUdevResourceType", "CU_DEV_RESOURCE_TYPE_SM")
        return _sms(self._call("cuDeviceGetDevResource", self._device(ordinal), kind)[0])

    def split(self, whole: SmSet, parts: int, least: int, *, fine: bool) -> tuple[tuple[SmSet, ...], SmSet]:
        """Cut SMs into equal parts; the driver may make fewer than asked for."""
        flags = FINE if fine else 0
        cut, made, rest = self._call("cuDevSmResourceSplitByCount", parts, whole.handle, flags, least)
        groups = tuple(cut) if isinstance(cut, Sequence) else ()
        return tuple(_sms(group) for group in groups[: _number(made)]), _sms(rest)

    def context(self, ordinal: int, parts: Sequence[SmSet]) -> int:
        """Return a green context on these SMs."""
        described = self._call("cuDevResourceGenerateDesc", [part.handle for part in parts], len(parts))[0]
        made = self._call("cuGreenCtxCreate", described, self._device(ordinal), DEFAULT_STREAM)
        return _number(made[0])

    def end_context(self, context: int) -> None:
        """End a green context."""
        self._call("cuGreenCtxDestroy", context)

    def stream(self, context: int, priority: int) -> int:
        """Return a stream in a green context, whatever context is current."""
        return _number(self._call("cuGreenCtxStreamCreate", context, NON_BLOCKING, priority)[0])

    def end_stream(self, stream: int) -> None:
        """End a stream."""
        self._call("cuStreamDestroy", stream)

    def finish_stream(self, stream: int) -> None:
        """Wait until a stream's work has ended."""
        self._call("cuStreamSynchronize", stream)

    def allocate(self, context: int, nbytes: int) -> int:
        """Return the address of so many bytes. By cuMemAlloc: what comes from a pool has no handle of this kind."""
        with self._current(context):
            return _number(self._call("cuMemAlloc", nbytes)[0])

    def free(self, context: int, address: int) -> None:
        """Free an allocation."""
        with self._current(context):
            self._call("cuMemFree", address)

    def fill(self, context: int, address: int, data: mmap) -> None:
        """Copy bytes there. The call returns once they are staged, so what follows it is waited for."""
        with self._current(context):
            self._call("cuMemcpyHtoD", address, data, len(data))
            self._call("cuCtxSynchronize")

    def export(self, context: int, address: int) -> bytes:
        """Return the handle of an allocation."""
        with self._current(context):
            handle = self._call("cuIpcGetMemHandle", address)[0]
            return ctypes.string_at(_place(handle), IPC_HANDLE)

    def attach(self, context: int, handle: bytes) -> int:
        """Return where another process's allocation is mapped now."""
        if len(handle) != IPC_HANDLE:
            raise GpuError(f"a handle of GPU memory has {IPC_HANDLE} bytes, this one {len(handle)}")
        make: Callable[[], object] = getattr(self._bindings(), "CUipcMemHandle")  # noqa: B009 - of a module that is an object here
        whole = make()
        ctypes.memmove(_place(whole), handle, IPC_HANDLE)
        with self._current(context):
            return _number(self._call("cuIpcOpenMemHandle", whole, LAZY_PEER_ACCESS)[0])

    def detach(self, context: int, address: int) -> None:
        """Unmap it."""
        with self._current(context):
            self._call("cuIpcCloseMemHandle", address)

    # ------------------------------------------------------------------------------------------------------

    def _initialise(self) -> None:
        if not self._initialised:
            self._call("cuInit", 0)
            self._initialised = True

    def _device(self, ordinal: int) -> object:
        self._initialise()
        return self._call("cuDeviceGet", ordinal)[0]

    def _attribute(self, name: str, device: object) -> int:
        attribute = self._constant("CUdevice_attribute", f"CU_DEVICE_ATTRIBUTE_{name}")
        return _number(self._call("cuDeviceGetAttribute", attribute, device)[0])

    def _constant(self, kind: str, name: str) -> object:
        found: object = getattr(getattr(self._bindings(), kind), name)
        return found

    @contextlib.contextmanager
    def _current(self, context: int) -> Iterator[None]:
        """Make a context this thread's current one, for the length of a `with`."""
        self._call("cuCtxPushCurrent", context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent")

    def _call(self, name: str, *arguments: object) -> list[object]:
        """Call the driver; return what it gives but for its code."""
        function: Callable[..., Sequence[object]] | None = getattr(self._bindings(), name, None)
        if function is None:
            raise GpuError(f"cuda-bindings knows no {name}: 12.9 or later is needed")
        try:
            code, *values = function(*arguments)
        except RuntimeError as error:  # no libcuda, or one without this function
            raise GpuError(f"no NVIDIA driver that has {name}: {' '.join(str(error).split())}") from error
        if _number(code):
            raise DriverError(name, getattr(code, "name", str(code)))
        return values

    def _bindings(self) -> object:
        if self._given is None:
            try:
                self._given = importlib.import_module(BINDINGS)
            except ImportError as error:
                raise GpuError(f"the CUDA driver is called by cuda-bindings: {MODULE} ({error})") from error
        return self._given


def _number(value: object) -> int:
    if not isinstance(value, SupportsInt):
        raise GpuError(f"the GPU's driver gave {value!r} where a number was expected")
    return int(value)


def _place(value: object) -> int:
    """Return where the bytes of a structure of the bindings are: they give no other way to them."""
    where: Callable[[], object] | None = getattr(value, "getPtr", None)
    if where is None:
        raise GpuError(f"the GPU's driver gave {value!r} where a structure was expected")
    return _number(where())


def _uuid(value: object) -> str:
    """Return a CUuuid as nvidia-smi writes it."""
    found = getattr(value, "bytes", b"")
    return f"GPU-{UUID(bytes=found)}" if len(found) == 16 else ""


def _sms(resource: object) -> SmSet:
    """Return the SMs of a CUdevResource; what its structure lacks in older bindings is told by nobody."""
    told = getattr(resource, "sm", None)
    return SmSet(
        count=getattr(told, "smCount", 0),
        least=getattr(told, "minSmPartitionSize", 0),
        multiple=getattr(told, "smCoscheduledAlignment", 0),
        handle=resource,
    )
