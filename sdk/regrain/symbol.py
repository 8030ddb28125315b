"""What a flow sees in the place of values while it is traced: a symbol that stands for a value to come.

A symbol can be handed to stages; a tuple can be unpacked and a dataclass' fields can be read. Everything else
that Python can do to a value refuses, because the graph would silently miss it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import Annotated, NoReturn, Protocol, get_args, get_origin

from regrain.body import may_be
from regrain.errors import SpecError
from regrain.graph import Ref
from regrain.schema import item_kinds, types_of

AS_ARRAY = "a library reads it as an array here"


class Tracing(Protocol):
    """What a symbol needs of the trace that it belongs to."""

    def fail(self, message: str, cause: BaseException | None = None) -> NoReturn:
        """Raise a TraceError that names the running line of the flow."""


class Symbol:
    """Stands for the value at a place in the graph; `label` is how messages call it.

    `annotation` gives the value's type when it is asked for, since types may be known only by then.
    """

    __slots__ = ("annotation", "label", "ref", "trace")

    def __init__(self, trace: Tracing, ref: Ref, label: str, annotation: Callable[[], object]) -> None:
        object.__setattr__(self, "trace", trace)
        object.__setattr__(self, "ref", ref)
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "annotation", annotation)

    def __getattribute__(self, name: str) -> Symbol:
        return _field(self, name)

    def __getitem__(self, key: object) -> Symbol:
        return _place(self, key)

    def __iter__(self) -> Iterator[Symbol]:
        places = _places(self)
        return iter([_part(self, index, annotation) for index, annotation in enumerate(places)])


def trace_of(symbol: Symbol) -> Tracing:
    """Return the trace that a symbol belongs to."""
    trace: Tracing = object.__getattribute__(symbol, "trace")
    return trace


def ref_of(symbol: Symbol) -> Ref:
    """Return the place in the graph that a symbol stands for."""
    ref: Ref = object.__getattribute__(symbol, "ref")
    return ref


def label_of(symbol: Symbol) -> str:
    """Return how messages call a symbol."""
    label: str = object.__getattribute__(symbol, "label")
    return label


def walkable(symbol: Symbol) -> bool:
    """Whether a symbol's value may be a list, as far as its annotation says."""
    annotation: Callable[[], object] = object.__getattribute__(symbol, "annotation")
    try:
        return may_be(annotation(), list, tuple)
    except SpecError:  # not known, and not needed either
        return True


def item_kinds_of(symbol: Symbol) -> list[object] | None:
    """Return what a symbol's items may be as its annotation says; None where that is not known, nor needed."""
    annotation: Callable[[], object] = object.__getattribute__(symbol, "annotation")
    try:
        return item_kinds(annotation())
    except SpecError:
        return None


def _type_of(symbol: Symbol) -> object:
    annotation: Callable[[], object] = object.__getattribute__(symbol, "annotation")
    try:
        found = annotation()
    except SpecError as error:
        trace_of(symbol).fail(f"the type of {label_of(symbol)} is needed here, but {error}", error)
    return get_args(found)[0] if get_origin(found) is Annotated else found


def _part(symbol: Symbol, key: str | int, annotation: object) -> Symbol:
    ref = ref_of(symbol)
    label = f"{label_of(symbol)}.{key}" if isinstance(key, str) else f"{label_of(symbol)}[{key}]"
    return Symbol(trace_of(symbol), Ref(ref.node, (*ref.path, key)), label, lambda: annotation)


def _field(symbol: Symbol, name: str) -> Symbol:
    trace, label = trace_of(symbol), label_of(symbol)
    if name.startswith("__") and name.endswith("__"):
        is_array = name.startswith("__array_")
        _refuse(symbol, AS_ARRAY if is_array else f"its {name} is asked for here (as isinstance does)")
    kind = _type_of(symbol)
    record = get_origin(kind) or kind
    if not isinstance(record, type) or not is_dataclass(record):
        trace.fail(
            f".{name} of {label}: fields can be read of what is annotated as a dataclass, this is "
            f"{_written(kind)}; do it in a stage"
        )
    known = record.__dataclass_fields__
    if name not in known:
        trace.fail(
            f"{label} has no field {name!r}; fields of {record.__name__} are {', '.join(known) or 'none'}, "
            "and its methods can be called in a stage"
        )
    try:
        annotation = types_of(record)[name]
    except SpecError as error:
        trace.fail(str(error), error)
    return _part(symbol, name, annotation)


def _place(symbol: Symbol, key: object) -> Symbol:
    trace, label = trace_of(symbol), label_of(symbol)
    if type(key) is not int:
        shown = label_of(key) if isinstance(key, Symbol) else repr(key)
        trace.fail(
            f"{label}[{shown}]: only a place of a tuple, by a number, can be taken here; do it in a stage"
        )
    places = _places(symbol)
    if not -len(places) <= key < len(places):
        trace.fail(f"{label}[{key}]: {label} is a tuple of {len(places)}")
    return _part(symbol, key % len(places), places[key])


def _places(symbol: Symbol) -> tuple[object, ...]:
    """Return the types of a tuple's places; fail for everything else."""
    kind = _type_of(symbol)
    arguments: tuple[object, ...] = get_args(kind)
    if get_origin(kind) is not tuple or Ellipsis in arguments:
        trace_of(symbol).fail(
            f"{label_of(symbol)} is unpacked, indexed or looped over, and is {_written(kind)}: the flow "
            "cannot know how many there are. For a tuple annotate the stage's result as tuple[A, B]; for a "
            "list call a stage for each item by stage.map(items)"
        )
    return arguments


def _written(kind: object) -> str:
    if kind is None or kind is object:
        return "not annotated"
    return f"annotated as {kind.__name__ if isinstance(kind, type) and not get_args(kind) else kind}"


def _refuse(symbol: Symbol, why: str) -> NoReturn:
    trace_of(symbol).fail(
        f"{label_of(symbol)} is known only when a request comes, but {why}. A flow may call stages on it, "
        "unpack a tuple and read a dataclass' field; do everything else in a stage"
    )


def _refusing(why: str) -> Callable[..., NoReturn]:
    def refuse(self: Symbol, *_: object, **__: object) -> NoReturn:
        _refuse(self, why)

    return refuse


_REFUSED = {
    "it decides here (if, while, and, or, not, assert)": "bool",
    "it is compared here": "eq ne lt le gt ge",
    "its length is asked for here": "len length_hint",
    "it is searched here (in)": "contains",
    "it is turned into text here": "str repr format bytes fspath",
    "it is turned into a number here": "int float complex index round trunc floor ceil",
    "it is computed with here": (
        "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or "
        "radd rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand rxor ror "
        "iadd isub imul imatmul itruediv ifloordiv imod ipow ilshift irshift iand ixor ior "
        "neg pos abs invert"
    ),
    AS_ARRAY: "array array_ufunc array_function torch_function buffer",
    "it is called here": "call",
    "it is changed here": "setattr delattr setitem delitem",
    "it is a key of a dict or set here": "hash",
    "it is copied or serialised here": "copy deepcopy reduce reduce_ex getstate",
    "it is used in with or await here": "enter exit aenter aexit await aiter anext next",
    "it is looked into here": "dir reversed sizeof",
}
for _why, _names in _REFUSED.items():
    for _name in _names.split():
        setattr(Symbol, f"__{_name}__", _refusing(_why))
