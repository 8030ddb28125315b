"""How a stage is declared: the options it may be given, and the decorator that takes its body.

The overloads let type checkers see through: a function keeps its parameters, a class gives those of its
`__call__`, and a batched body's lists become the items that the flow speaks of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import GeneratorType
from typing import Generic, Literal, ParamSpec, TypeVar, overload

import msgspec
from msgspec.structs import replace

from regrain.body import Body, check_name, inspected, may_be, names_protocol, source_of
from regrain.errors import SpecError
from regrain.lazy_numpy import array_kinds, np
from regrain.manifest import GPUSpec, StageSpec
from regrain.place import caller
from regrain.stage import Batched, Stage
from regrain.units import is_number, parse_bytes

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
F = TypeVar("F")
"""What errors become: Failure, or Never."""

SIZES = ("bytes", "items", "pixels")
Size = Literal["bytes", "items", "pixels"] | Callable[..., float]
Errors = Literal["raise", "return"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GPU:
    """What a stage needs of a GPU.

    Attributes:
        memory: bytes, or a size such as "1Gi".
        share: of the GPU's multiprocessors, in (0, 1]; None leaves it to the planner.
    """

    memory: str | int = "1Gi"
    share: float | None = None

    def __post_init__(self) -> None:
        parse_bytes(self.memory, "memory of GPU")
        if self.share is not None and not (is_number(self.share) and 0 < self.share <= 1):
            raise SpecError(f"share of GPU must be in (0, 1], was {self.share!r}")

    @property
    def spec(self) -> GPUSpec:
        """This in the manifest's terms."""
        return GPUSpec(memory=parse_bytes(self.memory), share=self.share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a stage is declared with; App.stage and App.batched say what each option means."""

    name: str
    batched: bool = False
    max_size: int = 1
    max_wait: float = 0.0
    cpu: float
    memory: str | int
    gpu: GPU | None
    size: Size | None
    idempotent: bool
    timeout: float | None
    errors: Errors

    def __post_init__(self) -> None:
        try:
            self._check()
        except SpecError as error:
            raise SpecError(f"{caller()}: {error}") from error

    def _check(self) -> None:
        _check("cpu", self.cpu, "a number of cores over 0", is_number(self.cpu) and self.cpu > 0)
        _check("max_size", self.max_size, "a whole number, 1 or more", _is_count(self.max_size))
        _check(
            "max_wait", self.max_wait, "seconds, 0 or more", is_number(self.max_wait) and self.max_wait >= 0
        )
        _check(
            "timeout",
            self.timeout,
            "seconds over 0, or None",
            self.timeout is None or _is_positive(self.timeout),
        )
        _check("gpu", self.gpu, "GPU(...) or None", self.gpu is None or isinstance(self.gpu, GPU))
        _check("errors", self.errors, '"raise" or "return"', self.errors in ("raise", "return"))
        _check("idempotent", self.idempotent, "True or False", isinstance(self.idempotent, bool))
        allowed = f"one of {', '.join(SIZES)}, or a function of the stage's arguments"
        _check("size", self.size, allowed, self.size is None or callable(self.size) or self.size in SIZES)
        parse_bytes(self.memory)

    def spec(self, body: Body, name: str) -> StageSpec:
        """Return the declaration of a body under these options."""
        spec = StageSpec(
            name="",
            digest="",
            batched=self.batched,
            max_size=self.max_size,
            max_wait=float(self.max_wait),
            cpu=float(self.cpu),
            memory=parse_bytes(self.memory),
            gpu=self.gpu.spec if self.gpu else None,
            size="function" if callable(self.size) else self.size or "",
            idempotent=self.idempotent,
            timeout=float(self.timeout or 0.0),
            errors=self.errors,
            streams=body.streams,
        )
        measure = source_of(self.size) if callable(self.size) else ""
        digest = body.digest(msgspec.json.encode(spec), measure.encode())
        return replace(spec, name=name, digest=digest, doc=body.doc)


class Declaration:
    """Takes the body of a stage; what App.stage(...) and App.batched(...) return."""

    def __init__(self, options: Options, add: Callable[[Stage[..., object]], None]) -> None:
        self.options = options
        self.add = add

    def declare(self, source: object) -> Stage[..., object]:
        """Return the stage made of a function or class, added to its app; SpecError names the line."""
        place = caller()
        try:
            body = inspected(source)
            name = self.options.name or body.name(place.target)
            check_name(name)
            if body.streams:
                _check_stream(body, self.options)
            elif self.options.batched:
                _check_lists(body)
        except SpecError as error:
            raise SpecError(f"{place}: {error}") from error
        size = self.options.size if callable(self.options.size) else None
        kind = Batched if self.options.batched else Stage
        stage: Stage[..., object] = kind(body, self.options.spec(body, name), place, size)
        self.add(stage)
        return stage


class StageDeclaration(Declaration, Generic[F]):
    """Makes a Stage of a function or class."""

    @overload
    def __call__(self, source: Callable[[], Callable[P, R]], /) -> Stage[P, R | F]: ...
    @overload
    def __call__(self, source: Callable[P, R], /) -> Stage[P, R | F]: ...
    def __call__(self, source: Callable[..., object], /) -> object:
        """Declare a function, or a class whose objects are called."""
        return self.declare(source)


class BatchedDeclaration(Declaration, Generic[F]):
    """Makes a Batched stage of a function or class that takes a list per parameter and returns a list."""

    @overload
    def __call__(self, source: Callable[[], Callable[[list[A]], list[R]]], /) -> Batched[[A], R | F]: ...
    @overload
    def __call__(self, source: Callable[[list[A]], list[R]], /) -> Batched[[A], R | F]: ...
    @overload
    def __call__(
        self, source: Callable[[], Callable[[list[A], list[B]], list[R]]], /
    ) -> Batched[[A, B], R | F]: ...
    @overload
    def __call__(self, source: Callable[[list[A], list[B]], list[R]], /) -> Batched[[A, B], R | F]: ...
    @overload
    def __call__(
        self, source: Callable[[], Callable[[list[A], list[B], list[C]], list[R]]], /
    ) -> Batched[[A, B, C], R | F]: ...
    @overload
    def __call__(
        self, source: Callable[[list[A], list[B], list[C]], list[R]], /
    ) -> Batched[[A, B, C], R | F]: ...
    def __call__(self, source: Callable[..., object], /) -> object:
        """Declare a function, or a class whose objects are called."""
        return self.declare(source)


def refuse_positional(verb: str, misplaced: tuple[object, ...]) -> None:
    """Raise SpecError for `@app.stage` without its parentheses, or an option without its name."""
    if misplaced:
        raise SpecError(
            f"{caller()}: app.{verb} takes options by name, got {misplaced[0]!r}; write @app.{verb}() over a "
            f"function, or name = app.{verb}()(Class)"
        )


def _check_lists(body: Body) -> None:
    if not body.signature.parameters:
        raise SpecError(f"{body.label} takes nothing; a batched stage takes a list per parameter")
    try:
        types = body.types
    except SpecError:  # names a type that is not there yet; whoever needs the type says so
        return
    for name in body.signature.parameters:
        if not may_be(types.get(name), list):
            raise SpecError(f"{body.label}: a batched stage takes a list per parameter, {name!r} is no list")
    if not _may_be_results(types.get("return")):
        raise SpecError(f"{body.label}: a batched stage returns a list, one result per item")


def _may_be_results(annotation: object) -> bool:
    """Whether a list fits, or an array; numpy is imported where that cannot be told without."""
    if may_be(annotation, list, tuple, *array_kinds()):
        return True
    return names_protocol(annotation) and may_be(annotation, np.ndarray)


def _check_stream(body: Body, options: Options) -> None:
    if options.batched:
        raise SpecError(f"{body.label} is a generator (it yields); a batched stage returns a list")
    if options.errors == "return":
        raise SpecError(
            f'{body.label} is a generator (it yields); it has no result that errors="return" could be'
        )
    try:
        annotation = body.types.get("return")
    except SpecError:  # names a type that is not there yet; whoever needs the type says so
        return
    if not may_be(annotation, GeneratorType):
        raise SpecError(
            f"{body.label} is a generator (it yields); what it returns is annotated Iterator[...]"
        )


def _check(name: str, value: object, allowed: str, holds: bool) -> None:
    if not holds:
        raise SpecError(f"{name} of a stage must be {allowed}, was {value!r}")


def _is_positive(value: float) -> bool:
    return is_number(value) and value > 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
