"""A device's primary context, the one that torch and onnxruntime use: held while a backend is at work."""

from __future__ import annotations

from regrain_runtime.gpu.backend import Allowance, Lane
from regrain_runtime.gpu.driver import Device, Driver, GpuError


class Primary:
    """The primary context of one device, which is retained at its first use.

    uuid: of the GPU that this has to be; "" where any will do, and for a MIG instance, whose driver may tell its GPU's.
    """

    def __init__(self, driver: Driver, ordinal: int, *, uuid: str = "") -> None:
        self._driver = driver
        self._uuid = uuid
        self.ordinal = ordinal
        self._context: int | None = None

    def start(self) -> Device:
        """Return the device, with its context retained; GpuError if it is another one than it has to be."""
        device = self._driver.device(self.ordinal)
        if self._uuid and device.uuid not in ("", self._uuid):
            raise GpuError(
                f"this process sees {device.uuid} and was given {self._uuid}: CUDA was used before it was told which "
                "GPU is its own, as when a module asks torch.cuda.is_available() while it is imported"
            )
        if self._context is None:
            self._context = self._driver.retain(self.ordinal)
        return device

    def lane(self, share: Allowance, *, sms: int | None = None, memory: int | None = None) -> Lane:
        """Return the whole context as a lane.

        Args:
            share: what is asked for.
            sms: how many SMs that is; None for those that the process sees.
            memory: bytes that may be allocated; None for what is asked for.
        """
        device = self.start()
        return Lane(
            device=self.ordinal,
            stream=0,
            sms=device.sms if sms is None else sms,
            short=0,
            memory=share.memory if memory is None else memory,
            device_memory=device.memory,
        )

    def fence(self) -> None:
        """Wait until everything that was started in the context has ended."""
        if self._context is None:
            raise GpuError("the lane is closed: its backend was stopped")
        self._driver.finish(self._context)

    def stop(self) -> None:
        """Release the context."""
        if self._context is not None:
            self._context = None
            self._driver.release(self.ordinal)
