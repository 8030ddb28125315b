"""The room that calls leave on their disk: for what becomes of those that were accepted, and for everybody else."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from regrain.errors import RequestError

logger = logging.getLogger(__name__)

RESERVE = 64 << 20
"""Bytes of the disk that calls do not take."""
PART = 16
"""And no more than this part of it: one in so many."""
MIB = 1 << 20


class Disk(Protocol):
    """Bytes of a disk, as shutil.disk_usage tells them."""

    @property
    def total(self) -> int:
        """All of it."""

    @property
    def free(self) -> int:
        """What may be written to it."""


class Room:
    """Says whether there is room for a call, and tells the log when that changes.

    Args:
        folder: on the disk.
        look: tells how full it is.
    """

    def __init__(self, folder: Path, look: Callable[[Path], Disk] = shutil.disk_usage) -> None:
        self._folder = folder
        self._look = look
        self._is_short = False

    def require(self, reusable: int = 0) -> None:
        """Raise RequestError 507 where less than the reserve is left, whatever the call's size.

        reusable: bytes that calls before it have left in their file, which stays as large as it was.
        """
        disk = self._look(self._folder)
        reserve = _reserve(disk)
        free = disk.free + reusable
        left = f"{free / MIB:.1f} MiB of the disk of {self._folder} are left"
        self._tell(free < reserve, left)
        if self._is_short:
            detail = f"this could not be kept: {left}, and {reserve / MIB:.1f} MiB stay free"
            raise RequestError(HTTPStatus.INSUFFICIENT_STORAGE, detail)

    def takes(self, nbytes: int, reusable: int = 0) -> bool:
        """Whether half of the reserve is left after so many bytes of a call that was accepted; `reusable` as there."""
        disk = self._look(self._folder)
        return disk.free + reusable - nbytes >= _reserve(disk) // 2

    def _tell(self, is_short: bool, left: str) -> None:
        was_short, self._is_short = self._is_short, is_short
        if is_short and not was_short:
            logger.error("calls to be run later are refused until there is room again: %s", left)
        elif was_short and not is_short:
            logger.info("calls to be run later are accepted again")


def _reserve(disk: Disk) -> int:
    """Return the bytes that further calls leave free."""
    return min(RESERVE, disk.total // PART)
