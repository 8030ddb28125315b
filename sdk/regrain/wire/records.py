"""Dataclasses on the wire: named by module and qualified name, carried field by field.

A name from outside never imports anything and never runs code of the class: it is looked up among the modules
that are imported already, must be a dataclass with exactly these fields, and is filled by setting them.
"""

from __future__ import annotations

import dataclasses
import operator
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from regrain.errors import UnsupportedValueError

_MARK = "__dataclass_fields__"
_NOTHING: Mapping[str, object] = {}


def is_record(value: object) -> bool:
    """Whether a value is an instance of a dataclass, or of a class that extends one."""
    return hasattr(type(value), _MARK)


def type_name(value: object) -> str:
    """Return a value's type for a message, such as "set" or "pathlib.PosixPath"."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class _Shape(NamedTuple):
    """A dataclass as it travels."""

    kind: type
    name: str
    fields: tuple[str, ...]


@lru_cache(maxsize=1024)
def _shape(kind: type) -> _Shape:
    """Return a dataclass' shape; UnsupportedValueError if none could build it again."""
    name = f"{kind.__module__}:{kind.__qualname__}"
    if _MARK not in vars(kind):
        raise UnsupportedValueError(f"{name} (extends a dataclass, but is none itself)")
    if _look_up(name) is not kind:
        raise UnsupportedValueError(f"{name} (a dataclass that is not to be found by this name)")
    try:
        object.__new__(kind)
    except TypeError:
        raise UnsupportedValueError(f"{name} (a dataclass that extends a built-in type)") from None
    return _Shape(kind, name, tuple(field.name for field in dataclasses.fields(kind)))


def _look_up(name: str) -> object:
    module, _, qualified = name.partition(":")
    found: object = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, "__dict__", _NOTHING).get(part)  # what it has, not what it would make for us
    return found


def take_apart(value: object) -> tuple[str, tuple[str, ...], list[object]]:
    """Return a dataclass instance's name on the wire, its fields and their values.

    UnsupportedValueError if no process could build it again by that name, or a field cannot be read.
    """
    kind: type = type(value)
    shape = _shape(kind)
    try:
        return shape.name, shape.fields, [getattr(value, field) for field in shape.fields]
    except Exception as error:  # a field may be a property, and raise anything
        raise UnsupportedValueError(f"{shape.name} without one of its fields ({error})") from None


def build(name: str, fields: list[object], values: list[object]) -> object:
    """Return an instance of the dataclass of that name with these values.

    UnsupportedValueError if this process has imported no such dataclass, or one with other fields.
    """
    kind = _look_up(name)
    if not isinstance(kind, type) or _MARK not in vars(kind):
        raise UnsupportedValueError(f"{name[:200]!r} is no dataclass that this process has imported")
    shape = _shape(kind)
    if tuple(fields) != shape.fields:
        raise UnsupportedValueError(
            f"{name!r} came with the fields {fields}, here it has {list(shape.fields)}"
        )
    return _fill(shape, values)


def _fill(shape: _Shape, values: list[object]) -> object:
    made: object = object.__new__(shape.kind)
    put = object.__setattr__
    for field, value in zip(shape.fields, values, strict=True):
        put(made, field, value)
    return made


def change(value: object, by: Callable[[object], object]) -> object:
    """Return a dataclass instance with `by` applied to its fields; the same one if that changes none.

    UnsupportedValueError if it could not travel.
    """
    _, _, before = take_apart(value)
    after = [by(item) for item in before]
    kind: type = type(value)
    return value if all(map(operator.is_, before, after)) else _fill(_shape(kind), after)


def renew(value: object, by: Callable[[object], object]) -> object:
    """Return another dataclass instance with `by` applied to its fields; the same one if it could not travel."""
    try:
        _, _, before = take_apart(value)
    except UnsupportedValueError:
        return value
    kind: type = type(value)
    return _fill(_shape(kind), [by(item) for item in before])
