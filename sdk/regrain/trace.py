"""Turn a flow into the graph of its stages by calling it once with symbols.

A flow is Python, so that editors and type checkers understand it; but what it does must not depend on values
that only a request brings. Whatever would, fails here, with its line.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Literal, NoReturn, Protocol

from regrain.answers import Answer, sentence
from regrain.errors import SpecError, TraceError, UnsupportedValueError
from regrain.graph import INPUT, Arg, Const, Graph, Node, Pack, Ref, refs
from regrain.identity import check_identity
from regrain.place import Place, caller, within
from regrain.schema import types_of
from regrain.symbol import Symbol, item_kinds_of, label_of, ref_of, trace_of, walkable
from regrain.wire.codec import pack_inline

CONST_LIMIT = 1 << 20
"""Bytes of a constant in a flow; it travels in the manifest. More belongs into a stage, loaded once."""

STREAMED = (
    "what it yields is streamed to the caller, so it is called once and its result is the flow's whole answer"
)
NO_ANSWER = "regrain.answer() ends a request from within a stage; a flow is traced before any comes, so call it in one"


class Traced(Protocol):
    """What a trace needs of a stage."""

    @property
    def name(self) -> str:
        """The stage's name."""

    @property
    def place(self) -> Place:
        """Where it was declared."""

    @property
    def streams(self) -> bool:
        """Whether it gives its result item by item."""

    def check_call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Raise SpecError unless it can be called so."""

    def result_type(self) -> object:
        """Return the type of one call's result, None if it is not annotated; SpecError if it is unknown."""


