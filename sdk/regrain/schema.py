"""Types of the user's functions as schemas, and JSON values as those types.

The front knows an app only by its manifest, so what a parameter takes is written there as a kind and a JSON
Schema; the replica, which has the types themselves, turns what came as JSON into them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Literal, NewType, Union, get_args, get_origin, get_type_hints

import msgspec

from regrain.answers import sentence
from regrain.arrays import Tensor, array_type, as_array, tensor_spec, type_name
from regrain.errors import SpecError, UnsupportedValueError
from regrain.json_schema import ANYTHING, LISTS, Schema, default_of, is_required, json_schema, stripped
from regrain.manifest import Parameter, TensorSpec
from regrain.request import Request, Response

Kind = Literal["bytes", "str", "array", "json", "request"]

__all__ = ["Tensor", "convert", "describe", "item_kinds", "item_of", "parameters", "returned", "types_of"]

CARRIED = "None, bool, int, float, str, bytes, list, tuple, dict, dataclasses, numpy arrays and torch tensors"
_SCALARS = (bytes, str, int, float, bool)
_CONTAINERS = (tuple, dict, *LISTS)


def parameters(function: Callable[..., object]) -> tuple[Parameter, ...]:
    """Return what a function takes, one Parameter each; SpecError names a type that no request can carry."""
    hints = types_of(function)
    return tuple(
        _parameter(function, parameter, hints.get(parameter.name, inspect.Parameter.empty))
        for parameter in inspect.signature(function).parameters.values()
    )


def returned(function: Callable[..., object], *, streams: bool = False) -> Parameter:
    """Return what a function answers as the Parameter named ""; SpecError as for `parameters`.

    Where it streams, that is one item of its answer.
    """
    annotation = types_of(function).get("return", inspect.Parameter.empty)
    if streams and annotation is not inspect.Parameter.empty:
        annotation = _streamed(annotation, _name(function))
    kind, schema, tensor = _described(annotation, f"{_name(function)}: its answer")
    return Parameter(name="", kind=kind, schema=schema, tensor=tensor)


def types_of(function: Callable[..., object]) -> dict[str, object]:
    """Return a function's annotations as objects, "return" among them.

    Raises:
        SpecError: an annotation names what the function's module does not hold.
    """
    try:
        return dict(get_type_hints(function, include_extras=True))
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        reason = f"{_name(function)}: its annotations cannot be resolved: {error}"
        raise SpecError(f"{reason}; names in them must be importable at run time") from error


def item_of(annotation: object) -> object:
    """Return the type of a list's items; None where its type says nothing of them, or not the same of all."""
    kinds = item_kinds(annotation)
    return kinds[0] if len(kinds) == 1 else None


