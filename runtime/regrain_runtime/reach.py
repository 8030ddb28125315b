"""What a stage's code reaches in the app's own files, so that its digest changes when a helper or a constant does.

A profile is kept by these digests. Code of other packages counts as unchanging here, as do values other than constants.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from regrain.body import source_of
from regrain.stage import Stage

CONSTANTS = (bool, int, float, str, bytes, type(None))


def digests(stages: Iterable[Stage[..., object]], own: Collection[Path]) -> dict[str, str]:
    """Return by stage 16 hex digits that change when it does, or what it reaches in the app's own files.

    Args:
        stages: of the app.
        own: the app's files.
    """
    book = _Book(frozenset(own))
    found = {}
    for stage in stages:
        reached = _Reached(book)
        reached.enter(stage.source)
        if len(reached.found) > 1:  # more than itself, which its own digest is of
            parts = (stage.spec.digest, *sorted(reached.found.values()))
            found[stage.name] = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
        else:
            found[stage.name] = stage.spec.digest
    return found


class _Book:
    """What is looked up once for all stages: which modules are the app's own, and the sources of what they hold."""

    def __init__(self, own: frozenset[Path]) -> None:
        self._own = own
        self._modules: dict[str, bool] = {}
        self._sources: dict[str, str] = {}

    def has(self, module: str) -> bool:
        """Whether a module is of the app's own files."""
        if module not in self._modules:
            file = getattr(sys.modules.get(module), "__file__", None)
            self._modules[module] = file is not None and Path(file).resolve() in self._own
        return self._modules[module]

    def source(self, name: str, thing: Callable[..., object]) -> str:
        """Return the source of a function or class under its qualified name."""
        if name not in self._sources:
            self._sources[name] = f"{name} {source_of(thing)}"
        return self._sources[name]


class _Reached:
    """What code leads to.

    Attributes:
        found: by qualified name, the source of a function or class, or the value of a constant.
    """

    def __init__(self, book: _Book) -> None:
        self._book = book
        self.found: dict[str, str] = {}

    def enter(self, thing: object) -> None:
        """Add a function or class of the app's own files, and all that it leads to."""
        if not isinstance(thing, FunctionType | type) or not self._book.has(thing.__module__):
            return
        name = f"{thing.__module__}:{thing.__qualname__}"
        if name in self.found:
            return
        self.found[name] = self._book.source(name, thing)
        if isinstance(thing, type):
            for base in thing.__mro__[1:]:
                self.enter(base)
        for function in _functions(thing):
            self._follow(function)

    def _follow(self, function: FunctionType) -> None:
        names = set(_names(function.__code__))
        for name in names & function.__globals__.keys():
            self._meet(f"{function.__module__}:{name}", function.__globals__[name], names)

    def _meet(self, name: str, value: object, names: set[str]) -> None:
        """Add what a name stands for; of a module of the app's own, those of its names that are used."""
        if isinstance(value, ModuleType):
            if self._book.has(value.__name__):
                for inner in names & vars(value).keys():
                    self._meet(f"{value.__name__}:{inner}", getattr(value, inner), set())
        elif _is_constant(value):
            self.found[name] = f"{name} {value!r}"
        else:
            self.enter(value)


def _functions(thing: FunctionType | type) -> Iterator[FunctionType]:
    """Yield a function without what is wrapped around it, or a class' own functions."""
    if isinstance(thing, FunctionType):
        plain = inspect.unwrap(thing)
        if isinstance(plain, FunctionType):
            yield plain
        return
    for value in vars(thing).values():
        held = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if isinstance(held, FunctionType):
            yield from _functions(held)


def _names(code: CodeType) -> Iterator[str]:
    """Yield every global or attribute that code names, and the code within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_constant(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return isinstance(value, CONSTANTS)
