"""Compile functions, those of `policy` as they are among them, and keep what was compiled where that is possible.

Only entries are kept on disk: what they call is compiled into them. numba looks at nothing but the entry's own file to
tell whether a kept one is stale, so an entry's key holds a digest of every source that goes into it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from numba import njit
from numba.extending import register_jitable

R = TypeVar("R")


def compiled(function: Callable[..., R]) -> Callable[..., R]:
    """Compile a function; those that call it take it in. Keyword-only arguments are then given by position."""
    made: Callable[..., R] = njit(function)
    return made


def callable_as_is(function: Callable[..., object]) -> None:
    """Let compiled functions call a plain one by its own name."""
    register_jitable(function)


def entry(function: Callable[..., R]) -> Callable[..., R]:
    """Compile a function that Python calls, and keep it on disk; in memory alone where no folder can be written.

    It must be a closure over a digest of its sources, since numba's key covers what a function closes over.
    """
    try:
        made: Callable[..., R] = njit(function, cache=True)
    except RuntimeError:  # "no locator available": the package and the user's cache folder are read-only
        made = njit(function)
    return made


def digest(modules: Iterable[ModuleType]) -> int:
    """Return a number that differs if a source of these modules does."""
    found = 0
    for module in modules:
        path = Path(module.__file__ or "")
        found = zlib.crc32(path.read_bytes() if path.is_file() else module.__name__.encode(), found)
    return found
