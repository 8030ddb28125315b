"""What carries leases out: on an emulated GPU a timed hold, on a real one a backend's lane and its fence."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from regrain.cards import PREFIX, parse_gpus
from regrain.context import context
from regrain.weights.device import HOLDER, lending
from regrain.wire.frames import Entitle
from regrain_runtime.emulated import scenario
from regrain_runtime.emulated.hold import hold
from regrain_runtime.emulated.truth import Truth
from regrain_runtime.gpu.backend import Allowance, Backend
from regrain_runtime.gpu.capability import MIG
from regrain_runtime.gpu.choose import backend_for_replica
from regrain_runtime.gpu.client import Lease
from regrain_runtime.gpu.driver import CudaDriver, GpuError
from regrain_runtime.gpu.libraries import TorchCuda, in_lane, limit_memory, onnx_options
from regrain_runtime.holder.lender import Lender

logger = logging.getLogger(__name__)

EMULATED = "emulated"
MIB = 1 << 20
LONGEST_WAIT = 60.0
"""Seconds that a call waits for its lease to be renewed."""
FIRST_GUESS = 0.05
"""Seconds that a call of a stage is taken to last before one was seen."""
GAIN = 0.25
"""Weight of the newest call in how long a stage is taken to last."""


class Carrier(Protocol):
    """What carries leases out."""

    def takes_turns(self) -> bool:
        """Whether one process at a time has the whole device, whatever its share."""

    def loading(self, stage: str, memory: int) -> contextlib.AbstractContextManager[None]:
        """Surround the building of a stage that declares so many bytes."""

    def unloaded(self, stage: str) -> None:
        """Learn that a stage is loaded no more."""

    def expected(self, stage: str, count: int, fraction: float) -> float:
        """Return the seconds that a call on so many inputs is going to take on a fraction of the SMs."""

    def kernel(self, stage: str, count: int, lease: Lease) -> contextlib.AbstractContextManager[None]:
        """Surround a call that holds its lease; when it ends, so has the call's work on the device."""

    def options(self) -> Mapping[str, str]:
        """Return the options of onnxruntime's CUDA provider that keep a session within the share."""

    def most_held(self) -> int:
        """Return the bytes of the device held at most since this was asked before; 0 where the driver alone knows."""

    def moves(self, entitled: Entitle) -> bool:
        """Whether sessions that were made with `options` would not outlive a change to another share."""

    def follow(self, entitled: Entitle) -> None:
        """Carry out another share from here on; GpuError where a running process cannot."""

    def stop(self) -> None:
        """Give everything back."""


class Emulated:
    """Holds each call for as long as the scenario's truth says; the call's own computing is part of that.

    wait: spends a call's seconds.
    """

    def __init__(
        self, entitled: Entitle, clock: Callable[[], float], *, wait: Callable[[float], object] = hold
    ) -> None:
        self._clock = clock
        self._wait = wait
        self._name = entitled.name
        found = scenario.read(Path(entitled.scenario))
        (card,) = parse_gpus(PREFIX + entitled.card)
        self._truth = Truth(found, card)
        self._memory = entitled.share.memory
        self._loaded: dict[str, int] = {}
        self._most = 0
        self._call = ("", "")
        self._calls = 0

    def takes_turns(self) -> bool:
        """Return False: SMs are shared out."""
        return False

    @contextlib.contextmanager
    def loading(self, stage: str, memory: int) -> Iterator[None]:
        """Take as long as loading the stage's model does; MemoryError where its weights have no room."""
        began = self._clock()
        seconds = self._truth.load_seconds(stage, key=self._name)
        self._loaded[stage] = memory
        try:
            self._check_memory(stage, 0)
            yield
        except BaseException:
            self.unloaded(stage)
            raise
        time.sleep(max(0.0, began + seconds - self._clock()))

    def unloaded(self, stage: str) -> None:
        """Have room for others."""
        self._loaded.pop(stage, None)

    def expected(self, stage: str, count: int, fraction: float) -> float:
        """Return the seconds of this very call, so that it is told from the last one."""
        call = (context().call_id, stage)
        self._calls = self._calls + 1 if call == self._call else 0
        self._call = call
        return self._seconds(stage, count, fraction)

    @contextlib.contextmanager
    def kernel(self, stage: str, count: int, lease: Lease) -> Iterator[None]:
        """Hold the lease for as long as the call takes on what was granted, beside what others hold.

        A call that lasts longer than its lease is several kernels, with the lease renewed between them. MemoryError
        where the batch has no room.
        """
        began = self._clock()
        self._check_memory(stage, count)
        others = self._truth.others(lease.beside)
        seconds = self._seconds(stage, count, self._truth.card.share(lease.sms), others)
        yield
        took = self._clock() - began  # of its first lease
        left = seconds - took
        while left > lease.seconds:
            part, took = max(0.0, lease.seconds - took), 0.0
            self._wait(part)
            left -= part
            lease.renew(timeout=LONGEST_WAIT)
        self._wait(max(0.0, left))

    def options(self) -> Mapping[str, str]:
        """Return none: nothing runs on CUDA."""
        return {}

    def most_held(self) -> int:
        """Return the bytes held at most since this was asked before."""
        most, self._most = max(self._most, self._truth.memory(self._loaded)), 0
        return most

    def moves(self, entitled: Entitle) -> bool:  # noqa: ARG002 - as `options`
        """Return False: nothing runs on CUDA."""
        return False

    def follow(self, entitled: Entitle) -> None:
        """Have other memory; of SMs each lease says what was granted."""
        self._memory = entitled.share.memory

    def stop(self) -> None:
        """Do nothing: there is nothing to give back."""

    def _seconds(self, stage: str, count: int, share: float, others: float = 0.0) -> float:
        key, call = self._call[0], self._calls
        return self._truth.seconds(stage, max(1, count), share, others=others, key=key, call=call)

    def _check_memory(self, stage: str, count: int) -> None:
        """Refuse what a card would; stages that are loaded beside those of the replica's group bring their own."""
        needed = self._truth.memory(self._loaded, stage, count)
        self._most = max(self._most, needed)
        declared = max(self._memory, sum(self._loaded.values()))
        if needed > declared:
            doing = f"to run on {count} at once" if count else "to be loaded"
            raise MemoryError(
                f"out of memory on the emulated {self._truth.card.name}: stage {stage!r} needs "
                f"{math.ceil(needed / MIB)} MiB {doing}, and declared by GPU(memory=...) are {declared // MIB} MiB"
            )


