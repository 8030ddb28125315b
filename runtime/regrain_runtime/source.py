"""Import an app's own modules from their source as it is now, and keep what was read.

Python tells bytecode that it has cached by the second and the size of its source. Of two versions that were written
within a second the later one would run as the earlier one, under the later one's digest.
"""

from __future__ import annotations

import importlib.util
import linecache
import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType

PACKAGES = "site-packages"
"""Folder of what is installed: it does not change under us, and its bytecode is worth having."""


class Loader(SourceFileLoader):
    """Loads one module.

    Attributes:
        source: what was compiled; b"" before.
    """

    source = b""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the module; whoever asks for its lines later gets those that were compiled."""
        path = self.get_filename(fullname)
        self.source = self.get_data(path)
        code: CodeType = self.source_to_code(self.source, path)
        text = importlib.util.decode_source(self.source)
        linecache.cache[path] = len(text), None, text.splitlines(keepends=True), path
        return code


def import_from(folder: Path) -> None:
    """Import modules of a folder, and of those in it, by `Loader` from here on."""

    def find(entry: str) -> FileFinder:
        path = Path(entry)
        if not path.is_relative_to(folder) or PACKAGES in path.parts or not path.is_dir():
            raise ImportError(f"{entry} is no folder of the app's own")
        return FileFinder(entry, (ExtensionFileLoader, EXTENSION_SUFFIXES), (Loader, SOURCE_SUFFIXES))

    sys.path_hooks.insert(0, find)
    sys.path_importer_cache.pop(str(folder), None)


def imported_from(folder: Path) -> dict[Path, bytes]:
    """Return the files of the modules that were imported from a folder, sorted, with what was read of each."""
    files: dict[Path, bytes] = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        path = Path(file).resolve() if file else None
        if path and path.is_relative_to(folder) and PACKAGES not in path.parts and path.is_file():
            files[path] = _read(module, path)
    return dict(sorted(files.items()))


def _read(module: ModuleType, path: Path) -> bytes:
    loader = getattr(module, "__loader__", None)
    return loader.source if isinstance(loader, Loader) else path.read_bytes()
