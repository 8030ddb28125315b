"""What a user declares as a stage: a function, or a class that is built once per replica.

It is looked at once, when it is declared, so that what cannot be a stage fails on its own line.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

from regrain.errors import SpecError
from regrain.schema import types_of

RESERVED = ("fine", "coarse", "fluid")
"""Names that mean a grain."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """A declared function or class.

    Attributes:
        source: the function or class itself.
        call: what is called with the arguments: the function, or the class' `__call__`.
        signature: of a call, `self` left out.
        label: how messages call it.
    """

    source: Callable[..., object]
    call: Callable[..., object]
    signature: inspect.Signature
    label: str

    @property
    def is_class(self) -> bool:
        """Whether a replica builds an object of it first."""
        return isinstance(self.source, type)

    @property
    def streams(self) -> bool:
        """Whether it gives its result item by item: it is a generator."""
        return inspect.isgeneratorfunction(inspect.unwrap(self.call))

    @property
    def doc(self) -> str:
        """The first line of its docstring; "" if it has none of its own."""
        return first_line(self.source)

    @cached_property
    def types(self) -> dict[str, object]:
        """The annotations of a call as objects, "return" among them; SpecError if one cannot be resolved."""
        return types_of(self.call)

    def name(self, target: str) -> str:
        """Return the stage's name: the function's own, or for a class the variable it is assigned to."""
        if not self.is_class:
            return self.source.__name__
        return target or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.source.__name__).lower()

    def build(self) -> Callable[..., object]:
        """Return the function, or a fresh object of the class."""
        if not isinstance(self.source, type):
            return self.source
        made: Callable[..., object] = self.source()
        return made

    def digest(self, *options: bytes) -> str:
        """Return 16 hex digits that change when the source or an option does."""
        return sha256(b"\0".join((source_of(self.source).encode(), *options))).hexdigest()[:16]


def inspected(source: object) -> Body:
    """Return what was declared as a Body; SpecError says why it can be none."""
    if inspect.isclass(source):
        call, label = _call_of(source), f"class {source.__name__}"
    elif inspect.isfunction(source):
        call, label = source, f"{source.__name__}()"
    else:
        raise SpecError(f"a stage is a function or a class with __call__, was {source!r}")
    if inspect.isclass(source):
        _check_constructor(source)
    _check_kind(call, label)
    parameters = list(inspect.signature(call).parameters.values())[1 if inspect.isclass(source) else 0 :]
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise SpecError(
                f"{label} takes any number of arguments ({parameter}); a stage names each of them"
            )
    return Body(source=source, call=call, signature=inspect.Signature(parameters), label=label)


def check_name(name: str) -> None:
    """Raise SpecError unless a stage may have this name."""
    if not name.isidentifier() or not name.isascii():
        raise SpecError(f"a stage's name is letters, digits and _, was {name!r}; give one by name=...")
    if name in RESERVED:
        raise SpecError(f"{name!r} is the name of a grain; a stage needs another one, by name=...")


def first_line(thing: object) -> str:
    """Return the first line of the docstring that a function or class has itself."""
    doc = getattr(thing, "__doc__", None)
    return doc.strip().partition("\n")[0].strip() if isinstance(doc, str) else ""


def source_of(function: Callable[..., object]) -> str:
    """Return the source text, or where there is none (a module made by exec) the qualified name.

    Of a partial those of its function, and of another object that is called those of its class.
    """
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    try:
        return inspect.getsource(named)
    except (OSError, TypeError):
        return f"{named.__module__}:{named.__qualname__}"


def may_be(annotation: object, *kinds: type) -> bool:
    """Whether a value of one of these kinds fits the annotation, as far as that says anything."""
    return any(_is_one_of(kinds, one) for one in _alternatives(annotation))


def names_protocol(annotation: object) -> bool:
    """Whether a class may fit the annotation that has nothing to do with what it names."""
    return any(getattr(one, "_is_protocol", False) for one in _alternatives(annotation))


def _alternatives(annotation: object) -> Iterator[object]:
    """What a value may be by an annotation, without what is annotated further, and of generic types the type alone."""
    origin = get_origin(annotation)
    if origin in (Annotated, Union, UnionType):
        held = get_args(annotation)
        for kind in held[:1] if origin is Annotated else held:
            yield from _alternatives(kind)
    else:
        yield origin or annotation


def _is_one_of(kinds: Sequence[type], wanted: object) -> bool:
    if not isinstance(wanted, type):
        return True
    try:
        return any(issubclass(kind, wanted) for kind in kinds)
    except TypeError:  # a Protocol that is not made for questions at run time
        return True


def _call_of(source: type) -> Callable[..., object]:
    call = getattr(source, "__call__", None)  # noqa: B004 - the class' own, and not type's
    if not inspect.isfunction(call):
        raise SpecError(f"class {source.__name__} has no __call__(self, ...); it is what a stage runs")
    return call


def _check_constructor(source: type) -> None:
    try:
        inspect.signature(source).bind()
    except TypeError as error:
        raise SpecError(
            f"class {source.__name__} is built without arguments in each replica, but __init__: {error}"
        ) from error
    except ValueError:  # a constructor without a signature, such as one written in C
        return


def _check_kind(call: Callable[..., object], label: str) -> None:
    plain = inspect.unwrap(call)
    if inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain):
        raise SpecError(f"{label} is async; a stage is a plain function, its replica runs one call at a time")
