"""Dataclasses on the wire: named by module and qualified name, carried field by field.

A name from outside never imports anything and never runs code of the class: it is looked up among the modules
that are imported already, must be a dataclass with exactly these fields, and is filled by setting them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache

from regrain.errors import UnsupportedValueError
from regrain.wire.frames import FrameError

MARK = "__dataclass_fields__"


def is_record(value: object) -> bool:
    """Whether a value is an instance of a dataclass."""
    return hasattr(type(value), MARK)


def type_name(value: object) -> str:
    """Return a value's type for a message, such as "set" or "pathlib.PosixPath"."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def describe(value: object) -> tuple[str, tuple[str, ...]]:
    """Return a dataclass instance's name on the wire and its fields; UnsupportedValueError if none finds it."""
    name, found = _describe(type(value))
    return name, found


@lru_cache(maxsize=1024)
def _describe(kind: type) -> tuple[str, tuple[str, ...]]:
    name = f"{kind.__module__}:{kind.__qualname__}"
    if MARK not in vars(kind):
        raise UnsupportedValueError(f"{name}, which extends a dataclass and is none itself,")
    if _look_up(name) is not kind:
        raise UnsupportedValueError(
            f"{name}, a dataclass that cannot be found by its name (made inside a function),"
        )
    try:
        object.__new__(kind)
    except TypeError:
        raise UnsupportedValueError(f"{name}, a dataclass that extends a built-in type,") from None
    return name, _fields(kind)


@lru_cache(maxsize=1024)
def _fields(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _look_up(name: str) -> object:
    module, _, qualified = name.partition(":")
    found: object = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found


def build(name: str, values: dict[str, object]) -> object:
    """Return an instance of the dataclass of that name with these values.

    Raises:
        UnsupportedValueError: this process has imported no such dataclass, or it has other fields.
    """
    kind = _look_up(name)
    if not isinstance(kind, type) or MARK not in vars(kind):
        raise UnsupportedValueError(
            f"a value holds {name!r}, which is no dataclass that this process has imported"
        )
    if values.keys() != set(_fields(kind)):
        raise UnsupportedValueError(
            f"a value holds {name!r} with the fields {sorted(values)}, here it has others"
        )
    return _fill(kind, values)


def _fill(kind: type, values: dict[str, object]) -> object:
    try:
        made: object = object.__new__(kind)
    except TypeError as error:
        raise FrameError(f"{kind.__qualname__} is not built field by field: {error}") from error
    put = object.__setattr__
    for field, value in values.items():
        put(made, field, value)
    return made


def rebuild(value: object, change: Callable[[object], object]) -> object:
    """Return a dataclass instance with `change` applied to its fields; the same one if nothing changed."""
    kind = type(value)
    before = {field: getattr(value, field) for field in _fields(kind)}
    after = {field: change(item) for field, item in before.items()}
    if all(after[field] is item for field, item in before.items()):
        return value
    return _fill(kind, after)
