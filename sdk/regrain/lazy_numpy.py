"""numpy as `np`, imported when something of it is first used, and what is an array, told without importing it.

Most functions deal in bytes and JSON, and numpy would be more than half of their memory and of their start. A value can
be an array only where numpy is imported, so whoever asks that asks among the modules that are imported already.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Array", "array_kinds", "is_array", "is_exactly_array", "is_scalar", "np"]

Array: TypeAlias = "npt.NDArray[np.generic]"


def array_kinds() -> tuple[type, ...]:
    """Return the class of arrays; none where numpy is not imported."""
    kind = getattr(
        sys.modules.get("numpy"), "ndarray", None
    )  # one that another thread imports may lack it yet
    return () if kind is None else (kind,)


def is_array(value: object) -> TypeGuard[Array]:
    """Whether a value is an array, or of a class that extends one."""
    return isinstance(value, array_kinds())


def is_exactly_array(value: object) -> TypeGuard[Array]:
    """Whether a value is an array, and of no class that extends one."""
    return type(value) in array_kinds()


def is_scalar(value: object) -> TypeGuard[np.generic]:
    """Whether a value is one of numpy's scalars."""
    return isinstance(value, getattr(sys.modules.get("numpy"), "generic", ()))


class _Numpy:
    """Stands for the module."""

    def __getattr__(self, name: str) -> object:
        found: object = getattr(import_module("numpy"), name)
        setattr(self, name, found)  # asked for once
        return found


if not TYPE_CHECKING:
    np = _Numpy()
