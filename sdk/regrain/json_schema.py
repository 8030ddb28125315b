"""JSON Schemas of types, as they are written in the manifest and shown in the OpenAPI document.

msgspec knows those of plain types; it knows neither arrays nor unions of dataclasses, so containers and
dataclasses are walked here.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Container, Mapping, MutableSequence, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import chain, count
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from regrain.arrays import array_schema, array_type
from regrain.carried import check_key, check_type

Schema = dict[str, object]
ANYTHING = (None, inspect.Parameter.empty, Any, object)
"""Annotations that say nothing."""
LISTS = (list, Sequence, MutableSequence, Collection)
"""What a JSON list becomes a list for."""


class _Definitions:
    """The "$defs" of a schema, and by which name a dataclass goes in them."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self.names: dict[type, str] = {}


def json_schema(annotation: object) -> Schema:
    """Return the schema of a type, dataclasses in its "$defs".

    TypeError if no request carries the type; where it is an UnsupportedValueError, that names what in it cannot travel.
    """
    definitions = _Definitions()
    schema = _schema(annotation, definitions)
    return schema | {"$defs": definitions.schemas} if definitions.schemas else schema


def stripped(annotation: object) -> object:
    """Return a type without its annotations, unless msgspec knows them (`Annotated[int, Meta(ge=0)]`)."""
    inner = get_args(annotation)
    is_annotated = get_origin(annotation) is Annotated
    return (
        inner[0]
        if is_annotated and not any(isinstance(extra, msgspec.Meta) for extra in inner)
        else annotation
    )


def check_length(count: int, schema: Mapping[str, object]) -> None:
    """Raise ValueError where no list of a schema has so many items."""
    members = schema.get("anyOf", [schema])
    kinds = members if isinstance(members, list) else []
    lists = [kind for kind in kinds if kind.get("type") == "array"]
    if lists and not any(kind.get("minItems", 0) <= count <= kind.get("maxItems", count) for kind in lists):
        raise ValueError(f"expected {' or '.join(map(_lengths, lists))} items, got {count}")


def _lengths(kind: Mapping[str, object]) -> str:
    least, most = kind.get("minItems", 0), kind.get("maxItems")
    if most is None:
        return f"at least {least}"
    return f"{least}" if least == most else f"{least} to {most}"


def default_of(value: object) -> Schema:
    """Return the keyword "default" of a schema; nothing for a default that JSON cannot show."""
    try:
        plain: object = msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, ValueError):
        return {}
    return {"default": plain}


def _schema(annotation: object, definitions: _Definitions) -> Schema:
    if annotation in ANYTHING:
        return {}
    array = array_type(annotation)
    if array is not None:
        return array_schema(array)
    annotation = stripped(annotation)
    if isinstance(annotation, type) and is_dataclass(annotation):
        return _reference(annotation, definitions)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated and get_origin(arguments[0]) in (tuple, *LISTS):
        return _plain(Annotated[(list, *arguments[1:])], definitions) | _schema(arguments[0], definitions)
    if origin in (Union, UnionType, tuple, dict, *LISTS) and arguments:
        return _composed(origin, arguments, definitions)
    return _plain(annotation, definitions)


def _composed(origin: object, arguments: tuple[object, ...], definitions: _Definitions) -> Schema:
    if origin in (Union, UnionType):
        return {"anyOf": [_schema(member, definitions) for member in arguments]}
    if origin is dict:
        check_key(arguments[0])
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if origin in LISTS or arguments[-1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    items = [_schema(item, definitions) for item in arguments]
    size = len(items)
    return {"type": "array", "prefixItems": items, "items": False, "minItems": size, "maxItems": size}


def _reference(kind: type, definitions: _Definitions) -> Schema:
    if kind not in definitions.names:
        name = definitions.names[kind] = _free_name(kind, definitions.schemas)
        definitions.schemas[name] = {}  # a dataclass may hold itself
        definitions.schemas[name] = _object(kind, definitions)
    return {"$ref": f"#/$defs/{definitions.names[kind]}"}


def _free_name(kind: type, taken: Container[str]) -> str:
    own = kind.__qualname__.replace(".<locals>", "")
    full = f"{kind.__module__}.{own}"
    names = chain((own, full), (f"{full}-{number}" for number in count(2)))
    return next(name for name in names if name not in taken)


def _object(kind: type, definitions: _Definitions) -> Schema:
    hints = get_type_hints(kind, include_extras=True)
    properties: dict[str, Schema] = {}
    required = []
    for field in fields(kind):
        properties[field.name] = _schema(hints[field.name], definitions)
        if field.default is not MISSING:
            properties[field.name] |= default_of(field.default)
        elif is_required(field):
            required.append(field.name)
    schema: Schema = {"title": kind.__name__, "type": "object", "properties": properties}
    schema |= {"required": required, "additionalProperties": False}
    doc = inspect.getdoc(kind) or ""
    return schema if doc.startswith(f"{kind.__name__}(") else schema | {"description": doc}


def is_required(field: Field[object]) -> bool:
    """Whether a dataclass cannot be made without this field."""
    return field.default is MISSING and field.default_factory is MISSING


def _plain(annotation: object, definitions: _Definitions) -> Schema:
    check_type(annotation)
    for number in count(1):
        named = "{name}" if number == 1 else f"{{name}}-{number}"
        schemas, inner = msgspec.json.schema_components([annotation], ref_template=f"#/$defs/{named}")
        found = {named.format(name=name): schema for name, schema in inner.items()}
        if all(definitions.schemas.get(name, schema) == schema for name, schema in found.items()):
            break
    definitions.schemas |= found
    return dict(schemas[0])
