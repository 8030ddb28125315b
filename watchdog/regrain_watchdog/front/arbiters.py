"""The arbiters of the node's GPUs: served here, or found where another process serves them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from regrain.wire.lease import LeaseError, Status
from regrain_watchdog.front.survey import EMULATED, Found
from regrain_watchdog.gpu.ending import End, Terminator, kill
from regrain_watchdog.gpu.limits import Device, Limits
from regrain_watchdog.gpu.nvml import observers
from regrain_watchdog.gpu.operate import look
from regrain_watchdog.gpu.server import Server

logger = logging.getLogger(__name__)

MPS = "mps"
LOOK = 1.0
"""Seconds between two looks at the books of an arbiter that another process serves."""
NOTHING = Status(epoch=0, sms=0, free_sms=0, memory=0, free_memory=0, members=(), usage=())


class Arbiter(Protocol):
    """An arbiter as the front needs it: where it serves, and its books."""

    @property
    def path(self) -> Path:
        """Return where it serves."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""

    def status(self) -> Status:
        """Return its books."""


class Far:
    """An arbiter that another process serves; its books are read every LOOK seconds, off the event loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._books = NOTHING
        self._looking: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Find it; LeaseError where none serves."""
        self._books = await asyncio.to_thread(look, self.path)
        self._looking = asyncio.ensure_future(self._look())

    def start(self) -> None:
        """Do nothing: it serves already."""

    def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    def status(self) -> Status:
        """Return its books as they were when it last answered."""
        return self._books

    async def _look(self) -> None:
        """Read the books, whatever keeps them from being read for a while; that is said once until they are."""
        told = False
        while True:
            await asyncio.sleep(LOOK)
            try:
                self._books = await asyncio.to_thread(look, self.path)
                told = False
            except (
                Exception
            ) as error:  # of threads that cannot be started, say: books that stay mislead for ever
                if not told:
                    logger.warning("%s", error, exc_info=not isinstance(error, LeaseError))
                told = True


def ending(backend: str) -> End:
    """Return how a replica under a backend is ended."""
    return Terminator() if backend == MPS else kill


def arbiters(
    backend: str, cards: Sequence[Found], paths: Sequence[Path], *, far: bool, hang: float
) -> Sequence[Arbiter]:
    """Return the arbiter of each device: where another process serves it (`far`), or one of our own; as `servers`."""
    return [Far(path.absolute()) for path in paths] if far else servers(backend, cards, paths, hang=hang)


def servers(backend: str, cards: Sequence[Found], paths: Sequence[Path], *, hang: float) -> list[Server]:
    """Return an arbiter for each device, not yet started; `hang`: as `Limits`.

    Real ones are audited where the driver says who holds what; not under MPS (gpu/nvml.py).
    """
    audited = backend not in (EMULATED, MPS)
    seen = observers([card.uuid for card in cards]) if audited else [None for _ in cards]
    limits, end = Limits(hang=hang), ending(backend)
    return [
        Server(path, Device(sms=card.sms, memory=card.memory), limits=limits, observer=observer, end=end)
        for path, card, observer in zip(paths, cards, seen, strict=True)
    ]
