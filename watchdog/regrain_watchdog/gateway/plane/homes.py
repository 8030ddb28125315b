"""The folders of functions that see no file system of their own: temporary files, and the secrets of each version."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from regrain_watchdog.gateway.plane.route import Key


class Homes:
    """The homes in a folder, which sandboxes make as they are needed.

    Args:
        folder: of all homes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, key: Key) -> Path:
        """Return where a function's is."""
        namespace, name = key
        return self._folder / namespace / name

    def clear(self) -> None:
        """Remove the secrets that versions of a front before this one have left."""
        for path in self._folder.glob("*/*/secrets"):
            shutil.rmtree(path, ignore_errors=True)

    def keep(self, keys: Collection[Key]) -> None:
        """Remove those of other functions."""
        kept = {self.of(key) for key in keys}
        for path in self._folder.glob("*/*"):
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)
