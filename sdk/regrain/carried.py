"""Tell types that travel from those of which there is no more than a schema.

msgspec describes and reads dates, sets and enumerations, but none of them can be handed to a stage
(`regrain.wire.codec`): each request that brings one would fail, as if its caller had made a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from types import UnionType
from typing import Union, get_args, get_origin

from msgspec import inspect as kinds

from regrain.errors import UnsupportedValueError

_KEYS = (
    kinds.AnyType,
    kinds.NoneType,
    kinds.BoolType,
    kinds.IntType,
    kinds.FloatType,
    kinds.StrType,
    kinds.BytesType,
    kinds.LiteralType,
    kinds.UnionType,
    kinds.Metadata,
    kinds.CustomType,  # any class that msgspec does not know: whoever wants a schema of it has to give one
)
_VALUES = (
    *_KEYS,
    kinds.ListType,
    kinds.VarTupleType,
    kinds.TupleType,
    kinds.DictType,
    kinds.TypedDictType,
    kinds.DataclassType,
)
_NAMES = {kinds.UUIDType: "UUID", kinds.DecimalType: "Decimal", kinds.VarTupleType: "tuple"}
"""Types that are not called as msgspec's kind of them is, in lower case."""


def check_type(annotation: object) -> None:
    """Raise UnsupportedValueError, which is the name of it, where a type is one that cannot travel, or holds one.

    TypeError and NameError come from msgspec, about what it cannot take for a type.
    """
    _check(kinds.type_info(annotation), is_key=False)


def check_key(annotation: object) -> None:
    """Raise as `check_type` does where the keys of a dict are of a type that cannot travel as one."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    for member in members:  # one by one: msgspec knows no union of str and bytes
        _check(kinds.type_info(member), is_key=True)


def _check(root: kinds.Type, *, is_key: bool) -> None:
    waiting = [(root, is_key)]
    seen: set[tuple[int, bool]] = set()  # a type may hold itself
    while waiting:
        kind, is_key = waiting.pop()
        if (id(kind), is_key) in seen:
            continue
        seen.add((id(kind), is_key))
        if not isinstance(kind, _KEYS if is_key else _VALUES) or _is_foreign(kind):
            raise UnsupportedValueError(f"{_name(kind)} as a key" if is_key else _name(kind))
        waiting += _held(kind, is_key=is_key)


def _is_foreign(kind: kinds.Type) -> bool:
    """Whether it is a class of attrs, which msgspec takes for a dataclass."""
    return isinstance(kind, kinds.DataclassType) and not is_dataclass(get_origin(kind.cls) or kind.cls)


def _held(kind: kinds.Type, *, is_key: bool) -> Iterator[tuple[kinds.Type, bool]]:
    """Yield what values of a type hold, and whether it is a key there."""
    match kind:
        case kinds.Metadata():
            yield kind.type, is_key
        case kinds.UnionType():
            yield from ((member, is_key) for member in kind.types)
        case kinds.ListType() | kinds.VarTupleType():
            yield kind.item_type, False
        case kinds.TupleType():
            yield from ((item, False) for item in kind.item_types)
        case kinds.DictType():
            yield kind.key_type, True
            yield kind.value_type, False
        case kinds.TypedDictType() | kinds.DataclassType():
            yield from ((field.type, False) for field in kind.fields)


def _name(kind: kinds.Type) -> str:
    own = getattr(kind, "cls", None)
    if own is not None:
        return str((get_origin(own) or own).__qualname__)
    return _NAMES.get(type(kind)) or type(kind).__name__.removesuffix("Type").lower()
