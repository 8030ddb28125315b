# ruff: noqa: N801, N802 - named as NVIDIA names them: that is the point
"""A driver, an NVML and an MPS daemon that are not there, for tests of what stands on them.

`FakeCuda` has the functions of cuda.bindings.driver that the table uses, by their names, with the rules that decide the
design: which GPU a process sees is settled when it begins, every split starts with the same SMs again, parts are
rounded by compute capability, only parts of one split can be joined, and a context that ends leaves its streams to be
ended. It keeps account of all that is held.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from uuid import UUID

from regrain_runtime.gpu.driver import GpuError
from regrain_runtime.gpu.nvml import Instance


class CUresult(IntEnum):
    """The driver's codes, as far as the fake gives them."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_INVALID_DEVICE = 101
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_ALREADY_MAPPED = 208
    CUDA_ERROR_INVALID_HANDLE = 400
    CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION = 915


class CUdevResourceType(IntEnum):
    """Kinds of resources."""

    CU_DEV_RESOURCE_TYPE_SM = 1


class CUdevice_attribute(IntEnum):
    """Attributes of a device."""

    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


OK = CUresult.CUDA_SUCCESS
ROUNDING = {6: (1, 1), 7: (2, 2), 8: (4, 2)}


@dataclass(frozen=True, slots=True)
class Sm:
    """CUdevSmResource."""

    smCount: int  # noqa: N815
    minSmPartitionSize: int = 0  # noqa: N815
    smCoscheduledAlignment: int = 0  # noqa: N815


@dataclass(frozen=True, slots=True)
class Resource:
    """CUdevResource, with what the driver keeps in its opaque part: which SMs, and which split they came from."""

    sm: Sm
    sms: frozenset[int]
    split: int = 0


@dataclass(frozen=True, slots=True)
class Uuid:
    """CUuuid."""

    bytes: bytes