class Real:
    """Runs each call in a lane of a backend, and waits for the device before the lease is given back.

    backend: it carries the share out; makes its first CUDA call here, after its environment was set.
    weights: lends those that lie on the device once for all replicas; None where each has its own.
    """

    def __init__(
        self,
        entitled: Entitle,
        backend: Backend,
        clock: Callable[[], float],
        *,
        weights: Lender | None = None,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._weights = weights
        self._lasts: dict[str, float] = {}
        self._share = _share(entitled)
        os.environ.update(backend.environment(self._share))
        self._lane = backend.lane(self._share)

    def takes_turns(self) -> bool:
        """Whether its backend lets one process work at a time, as where it was demoted from another."""
        return not self._backend.capability.concurrent

    @contextlib.contextmanager
    def loading(self, stage: str, memory: int) -> Iterator[None]:
        """Load the stage's model within the lane, with torch held to the lane's memory; a stage may import it first."""
        del stage, memory
        self._limit()
        with self._in_lane(), contextlib.nullcontext() if self._weights is None else lending(self._weights):
            yield
        self._backend.fence(self._lane)
        self._limit()

    def unloaded(self, stage: str) -> None:
        """Do nothing: what a stage frees is its libraries' to give back."""

    def expected(self, stage: str, count: int, fraction: float) -> float:
        """Return how long the stage's calls have lasted of late."""
        del count, fraction
        return self._lasts.get(stage, FIRST_GUESS)

    @contextlib.contextmanager
    def kernel(self, stage: str, count: int, lease: Lease) -> Iterator[None]:
        """Run in the lane, wait for the device, and learn how long it took."""
        del count, lease
        self._check_weights()
        began = self._clock()
        try:
            with self._in_lane():
                yield
        finally:
            self._fence()
        took = self._clock() - began
        self._lasts[stage] = took + (1 - GAIN) * (self._lasts.get(stage, took) - took)

    def options(self) -> Mapping[str, str]:
        """Return what keeps a session of onnxruntime in the lane."""
        return onnx_options(self._lane)

    def most_held(self) -> int:
        """Return 0: the watchdog asks the driver."""
        return 0

    def moves(self, entitled: Entitle) -> bool:
        """Whether a lane of another share has another stream, in place of the one that sessions keep to."""
        share, before = _share(entitled), self._share
        return bool(self._lane.stream) and (share.part, share.priority) != (before.part, before.priority)

    def follow(self, entitled: Entitle) -> None:
        """Take a lane of another size; GpuError where this backend cannot in a running process."""
        share = _share(entitled)
        if share != self._share:  # another function's replica may have the same
            self._lane = self._backend.resize(self._lane, share)
            self._share = share
            self._limit()

    def stop(self) -> None:
        """Give the lane and the context back."""
        if self._weights is not None:
            self._weights.close()
        self._backend.stop()

    def _limit(self) -> None:
        if (cuda := _torch()) is not None:
            limit_memory(self._lane, cuda)

    def _in_lane(self) -> contextlib.AbstractContextManager[None]:
        cuda = _torch()
        return contextlib.nullcontext() if cuda is None else in_lane(self._lane, cuda)

    def _check_weights(self) -> None:
        """Start no work on memory that is gone; another replica runs the batch."""
        try:
            if self._weights is not None:
                self._weights.check()
        except GpuError as error:
            logger.critical("this replica ends: %s", error)
            raise SystemExit(1) from error

    def _fence(self) -> None:
        """Wait for the device. Where that fails the process is of no use; another one runs its batch again."""
        try:
            self._backend.fence(self._lane)
        except GpuError as error:
            logger.critical("the GPU failed, so this replica ends: %s", error)
            raise SystemExit(1) from error


def _share(entitled: Entitle) -> Allowance:
    wanted = entitled.share
    return Allowance(part=entitled.fraction, memory=wanted.memory, priority=wanted.priority)


def _torch() -> TorchCuda | None:
    """Return torch.cuda if a stage has torch, and it sees a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    cuda: TorchCuda = torch.cuda
    return cuda


def carrier(entitled: Entitle, clock: Callable[[], float]) -> Carrier:
    """Return what carries a replica's leases out.

    Raises:
        SpecError: there is no such backend, or it cannot express the share.
        GpuError: the device or its driver refuses.
    """
    if entitled.backend == EMULATED:
        return Emulated(entitled, clock)
    driver = CudaDriver()
    backend = backend_for_replica(entitled.backend, driver, uuid=entitled.uuid)
    weights = Lender(Path(entitled.path).with_suffix(HOLDER), driver) if backend.capability != MIG else None
    return Real(entitled, backend, clock, weights=weights)
