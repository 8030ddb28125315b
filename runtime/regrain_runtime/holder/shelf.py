"""What a holder has in a device's memory, and who has it mapped.

To free memory that others have mapped is undefined behaviour, so only what nobody has goes: after a while, since the
next replica is often on its way, or at once when its room is needed for other weights.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from mmap import mmap

from regrain.errors import SpecError
from regrain_runtime.gpu.driver import DriverError, Memory

logger = logging.getLogger(__name__)

FULL = "CUDA_ERROR_OUT_OF_MEMORY"


@dataclass(slots=True, kw_only=True)
class _Held:
    """Weights in the device's memory. idle: since when nobody has them, in seconds of the caller's clock."""

    address: int
    nbytes: int
    handle: bytes
    readers: set[int] = field(default_factory=set)
    idle: float = 0.0


class Shelf:
    """Weights in the memory of one device, by key. Readers are numbers of the caller's choice.

    memory: the driver's calls. ordinal: of the device. grace: seconds that weights stay which nobody has.
    """

    def __init__(self, memory: Memory, ordinal: int, *, grace: float) -> None:
        """Take the device; GpuError if it is not to be had."""
        self._memory = memory
        self._ordinal = ordinal
        self._grace = grace
        self._held: dict[str, _Held] = {}
        self._context = memory.retain(ordinal)

    @property
    def nbytes(self) -> int:
        """Bytes of the device's memory that are held."""
        return sum(held.nbytes for held in self._held.values())

    def lend(self, key: str, nbytes: int, reader: int, data: mmap | None) -> bytes | None:
        """Return the handle of weights for a reader; None where they are not here and no data came along.

        Raises:
            GpuError: the driver refuses, such as for want of room.
            SpecError: the weights of this key, or the data, have another size.
        """
        held = self._held.get(key)
        if held is None:
            if data is None:
                return None
            if len(data) != nbytes:
                raise SpecError(f"{key} is said to have {nbytes} bytes, its file has {len(data)}")
            held = self._held[key] = self._copied(data)
            logger.info("weights on GPU: %s, %d bytes", key, nbytes)
        if held.nbytes != nbytes:
            raise SpecError(f"{key} has {held.nbytes} bytes here, not {nbytes}")
        held.readers.add(reader)
        return held.handle

    def give_back(self, reader: int, now: float, key: str | None = None) -> None:
        """Take note that a reader has unmapped the weights of a key, or has gone."""
        for name, held in self._held.items():
            if key in (None, name) and reader in held.readers:
                held.readers.discard(reader)
                held.idle = now

    def sweep(self, now: float) -> None:
        """Free what nobody has had for the time of grace."""
        self._free([key for key, held in self._idle() if now >= held.idle + self._grace])

    def due(self) -> float | None:
        """Return when `sweep` has something to free next; None where everything is in use."""
        return min((held.idle + self._grace for _, held in self._idle()), default=None)

    def close(self) -> None:
        """Free all, and give the device back."""
        self._free(list(self._held))
        self._memory.release(self._ordinal)

    def _copied(self, data: mmap) -> _Held:
        address = self._allocated(len(data))
        try:
            self._memory.fill(self._context, address, data)
            handle = self._memory.export(self._context, address)
        except BaseException:
            self._memory.free(self._context, address)
            raise
        return _Held(address=address, nbytes=len(data), handle=handle)

    def _allocated(self, nbytes: int) -> int:
        try:
            return self._memory.allocate(self._context, nbytes)
        except DriverError as error:
            idle = [key for key, _ in self._idle()]
            if error.code != FULL or not idle:
                raise
            self._free(idle)
            return self._memory.allocate(self._context, nbytes)

    def _idle(self) -> list[tuple[str, _Held]]:
        return [(key, held) for key, held in self._held.items() if not held.readers]

    def _free(self, keys: list[str]) -> None:
        for key in keys:
            self._memory.free(self._context, self._held.pop(key).address)
            logger.info("weights freed on GPU: %s", key)
