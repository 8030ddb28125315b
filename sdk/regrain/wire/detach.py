"""Tell what a stage gave from what it keeps, before it is called again in the same run.

Packed, a result is as it was when it was given. In a fused group it waits for the results of other requests, and a
stage that fills a buffer of its own and gives it back changes it meanwhile. Who else holds memory is told by the
references to it: where only the result refers to it, nothing is copied.
"""

from __future__ import annotations

import ctypes
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from regrain.errors import UnsupportedValueError
from regrain.lazy_numpy import Array, is_array, is_exactly_array
from regrain.wire.codec import renew
from regrain.wire.tensors import is_dense, is_tensor, own, storage, uses

_COUNTING = next(map(sys.getrefcount, {0: object()}.values()))
"""References to a thing that nobody has but those who count them."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A value that could not be copied, such as for want of memory."""

    error: Exception


def detach(held: list[object], handed: Iterable[object]) -> list[object]:
    """Empty a list of values; return them in containers of their own, and in memory that nobody else holds.

    What cannot travel is returned as it is, for it is refused when it is packed; `Lost` is what cannot be copied.

    The list alone may refer to the values. handed: what their stage was given. Nobody changes the arrays of that, so
    what is handed on of them is not copied.
    """
    memory = _Memory(handed)
    values = [memory.look_through(held.pop(0)) for _ in range(len(held))]
    return [_apart(value, memory) for value in values] if memory.is_kept() else values


def _apart(value: object, memory: _Memory) -> object:
    if isinstance(value, Lost):
        return value
    try:
        return renew(value, memory.apart)
    except UnsupportedValueError:
        return value
    except Exception as error:  # of its memory, or of whatever a device says
        return Lost(error)


class _Memory:
    """What the arrays and tensors of some values lie in, and how often these themselves refer to each of it."""

    def __init__(self, handed: Iterable[object]) -> None:
        self._handed = handed
        self._things: dict[int, object] = {}
        self._references: Counter[int] = Counter()
        self._tensors: Counter[int] = Counter()
        self._kept: set[int] = set()

    def look_through(self, value: object) -> object:
        """Count the leaves of a value; return it in containers of its own, or `Lost`, or as it is if it cannot travel.

        Without such containers a leaf has fewer references than were counted, so all that was met is taken for held.
        """
        try:
            return renew(value, self._meet)
        except Exception as error:  # of memory, or a stage's thread changes the value meanwhile
            self._references.clear()
            return value if isinstance(error, UnsupportedValueError) else Lost(error)

    def _meet(self, leaf: object) -> object:
        with suppress(Exception):  # of tensors that have no memory, which are refused when they are packed
            if self._may_change(leaf):
                self._refer(leaf)
        return leaf

    def is_kept(self) -> bool:
        """Whether others hold any of it too, now that all leaves were met."""
        counts = zip(self._things, map(sys.getrefcount, self._things.values()), strict=True)
        held = {key for key, count in counts if count > self._references[key] + _COUNTING}
        self._kept = {key for key, thing in self._things.items() if self._is_held(thing, held)}
        return bool(self._kept)

    def apart(self, leaf: object) -> object:
        """Return a leaf that others hold as a copy, any other as it is."""
        if id(leaf) not in self._kept:
            return leaf
        if is_tensor(leaf):
            return own(leaf)
        return leaf.copy(order="K") if is_exactly_array(leaf) else leaf

    @cached_property
    def _bases(self) -> set[int]:
        return _bases(self._handed)

    def _may_change(self, leaf: object) -> bool:
        if not is_exactly_array(leaf):
            return is_tensor(leaf) and is_dense(leaf)
        base = leaf.base
        if leaf.flags.writeable or not is_array(base) or not base.flags.writeable:
            return leaf.flags.writeable
        return id(base) not in self._bases  # a read-only view of what the stage can write to

    def _refer(self, thing: object) -> None:
        """Count a reference to a thing, and the first time those that it has to what it lies in itself."""
        if id(thing) not in self._things:
            if is_tensor(thing):
                self._tensors[storage(thing)] += 1
            self._things[id(thing)] = thing
            if is_array(thing) and thing.base is not None:
                self._refer(thing.base)
        self._references[id(thing)] += 1

    def _is_held(self, thing: object, held: set[int], *, lent: bool = False) -> bool:
        """Whether others hold a thing or what it lies in, or that cannot be seen. lent: whether an array lies in it."""
        if id(thing) in held:
            return True
        if is_tensor(thing):
            return uses(thing, lent=lent) > self._tensors[storage(thing)]
        if is_array(thing) and thing.base is not None:
            return self._is_held(thing.base, held, lent=True)
        return not (thing.flags.owndata if is_array(thing) else _gives_away(thing))


def _gives_away(thing: object) -> bool:
    """Whether a thing is a capsule without a name: so libraries such as onnxruntime give away an array that they made.

    Those that lend memory (DLPack) give their capsules one.
    """
    return bool(ctypes.pythonapi.PyCapsule_IsValid(ctypes.py_object(thing), None))


def _bases(values: Iterable[object]) -> set[int]:
    """Return what the arrays among some values are views of, by id."""
    found: list[Array] = []

    def note(leaf: object) -> object:
        if is_exactly_array(leaf):
            found.append(leaf)
        return leaf

    for value in values:
        renew(value, note)
    return {id(array.base) for array in found}