class Trace:
    """One run of a flow with symbols; collects a node for each stage that is called."""

    def __init__(self, function: Callable[..., object], stages: Mapping[str, Traced]) -> None:
        code = inspect.unwrap(function).__code__
        self.flow = Place(file=code.co_filename, line=code.co_firstlineno)
        self.stages = stages
        self.defaults = {
            parameter.name: parameter.default
            for parameter in inspect.signature(function).parameters.values()
            if parameter.default is not parameter.empty
        }
        self.nodes: dict[str, Node] = {}
        self.places: dict[str, Place] = {}
        self.error: TraceError | None = None

    def fail(self, message: str, cause: BaseException | None = None) -> NoReturn:
        """Raise a TraceError that names the running line of the flow."""
        error = TraceError(f"{self.where()}: {message}")
        self.error = self.error or error
        raise error from cause

    def where(self) -> Place:
        """Return the line that is being traced."""
        return within(self.flow.file) or self.flow

    def call(
        self, stage: Traced, args: tuple[object, ...], kwargs: dict[str, object], *, mapped: bool
    ) -> Symbol:
        """Record a call of a stage and return the symbol of its result."""
        name = stage.name
        self._check_call(stage, args, kwargs)
        if mapped:
            self._check_lists(name, args)
            if stage.streams:
                self.fail(f"{name} is a generator and cannot be mapped: {STREAMED}")
        self.nodes[name] = Node(
            name,
            tuple(self.argument(value, f"an argument of {name}") for value in args),
            {key: self.argument(value, f"argument {key!r} of {name}") for key, value in kwargs.items()},
            mapped,
            stage.streams,
        )
        self.places[name] = self.where()
        if mapped:
            return Symbol(self, Ref(name), f"{name}.map(...)", lambda: list[stage.result_type() or object])  # type: ignore[misc]  # made at run time
        return Symbol(self, Ref(name), f"{name}(...)", stage.result_type)

    def argument(self, value: object, what: str) -> Arg:
        """Return what is written in the flow as an argument of the graph; `what` is how messages call it."""
        if isinstance(value, Symbol):
            if trace_of(value) is not self:
                self.fail(f"{what} is {label_of(value)} of another flow")
            return ref_of(value)
        if any(isinstance(leaf, Symbol) for leaf in _leaves(value)):
            return self._pack(value, what)
        for name, stage in self.stages.items():
            if value is stage:
                self.fail(f"{what} is the stage {name} itself; call it, and hand on its result")
        try:
            data = pack_inline(value)
        except UnsupportedValueError as error:
            self.fail(f"{what} is a constant that cannot travel: {error}", error)
        if len(data) > CONST_LIMIT:
            limit = f"at most {CONST_LIMIT} may stand in a flow"
            self.fail(f"{what} is a constant of {len(data)} bytes, {limit}; load it in a stage")
        return Const(data)

    def _pack(self, value: object, what: str) -> Pack:
        if type(value) is dict:
            for key in value:
                if type(key) is not str:
                    self.fail(f"{what} is a dict with the key {key!r}; in a flow keys are text")
            return Pack("dict", tuple(self.argument(item, what) for item in value.values()), tuple(value))
        if type(value) is not list and type(value) is not tuple:
            self.fail(f"{what}: a {type(value).__name__} cannot be put together in a flow; do it in a stage")
        kind: Literal["list", "tuple"] = "list" if type(value) is list else "tuple"
        return Pack(kind, tuple(self.argument(item, what) for item in value))

    def _check_call(self, stage: Traced, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        name = stage.name
        if self.stages.get(name) is not stage:
            self.fail(f"stage {name!r} ({stage.place}) belongs to another app")
        if name in self.nodes:
            self.fail(
                f"stage {name!r} is called twice, first at {self.places[name]}. Call it once for all, by "
                f"{name}.map([...]), or declare a second stage"
            )
        try:
            stage.check_call(args, kwargs)
        except SpecError as error:
            self.fail(str(error), error)

    def _check_lists(self, name: str, args: tuple[object, ...]) -> None:
        if not args:
            self.fail(f"{name}.map() needs a list: {name}.map(items); keywords go to each item")
        for value in args:
            if isinstance(value, Symbol):
                if walkable(value):
                    self._check_items(name, value)
                    continue
                found = f"{label_of(value)}, which is annotated as none"
            elif type(value) in (list, tuple):
                continue
            else:
                found = f"a constant of type {type(value).__name__}"
            self.fail(
                f"{name}.map() walks lists together, but got {found}; hand on by keyword what is the same "
                "for each item"
            )

    def _check_items(self, name: str, items: Symbol) -> None:
        """Fail where a parameter cannot be read item by item, as it is where the stage stands alone."""
        ref, label = ref_of(items), label_of(items)
        if not ref.is_input or ref.path:
            return
        kinds = item_kinds_of(items)
        if kinds is not None and len(kinds) > 1:
            self.fail(
                f"{name}.map() walks {label}, whose annotation does not say one type of all items; annotate it as "
                "list[...], with what an item may be within"
            )
        default = self.defaults.get(label, ())
        if not isinstance(default, list | tuple):
            found = f"whose default is a {type(default).__name__}"
            self.fail(f"{name}.map() walks {label}, {found}; allowed are list and tuple, such as ()")


_current: ContextVar[Trace | None] = ContextVar("regrain_trace", default=None)


def current() -> Trace | None:
    """Return the trace that runs in this context; None outside of one."""
    return _current.get()


def trace(function: Callable[..., object], stages: Mapping[str, Traced]) -> Graph:
    """Return the graph of a flow that may call these stages.

    Raises:
        TraceError: the flow does what cannot be traced, or leaves a stage unused; names the line.
    """
    if not inspect.isfunction(function):
        raise TraceError(f"{caller()}: a flow is a function, was {function!r}")
    tracing = Trace(function, stages)
    check_identity(function)
    inputs = _inputs(function, tracing)
    token = _current.set(tracing)
    try:
        result = function(**inputs)
    except TraceError:
        raise
    except Answer as error:
        raise TraceError(f"{_raised_at(error, tracing)}: {NO_ANSWER}") from error
    except Exception as error:
        place, allowed = _raised_at(error, tracing), "only stages can be called on what a request brings"
        raise TraceError(f"{place}: the flow raised {sentence(error)}; in a flow {allowed}") from error
    finally:
        _current.reset(token)
    if tracing.error is not None:  # the flow caught it
        raise tracing.error
    return _finish(tracing, tuple(inputs), result)


def _inputs(function: Callable[..., object], tracing: Trace) -> dict[str, Symbol]:
    if not _is_plain(function):
        raise TraceError(f"{tracing.flow}: a flow is a plain function, neither async nor a generator")
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            allowed = "a request brings each parameter by its name"
            raise TraceError(f"{tracing.flow}: {parameter} of the flow: {allowed}")
    return {name: _input(function, tracing, name) for name in signature.parameters}


def _is_plain(function: Callable[..., object]) -> bool:
    return not (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    )


def _input(function: Callable[..., object], tracing: Trace, name: str) -> Symbol:
    return Symbol(tracing, Ref(INPUT + name), name, lambda: types_of(function).get(name))


def _finish(tracing: Trace, inputs: tuple[str, ...], result: object) -> Graph:
    flow = tracing.flow
    output = tracing.argument(result, "what the flow returns")
    if not any(not ref.is_input for ref in refs(output)):
        raise TraceError(
            f"{flow}: the flow returns no stage's result; it must, that is the answer to a request"
        )
    graph = Graph(inputs, tuple(tracing.nodes.values()), output)
    for name, stage in tracing.stages.items():
        if name not in tracing.nodes:
            raise TraceError(
                f"{stage.place}: stage {name!r} is not called by the flow at {flow}; call or delete it"
            )
    taken = {ref.node for ref in refs(output)}.union(*map(graph.parents, graph.stages))
    for name, place in tracing.places.items():
        if name not in taken:
            raise TraceError(f"{place}: nothing takes the result of stage {name!r}; return it or hand it on")
        if graph.node(name).streams and (
            output != Ref(name) or any(map(partial(_takes, graph, name), graph.stages))
        ):
            raise TraceError(f"{place}: {name} is a generator: {STREAMED}")
    return graph


def _takes(graph: Graph, producer: str, stage: str) -> bool:
    return producer in graph.parents(stage)


def _leaves(value: object) -> Iterator[object]:
    """Everything in lists, tuples, dicts and dataclasses; a symbol's insides are its own."""
    items: Iterable[object] = ()
    if isinstance(value, Symbol):
        yield value
    elif isinstance(value, dict):
        items = value.values()
    elif isinstance(value, list | tuple):
        items = value
    elif is_dataclass(value) and not isinstance(value, type):
        items = (getattr(value, field.name) for field in fields(value))
    for item in items:
        yield from _leaves(item)


def _raised_at(error: Exception, tracing: Trace) -> Place:
    place, step = tracing.flow, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == place.file:
            place = Place(file=place.file, line=step.tb_lineno)
        step = step.tb_next
    return place
