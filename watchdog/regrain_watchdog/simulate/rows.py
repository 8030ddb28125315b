"""The engine's arrays as the kernel sees them: one record of addresses, from which each is found by its name.

numba hands a tuple of arrays from function to function by value, some three hundred words; with it the kernel took
minutes to compile and two hundred times as long to run. So functions hand on one pointer, `s`, and say `stations(s)`.
The arrays must outlive the call; `State`, which Python holds, sees to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ctypes import c_void_p
from typing import TypeVar

import numpy as np
from llvmlite.ir import IRBuilder, Value  # type: ignore[import-untyped]  # it ships no types
from numba import carray, types  # type: ignore[attr-defined]  # its types leave carray out
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from regrain_watchdog.simulate.compiled import compiled
from regrain_watchdog.simulate.state import (
    CALLED,
    DISPATCHES,
    EVENT,
    LEARNED,
    PLANS,
    POOLS,
    SERVERS,
    SLOTS,
    STATIONS,
    WAITING,
    WORKS,
    State,
)

S = TypeVar("S", bound=np.generic)

Memory = np.void
"""The record of addresses; `s` in the kernel."""

LAYOUT = np.dtype([(f"{name}{what}", "i8") for name in State._fields for what in ("", "_rows", "_columns")])


def addresses(state: State) -> NDArray[np.void]:
    """Return where a state's arrays are: one record, which holds as long as the state is neither changed nor let go."""
    found = np.zeros(1, LAYOUT)
    for name in State._fields:
        array: NDArray[np.generic] = getattr(state, name)
        if not array.flags.c_contiguous:
            raise ValueError(f"the kernel needs {name} in one piece")
        found[name] = array.ctypes.data
        found[f"{name}_rows"] = len(array)
        found[f"{name}_columns"] = array.shape[1] if array.ndim > 1 else 0
    return found


def _as_pointer(_context: object, address: types.Type) -> tuple[object, object]:
    def generate(_context: object, builder: IRBuilder, _signature: object, args: Sequence[Value]) -> Value:
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


_pointer: Callable[[int], c_void_p] = intrinsic(_as_pointer)  # type: ignore[assignment]  # numba gives the context itself


def _column(name: str, dtype: np.dtype[S]) -> Callable[[Memory], NDArray[S]]:
    count = f"{name}_rows"

    def find(s: Memory) -> NDArray[S]:
        found: NDArray[S] = carray(_pointer(s[name]), (s[count],), dtype)
        return found

    return compiled(find)


def _table(name: str, dtype: np.dtype[S]) -> Callable[[Memory], NDArray[S]]:
    count, columns = f"{name}_rows", f"{name}_columns"

    def find(s: Memory) -> NDArray[S]:
        found: NDArray[S] = carray(_pointer(s[name]), (s[count], s[columns]), dtype)
        return found

    return compiled(find)


_FLOAT, _INTEGER = np.dtype(np.float64), np.dtype(np.int64)

plans = _column("plans", PLANS)
stations = _column("stations", STATIONS)
works = _column("works", WORKS)
learned = _column("learned", LEARNED)
pools = _column("pools", POOLS)
seconds = _column("seconds", _FLOAT)
called = _column("called", CALLED)
sizes = _column("sizes", _FLOAT)
following = _column("following", _INTEGER)
members = _column("members", _INTEGER)
expected = _column("expected", _FLOAT)
safe = _column("safe", _FLOAT)
lasting = _column("lasting", _FLOAT)
costs = _column("costs", _FLOAT)
whole = _column("whole", _FLOAT)
urgency = _column("urgency", _FLOAT)
takes = _column("takes", _FLOAT)
slots = _column("slots", SLOTS)
free_slots = _column("free_slots", _INTEGER)
free_dispatches = _column("free_dispatches", _INTEGER)
events = _column("events", EVENT)
dispatches = _column("dispatches", DISPATCHES)
at = _column("at", _FLOAT)
size = _column("size", _FLOAT)
outcome = _column("outcome", np.dtype(np.int8))
finish = _column("finish", _FLOAT)
counts = _column("counts", _INTEGER)
clock = _column("clock", _FLOAT)
seed = _column("seed", np.dtype(np.uint64))
after = _table("after", _INTEGER)
servers = _table("servers", SERVERS)
free = _table("free", _FLOAT)
cards = _table("cards", _FLOAT)
lines = _table("lines", WAITING)
late = _table("late", WAITING)
left = _table("left", np.dtype(np.int32))
missing = _table("missing", np.dtype(np.int32))
seen = _table("seen", np.dtype(np.int8))
units = _table("units", _INTEGER)
widths = _table("widths", np.dtype(np.int32))