def item_kinds(annotation: object) -> list[object]:
    """Return what the items of a list may be as its type says, each once; None stands for anything."""
    annotation = _named(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    kinds: list[object] = []
    if annotation in ANYTHING or annotation in (tuple, *LISTS):
        kinds = [None]
    elif origin in (Annotated, Union, UnionType):
        held = arguments[:1] if origin is Annotated else arguments
        kinds = [kind for member in held for kind in item_kinds(member)]
    elif origin in (tuple, *LISTS):
        kinds = [kind for kind in arguments if kind is not Ellipsis] or [None]
    return [kind for place, kind in enumerate(kinds) if kind not in kinds[:place]]


def _named(annotation: object) -> object:
    """Return what a NewType or a type alias stands for."""
    while isinstance(annotation, NewType):
        annotation = annotation.__supertype__
    if type(annotation).__name__ == "TypeAliasType":  # of Python 3.12 on
        return _named(getattr(annotation, "__value__", None))
    return annotation


def describe(annotation: object) -> tuple[Kind, Schema, TensorSpec | None]:
    """Return how a value of this type travels: its kind, its JSON Schema, and for arrays dtype and shape.

    Raises:
        SpecError: no request or answer can carry the type.
    """
    return _described(annotation, "a parameter")


def convert(value: object, annotation: object, *, at: str = "$") -> object:
    """Return what came as JSON, bytes or array as the annotated type.

    Lists become arrays where an array is annotated, objects become dataclasses; what is of the type already
    is returned as it is. `at` is what messages call the value.

    Raises:
        ValueError: the value does not fit; the message says where and what is expected.
    """
    is_there = annotation in _SCALARS and type(value) is annotation
    if is_there or annotation in ANYTHING or annotation in (Request, Response):
        return value
    array = array_type(annotation)
    if array is not None:
        return as_array(value, array, at)
    annotation = stripped(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return _as_union(value, get_args(annotation), at)
    if isinstance(annotation, type) and is_dataclass(annotation):
        return _as_dataclass(value, annotation, at)
    has_limits = get_origin(annotation) is Annotated
    if _is_deep(get_args(annotation)[0] if has_limits else annotation):
        return _as_limited(value, annotation, at) if has_limits else _as_container(value, annotation, at)
    return _as_plain(value, annotation, at)


def _parameter(
    function: Callable[..., object], parameter: inspect.Parameter, annotation: object
) -> Parameter:
    where = f"{_name(function)}: parameter {parameter.name!r}"
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise SpecError(f"{where} takes any number of values; a request's parameters have names")
    kind, schema, tensor = _described(annotation, where)
    required = parameter.default is parameter.empty
    if not required:
        schema = schema | default_of(parameter.default)
    return Parameter(name=parameter.name, kind=kind, schema=schema, tensor=tensor, required=required)


def _streamed(annotation: object, name: str) -> object:
    """The type of the items that an iterator gives."""
    if (get_origin(annotation) or annotation) not in (Iterator, Iterable, Generator):
        raise SpecError(f"{name}: its answer is streamed; annotate it as Iterator[...]")
    items = (*get_args(annotation), inspect.Parameter.empty)[0]
    if items in (Request, Response):
        raise SpecError(
            f"{name}: its answer is streamed; an item of it is a value, and no whole HTTP response"
        )
    return items


def _described(annotation: object, where: str) -> tuple[Kind, Schema, TensorSpec | None]:
    if annotation in (Request, Response):
        return "request", {}, None
    array = array_type(_required(annotation))
    if array is not None:
        return "array", _json_schema(annotation, where), tensor_spec(array)
    return _kind(_required(annotation)), _json_schema(annotation, where), None


def _kind(annotation: object) -> Kind:
    if stripped(annotation) is bytes:
        return "bytes"
    return "str" if stripped(annotation) is str else "json"


def _json_schema(annotation: object, where: str) -> Schema:
    try:
        return json_schema(annotation)
    except (TypeError, NameError) as error:
        shown = annotation.__qualname__ if isinstance(annotation, type) else annotation
        named = "which no request carries"
        if isinstance(error, UnsupportedValueError):
            named = f"and no request carries {error}"
        raise SpecError(f"{where} is of type {shown}, {named}; allowed are {CARRIED}") from error


def _as_union(value: object, members: tuple[object, ...], at: str) -> object:
    if value is None and NoneType in members:
        return None
    last = ValueError(f"{at}: expected a value, got null")
    for member in members:
        if member is NoneType:
            continue
        try:
            return convert(value, member, at=at)
        except ValueError as error:
            last = error
    raise last


def _as_dataclass(value: object, annotation: type, at: str) -> object:
    if isinstance(value, annotation):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"{at}: expected an object ({annotation.__name__}), got {type_name(value)}")
    wanted = {field.name: field for field in fields(annotation) if field.init}
    for name in value:
        if name not in wanted:
            raise ValueError(
                f"{at}.{name}: no such field in {annotation.__name__}, it has {', '.join(wanted)}"
            )
    for name, field in wanted.items():
        if name not in value and is_required(field):
            raise ValueError(f"{at}.{name}: missing")
    hints = _field_types(annotation)
    given = {name: convert(item, hints[name], at=f"{at}.{name}") for name, item in value.items()}
    try:
        made: object = annotation(**given)
    except Exception as error:  # the dataclass's own checks, of whatever kind
        said = error if isinstance(error, TypeError | ValueError) else sentence(error)
        raise ValueError(f"{at}: {said}") from error
    return made


@lru_cache(maxsize=256)
def _field_types(annotation: type) -> dict[str, object]:
    return types_of(annotation)


def _is_deep(annotation: object) -> bool:
    """Whether a list, tuple or dict type has an array or a dataclass inside, or keys that are no text."""
    return get_origin(annotation) in _CONTAINERS and (
        _has_other_keys(annotation) or any(map(_wants_own_way, get_args(annotation)))
    )


def _wants_own_way(annotation: object) -> bool:
    if array_type(annotation) is not None or is_dataclass(annotation):
        return True
    inner = stripped(annotation)
    return _has_other_keys(inner) or any(map(_wants_own_way, get_args(inner)))


def _has_other_keys(annotation: object) -> bool:
    """Whether it is a dict type whose keys are no text."""
    keys = get_args(annotation)[:1] if get_origin(annotation) is dict else ()
    return any(key not in (str, *ANYTHING) for key in keys)


def _as_limited(value: object, annotation: object, at: str) -> object:
    """A container with limits of its own (`Annotated[list[Image], Meta(max_length=3)]`)."""
    inner, *limits = get_args(annotation)
    if isinstance(value, list | tuple):
        _as_plain([None] * len(value), Annotated[(list, *limits)], at)
    elif isinstance(value, Mapping):
        _as_plain(dict.fromkeys(value), Annotated[(dict, *limits)], at)
    return convert(value, inner, at=at)


def _as_container(value: object, annotation: object, at: str) -> object:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{at}: expected an object, got {type_name(value)}")
        keys, items = arguments
        return {
            _as_key(key, keys, f"{at}.{key}"): convert(item, items, at=f"{at}.{key}")
            for key, item in value.items()
        }
    if not isinstance(value, list | tuple):
        raise ValueError(f"{at}: expected a list, got {type_name(value)}")
    if origin in LISTS:
        return [convert(item, arguments[0], at=f"{at}[{place}]") for place, item in enumerate(value)]
    kinds = arguments if arguments[-1] is not Ellipsis else arguments[:1] * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{at}: expected {len(kinds)} items, got {len(value)}")
    return tuple(
        convert(item, kind, at=f"{at}[{place}]")
        for place, (item, kind) in enumerate(zip(value, kinds, strict=True))
    )


def _as_key(key: object, annotation: object, at: str) -> object:
    """A key of an object, which in JSON is text whatever it stands for."""
    if annotation is type(key) or annotation in ANYTHING:
        return key
    made = _as_plain({key: None}, dict[annotation, None], at)  # type: ignore[valid-type]  # made at run time
    return next(iter(made)) if isinstance(made, dict) else key


def _as_plain(value: object, annotation: object, at: str) -> object:
    try:
        made: object = msgspec.convert(value, annotation, str_keys=True)
    except (msgspec.ValidationError, TypeError) as error:
        reason, _, path = str(error).partition(" - at ")
        key, _, place = path.rpartition(" in ")
        told = f"{'as a key, ' if key else ''}{reason[:1].lower()}{reason[1:]}"
        raise ValueError(f"{at}{place.strip('`').removeprefix('$')}: {told}") from error
    return made


def _required(annotation: object) -> object:
    """The type without its "or None"."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    others = [member for member in members if member is not NoneType]
    return others[0] if len(others) == 1 else annotation


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", repr(function))
