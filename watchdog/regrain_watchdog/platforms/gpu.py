"""Declare a GPU share to a Kubernetes platform: which resources, variables and annotations stand for it.

No two clusters share GPUs the same way, so the way is configured. All of them but annotations round, and what the
cluster then accounts is told beside what was asked for. Annotations are always there: they are how our own arbiter on
the node learns of the share, whatever the cluster makes of it.

Names: HAMi's device plugin (nvidia.com/gpu, gpumem, gpucores, priority), NVIDIA's device plugin (sharing.mps with
renameByDefault: nvidia.com/gpu.shared; MIG strategy "mixed": nvidia.com/mig-1g.10gb). Knative passes them on in a
container's limits; it refuses resource claims, so there are none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from regrain.errors import SpecError

MIB = 1 << 20
ROUNDING = 1e-9
"""What binary fractions lack: 0.29 is 29 per cent."""
SHARE, MEMORY = "regrain.dev/gpu-share", "regrain.dev/gpu-memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a function asks for: `share` of a GPU's SMs in (0, 1], `memory` in bytes; priority 0 goes first."""

    share: float
    memory: int
    priority: int = 0

    def __post_init__(self) -> None:
        """Refuse nonsense."""
        if not 0 < self.share <= 1:
            raise SpecError(f"the share of a GPU must be in (0, 1], was {self.share}")
        if self.memory < 0:
            raise SpecError(f"the memory of a GPU share must be 0 bytes or more, was {self.memory}")

    @property
    def percentage(self) -> int:
        """The share in whole per cent, rounded up: what is declared covers what is used."""
        return math.ceil(self.share * 100 - ROUNDING)

    @property
    def mebibytes(self) -> int:
        """The memory in whole MiB, rounded up."""
        return -(-self.memory // MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What to write into a function's deployment.

    Attributes:
        limits: of the container's resources; extended resources have no requests of their own.
        environment: of the container.
        annotations: of the pod.
        share: of a GPU's SMs that the cluster accounts for it; 0 where it accounts none.
    """

    limits: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """Tell the node's arbiter alone; the cluster counts nothing."""

    def declare(self, need: Need) -> Declared:
        """Return the annotations."""
        return Declared(annotations=_annotations(need))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hami:
    """HAMi's device plugin, which accounts per cent of the SMs and MiB. prefix: of its resources' names."""

    prefix: str = "nvidia.com"

    def declare(self, need: Need) -> Declared:
        """Return a part of one GPU. Without memory HAMi gives all of it by default, so some must be asked for."""
        if not need.memory:
            raise SpecError('HAMi gives a function without memory all of the GPU\'s: say GPU(memory="2Gi")')
        limits = {
            f"{self.prefix}/gpu": "1",
            f"{self.prefix}/gpucores": str(need.percentage),
            f"{self.prefix}/gpumem": str(need.mebibytes),
            f"{self.prefix}/priority": "0" if need.priority <= 0 else "1",
        }
        return Declared(limits=limits, annotations=_annotations(need), share=need.percentage / 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """NVIDIA's device plugin with sharing by MPS: each GPU is so many equal replicas, a function gets one.

    The plugin limits each to its part of memory and threads; the variables limit it further, to what it asked for.
    replicas: as the plugin's configuration has it. memory: bytes of the GPU. resource: the name of a replica.
    """

    replicas: int
    memory: int
    resource: str = "nvidia.com/gpu.shared"

    def __post_init__(self) -> None:
        """Refuse nonsense."""
        if self.replicas < 1 or self.memory < 1:
            raise SpecError(
                f"replicas of a GPU and its memory must be 1 or more, were {self.replicas} and {self.memory}"
            )

    def declare(self, need: Need) -> Declared:
        """Return one replica with tighter limits; SpecError if a replica is less than what is needed."""
        if need.share > 1 / self.replicas + ROUNDING or need.memory > self.memory // self.replicas:
            raise SpecError(
                f"one of {self.replicas} replicas of a GPU is a share of {1 / self.replicas:.4g} with "
                f"{self.memory // self.replicas} bytes, asked for {need.share:.4g} with {need.memory}"
            )
        limit = {"CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": f"0={need.mebibytes}M"} if need.memory else {}
        return Declared(
            limits={self.resource: "1"},
            environment={"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(need.percentage), **limit},
            annotations=_annotations(need),
            share=1 / self.replicas,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A MIG profile that nodes of the cluster are cut into, such as "1g.10gb": its part of a GPU, and its bytes."""

    name: str
    share: float
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mig:
    """NVIDIA's device plugin with MIG strategy "mixed". profiles: those that there are."""

    profiles: tuple[Profile, ...]
    prefix: str = "nvidia.com/mig-"

    def __post_init__(self) -> None:
        """Refuse nonsense."""
        if not self.profiles:
            raise SpecError(
                'a cluster that shares GPUs by MIG has a profile such as "1g.10gb", was given none'
            )

    def declare(self, need: Need) -> Declared:
        """Return the smallest instance that covers the need; SpecError if none does."""
        covering = [
            each
            for each in self.profiles
            if each.share >= need.share - ROUNDING and each.memory >= need.memory
        ]
        if not covering:
            there = ", ".join(
                f"{each.name} ({each.share:.4g} with {each.memory} bytes)" for each in self.profiles
            )
            raise SpecError(
                f"no MIG profile covers a share of {need.share:.4g} with {need.memory} bytes; there are {there}"
            )
        chosen = min(covering, key=lambda each: (each.share, each.memory, each.name))
        limits = {f"{self.prefix}{chosen.name}": "1"}
        return Declared(limits=limits, annotations=_annotations(need), share=chosen.share)


Way = Annotations | Hami | Replicas | Mig
"""How a cluster shares GPUs."""


def _annotations(need: Need) -> dict[str, str]:
    return {SHARE: f"{need.share:.6g}", MEMORY: str(need.memory)}