@dataclass(frozen=True, slots=True)
class Green:
    """A green context: its device, and the SMs that its kernels run on."""

    device: int
    sms: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU that is not there. tells: whether its driver tells sizes of parts, as it does since CUDA 13.1."""

    name: str = "H200"
    sms: int = 132
    memory: int = 141 << 30
    compute: tuple[int, int] = (9, 0)
    tells: bool = False


def uuid_of(place: int) -> str:
    """Return the UUID of the card at a place, as nvidia-smi writes it."""
    return f"GPU-{UUID(bytes=bytes([place]) * 16)}"


@dataclass(slots=True, kw_only=True)
class FakeCuda:
    """The driver of these cards.

    Attributes:
        cards: the GPUs.
        driver: its CUDA version.
        refuses: for a function, the call of it (1 is the first) that is refused, and with which code.
        calls: what was called, in order.
        primary: how often each device's primary context is retained.
        contexts: the green contexts.
        streams: the context of each stream.
        visible: the places of the cards that the process sees, once it has begun.
    """

    cards: tuple[Card, ...] = (Card(),)
    driver: int = 13000
    refuses: Mapping[str, tuple[int, CUresult]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    primary: Counter[int] = field(default_factory=Counter)
    contexts: dict[int, Green] = field(default_factory=dict)
    streams: dict[int, int] = field(default_factory=dict)
    visible: tuple[int, ...] | None = None
    _handles: itertools.count[int] = field(default_factory=lambda: itertools.count(0x1000, 0x10))
    _splits: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _descriptions: dict[int, frozenset[int]] = field(default_factory=dict)

    CUdevResourceType = CUdevResourceType
    CUdevice_attribute = CUdevice_attribute

    @property
    def holds(self) -> int:
        """How much is held: contexts, streams, and retained primary contexts."""
        return len(self.contexts) + len(self.streams) + self.primary.total()

    def seen(self, stream: int) -> frozenset[int]:
        """Return the SMs on which a kernel in this stream would run; all of the first card for stream 0."""
        return self.contexts[self.streams[stream]].sms if stream else frozenset(range(self.cards[0].sms))

    def cuInit(self, _flags: int) -> tuple[CUresult]:
        """Begin: the environment says now which card is seen, if it names one by its UUID, and is not asked again."""
        code = self._code("cuInit")
        if self.visible is None:
            named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            places = range(len(self.cards))
            self.visible = tuple(
                place for place in places if named in (uuid_of(place), "") or not named.startswith("GPU-")
            )
        return (code if code or self.visible else CUresult.CUDA_ERROR_NO_DEVICE,)

    def cuDriverGetVersion(self) -> tuple[CUresult, int]:
        """Return the driver's CUDA version."""
        return self._code("cuDriverGetVersion"), self.driver

    def cuDeviceGetCount(self) -> tuple[CUresult, int]:
        """Return how many cards there are."""
        return self._code("cuDeviceGetCount"), len(self.visible or ())

    def cuDeviceGet(self, ordinal: int) -> tuple[CUresult, int]:
        """Return a device's handle."""
        code, seen = self._code("cuDeviceGet"), self.visible or ()
        if not code and ordinal >= len(seen):
            return CUresult.CUDA_ERROR_INVALID_DEVICE, 0
        return code, seen[ordinal] if seen else 0

    def cuDeviceGetName(self, length: int, device: int) -> tuple[CUresult, bytes]:
        """Return a device's name, filled up with zeros."""
        return self._code("cuDeviceGetName"), self.cards[device].name.encode().ljust(length, b"\0")

    def cuDeviceGetUuid(self, device: int) -> tuple[CUresult, Uuid]:
        """Return a device's UUID."""
        return self._code("cuDeviceGetUuid"), Uuid(bytes([device]) * 16)

    def cuDeviceTotalMem(self, device: int) -> tuple[CUresult, int]:
        """Return a device's memory in bytes."""
        return self._code("cuDeviceTotalMem"), self.cards[device].memory

    def cuDeviceGetAttribute(self, attribute: int, device: int) -> tuple[CUresult, int]:
        """Return an attribute."""
        card = self.cards[device]
        values: dict[int, int] = {
            CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: card.sms,
            CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: card.compute[0],
            CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: card.compute[1],
        }
        return self._code("cuDeviceGetAttribute"), values[attribute]

    def cuDevicePrimaryCtxRetain(self, device: int) -> tuple[CUresult, int]:
        """Retain the primary context."""
        code = self._code("cuDevicePrimaryCtxRetain")
        self.primary[device] += not code
        return code, 0x100 + device

    def cuDevicePrimaryCtxRelease(self, device: int) -> tuple[CUresult]:
        """Release it."""
        code = self._code("cuDevicePrimaryCtxRelease")
        self.primary[device] -= 1
        return (code,)

    def cuCtxPushCurrent(self, _context: int) -> tuple[CUresult]:
        """Make a context current."""
        return (self._code("cuCtxPushCurrent"),)

    def cuCtxSynchronize(self) -> tuple[CUresult]:
        """Wait for the current context."""
        return (self._code("cuCtxSynchronize"),)

    def cuCtxPopCurrent(self) -> tuple[CUresult, int]:
        """Take it away again."""
        return self._code("cuCtxPopCurrent"), 0

    def cuDeviceGetDevResource(self, device: int, _kind: int) -> tuple[CUresult, Resource]:
        """Return all SMs."""
        card = self.cards[device]
        told = ROUNDING.get(card.compute[0], (8, 8)) if card.tells else (0, 0)
        whole = Resource(Sm(card.sms, *told), frozenset(range(card.sms)))
        return self._code("cuDeviceGetDevResource"), whole

    def cuDevSmResourceSplitByCount(
        self, groups: int, whole: Resource, flags: int, least: int
    ) -> tuple[CUresult, list[Resource], int, Resource]:
        """Cut SMs into parts. Each call begins with the first SM, whatever was cut before."""
        code = self._code("cuDevSmResourceSplitByCount")
        floor, step = (2, 2) if flags else ROUNDING.get(self.cards[0].compute[0], (8, 8))
        size = max(floor, -(-least // step) * step)
        if not code and (size > len(whole.sms) or groups < 1):
            code = CUresult.CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION
        order, split = sorted(whole.sms), next(self._splits)
        made = min(groups, len(order) // size)
        parts = [
            Resource(Sm(size), frozenset(order[index * size : (index + 1) * size]), split)
            for index in range(made)
        ]
        rest = frozenset(order[made * size :])
        return code, parts, made, Resource(Sm(len(rest)), rest, split)

    def cuDevResourceGenerateDesc(self, parts: list[Resource], count: int) -> tuple[CUresult, int]:
        """Describe parts together: they must be of one split."""
        code = self._code("cuDevResourceGenerateDesc")
        if not code and (count != len(parts) or len({part.split for part in parts}) != 1):
            code = CUresult.CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION
        handle = next(self._handles)
        self._descriptions[handle] = frozenset[int]().union(*(part.sms for part in parts))
        return code, handle

    def cuGreenCtxCreate(self, described: int, device: int, flags: int) -> tuple[CUresult, int]:
        """Make a green context, which retains the primary one."""
        code = self._code("cuGreenCtxCreate")
        if not code and (described not in self._descriptions or flags != 1):
            code = CUresult.CUDA_ERROR_INVALID_VALUE
        handle = next(self._handles)
        if not code:
            self.contexts[handle] = Green(device, self._descriptions[described])
            self.primary[device] += 1
        return code, handle

    def cuGreenCtxDestroy(self, context: int) -> tuple[CUresult]:
        """End a green context; its streams stay."""
        code = self._code("cuGreenCtxDestroy")
        ended = self.contexts.pop(context, None)
        if ended is None:
            return (code or CUresult.CUDA_ERROR_INVALID_HANDLE,)
        self.primary[ended.device] -= 1
        return (code,)

    def cuGreenCtxStreamCreate(self, context: int, flags: int, _priority: int) -> tuple[CUresult, int]:
        """Make a stream in a green context."""
        code = self._code("cuGreenCtxStreamCreate")
        if not code and (context not in self.contexts or flags != 1):
            code = CUresult.CUDA_ERROR_INVALID_VALUE
        handle = next(self._handles)
        if not code:
            self.streams[handle] = context
        return code, handle

    def cuStreamDestroy(self, stream: int) -> tuple[CUresult]:
        """End a stream."""
        code = self._code("cuStreamDestroy")
        gone = self.streams.pop(stream, None)
        return (code or (OK if gone else CUresult.CUDA_ERROR_INVALID_HANDLE),)

    def cuStreamSynchronize(self, stream: int) -> tuple[CUresult]:
        """Wait for a stream."""
        code = self._code("cuStreamSynchronize")
        return (code or (OK if stream in self.streams else CUresult.CUDA_ERROR_INVALID_HANDLE),)

    def _code(self, name: str) -> CUresult:
        """Note a call; return whether it is one of those that are refused."""
        self.calls.append(name)
        turn, code = self.refuses.get(name, (0, OK))
        return code if self.calls.count(name) == turn else OK


@dataclass(slots=True, kw_only=True)
class FakeControl:
    """An MPS control daemon with these servers: the clients of each, and its state."""

    servers: dict[int, list[int]] = field(default_factory=dict)
    states: dict[int, str] = field(default_factory=dict)
    running: bool = True
    pipes: Path = Path("/tmp/nvidia-mps")  # noqa: S108 - a name, nothing is there
    asked: list[str] = field(default_factory=list)

    def ask(self, command: str) -> str:
        """Answer as the daemon does."""
        self.asked.append(command)
        if not self.running:
            raise GpuError("Cannot find MPS control daemon process")
        name, *arguments = command.split()
        numbers = [int(argument) for argument in arguments]
        match name:
            case "get_server_list":
                return "\n".join(map(str, self.servers))
            case "get_server_status":
                return self.states.get(numbers[0], "ACTIVE")
            case "get_client_list":
                return "\n".join(map(str, self.servers[numbers[0]]))
            case "terminate_client":
                self.servers[numbers[0]].remove(numbers[1])
                return ""
        raise GpuError(f"Unknown command: {command}")


@dataclass(frozen=True, slots=True)
class FakeNvml:
    """The management library of GPUs that are cut into these instances."""

    cut: tuple[Instance, ...] = ()

    def instances(self) -> tuple[Instance, ...]:
        """Return them."""
        return self.cut
