"""A stage: one step of an app, as the user's function or class with what it needs to run.

It stays callable. Within a flow that is traced a call adds to the graph; everywhere else it runs the body in
place, so that stages, and the flow itself, are tested as plain Python.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Concatenate, Generic, ParamSpec, TypeVar, overload

from regrain.answers import Answer, Failure
from regrain.body import Body
from regrain.errors import RegrainError, SpecError
from regrain.lazy_numpy import is_array
from regrain.manifest import StageSpec
from regrain.measures import measure
from regrain.place import Place
from regrain.schema import item_of
from regrain.trace import current
from regrain.wire.codec import fresh

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


class Stage(Generic[P, R]):
    """One step of an app; made by `App.stage`.

    Attributes:
        name: in the flow, in grain notation and in metrics.
        spec: what was declared.
        place: where.
        signature: of a call.
    """

    def __init__(
        self, declared: Body, spec: StageSpec, place: Place, size: Callable[..., float] | None = None
    ) -> None:
        self.name = spec.name
        self.spec = spec
        self.place = place
        self.signature = declared.signature
        self.__doc__ = declared.source.__doc__
        self._declared = declared
        self._size = size
        self._body: Callable[..., object] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, {self.place}>"

    @property
    def streams(self) -> bool:
        """Whether it gives its result item by item."""
        return self.spec.streams

    @property
    def body(self) -> Callable[..., object]:
        """What runs when the stage is called as plain Python; a class is built on first use and kept."""
        if self._body is None:
            self._body = self.build()
        return self._body

    @property
    def source(self) -> Callable[..., object]:
        """The function or class that was declared."""
        return self._declared.source

    def build(self) -> Callable[..., object]:
        """Return what a replica runs: a fresh object of the class, or the function."""
        return self._declared.build()

    def measure(self, *args: object, **kwargs: object) -> float:
        """Return the size of one call's arguments, in the measure that `size` names; 0.0 if it names none."""
        if self._size is not None:
            return float(self._size(*args, **kwargs))
        return measure(self.spec.size, (*args, *kwargs.values())) if self.spec.size else 0.0

    def check_call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Raise SpecError unless body, and size function, take these arguments; a map's lists for its items."""
        called = {self.name: self.signature}
        if self._size is not None:
            called[f"size of {self.name}"] = inspect.signature(self._size)
        for name, signature in called.items():
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise SpecError(f"{name}{signature}: {error}") from error

    def result_type(self) -> object:
        """Return the annotated type of one call's result, None if there is none; SpecError if unknown."""
        return self._declared.types.get("return")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the body; in a flow that is traced, add it to the graph."""
        trace = current()
        if trace is not None:
            return trace.call(self, args, kwargs, mapped=False)  # type: ignore[return-value]  # stands for an R
        return self._run([args], kwargs)[0]  # type: ignore[return-value]  # the declaration says what the body gives

    @overload
    def map(self: Callable[Concatenate[A, ...], T], a: Sequence[A], /, **each: object) -> list[T]: ...
    @overload
    def map(
        self: Callable[Concatenate[A, B, ...], T], a: Sequence[A], b: Sequence[B], /, **each: object
    ) -> list[T]: ...
    @overload
    def map(
        self: Callable[Concatenate[A, B, C, ...], T],
        a: Sequence[A],
        b: Sequence[B],
        c: Sequence[C],
        /,
        **each: object,
    ) -> list[T]: ...
    def map(self, /, *lists: Sequence[object], **each: object) -> object:
        """Call the stage for each item of a list; an empty list gives an empty list.

        Args:
            lists: lists of one length that are walked together, one per positional parameter.
            each: what every item gets as it is.

        Returns:
            One result per item, in order.

        Raises:
            SpecError: there is no list, or they differ in length.
        """
        trace = current()
        if trace is not None:
            return trace.call(self, lists, each, mapped=True)
        if not lists or not all(isinstance(items, list | tuple) for items in lists):
            raise SpecError(
                f"{self.name}.map() walks lists: {self.name}.map(items); keywords go to each item"
            )
        lengths = [len(items) for items in lists]
        if len(set(lengths)) > 1:
            raise SpecError(f"{self.name}.map() walks lists of one length together, these have {lengths}")
        return self._run(list(zip(*lists, strict=True)), each)

    def _run(self, calls: list[tuple[object, ...]], each: dict[str, object]) -> list[object]:
        return [self._attempt(call, each) for call in calls]

    def _attempt(self, call: tuple[object, ...], each: dict[str, object]) -> object:
        try:
            return self.body(*call, **each)
        except Exception as error:
            if self.spec.errors == "raise" or isinstance(error, Answer):
                raise
            return Failure.of(self.name, error)


class Batched(Stage[P, R]):
    """A stage whose body takes a list per parameter and returns a list; made by `App.batched`.

    In the flow, and called as plain Python, it takes an item and returns an item.
    """

    def result_type(self) -> object:
        """Return the type of one item's result, None if it is not annotated; SpecError if it is unknown."""
        return item_of(super().result_type())

    def _run(self, calls: list[tuple[object, ...]], each: dict[str, object]) -> list[object]:
        size = self.spec.max_size
        return [
            result
            for at in range(0, len(calls), size)
            for result in self._run_batch(calls[at : at + size], each)
        ]

    def _run_batch(self, calls: list[tuple[object, ...]], each: dict[str, object]) -> list[object]:
        if self.spec.errors == "raise":
            return self._call_body(calls, each)
        kept = [(_renewed(call), dict(zip(each, _renewed(each.values()), strict=True))) for call in calls]
        try:
            return self._call_body(calls, each)
        except Answer:
            raise
        except Exception as error:
            if len(calls) == 1 or not self.spec.idempotent:
                return [Failure.of(self.name, error) for _ in calls]
            return [result for call, named in kept for result in self._run_batch([call], named)]

    def _call_body(self, calls: list[tuple[object, ...]], each: dict[str, object]) -> list[object]:
        columns = [list(column) for column in zip(*calls, strict=True)]
        results = self.body(*columns, **{name: [value] * len(calls) for name, value in each.items()})
        if not (isinstance(results, list | tuple) or is_array(results)):
            found = f"a {type(results).__name__}"
        elif len(results) != len(calls):
            found = f"{len(results)}"
        else:
            return list(results)
        raise RegrainError(
            f"batched stage {self.name!r} must return a list of {len(calls)}, it returned {found}"
        )


def _renewed(values: Iterable[object]) -> tuple[object, ...]:
    """Copy what a body is called on, which it may change and then fail."""
    return tuple(map(fresh, values))
