"""Run one step of an app for a batch of units: the one executor that replicas and tests share.

A step is walked stage by stage in topological order. At each stage the calls of all units, and of all items
that a map holds, are gathered first and then made: one by one for a plain stage, in lists for a batched one,
so that items of different requests share a batch. A unit that fails leaves the others alone.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Protocol

from regrain.answers import Answer, Failure, line, sentence
from regrain.app import App
from regrain.calls import ENDS, Job, call_batch, call_each, set_apart
from regrain.context import Context, building, entered
from regrain.errors import LoadError, RegrainError, RequestError
from regrain.graph import Arg, Const, Node, Pack, Ref
from regrain.manifest import StageSpec
from regrain.outcomes import DETAIL_LIMIT, Ended, Failed, Gave, Outcome, failed
from regrain.plan import Step
from regrain.schema import convert, item_of
from regrain.wire.codec import freeze, unpack_inline
from regrain.wire.frames import Timing

logger = logging.getLogger(__name__)

TOO_LATE = "regrain.answer() was called after the first item of a stream; it can only stand in for the stream"
_END = object()


@dataclass(slots=True)
class Work:
    """One unit: its context, and a value per Step.inputs (its own item where the input says `each`).

    give: takes the items of a step that streams, waiting for room; returns False where nobody wants more.
    """

    context: Context
    values: list[object]
    give: Callable[[object], bool] | None = None


@dataclass(slots=True)
class _State:
    """A unit under way: what it has, and how it ended if it did."""

    context: Context
    inputs: dict[tuple[Ref, bool], object]
    give: Callable[[object], bool] | None = None
    results: dict[str, object] = field(default_factory=dict)
    ended: Failed | Ended | None = None


class Device(Protocol):
    """The GPU on which stages run that need one."""

    def loading(self, stage: str, memory: int) -> AbstractContextManager[None]:
        """Surround the building of a stage that declares so many bytes of the device."""

    def unloaded(self, stage: str) -> None:
        """Learn that a stage is loaded no more."""

    def running(self, stage: str, count: int) -> AbstractContextManager[None]:
        """Surround a call of a stage on so many inputs; RequestError (503) if the device is not to be had."""

    def waited(self) -> float:
        """Return the seconds of waiting since this was asked before."""

    def options(self) -> Mapping[str, str]:
        """Return the options of onnxruntime's CUDA provider that keep a session within the share."""

    def tend(self) -> None:
        """Look after what it needs while nothing runs; called now and then where nothing does."""


class Executor:
    """The stages of an app that are loaded here, and how to run steps over them.

    clock: a monotonic clock in seconds, for timings.
    began: told a stage's name before each call of it ("" when none runs), so that one sees what hangs.

    Attributes:
        device: where stages run that need a GPU; None where nobody shares it out.
    """

    def __init__(
        self, app: App, *, clock: Callable[[], float], began: Callable[[str], None] = lambda _: None
    ) -> None:
        self._app = app
        self._annotations = app.annotations
        self._clock = clock
        self._began = began
        self.device: Device | None = None
        self._bodies: dict[str, Callable[..., object]] = {}
        self._bound: set[str] = set()

    @property
    def resident(self) -> tuple[str, ...]:
        """The stages that are loaded."""
        return tuple(self._bodies)

    def load(self, stages: Iterable[str]) -> dict[str, float]:
        """Build these stages; return the seconds that each took. LoadError names the one that cannot be built."""
        seconds: dict[str, float] = {}
        for name in stages:
            if name in self._bodies:
                continue
            stage = self._app.stages[name]
            start = self._clock()
            try:
                with (
                    building(name, stage.spec, partial(self._options, stage.spec)),
                    self._loading(stage.spec),
                ):
                    self._bodies[name] = self._announced(stage.spec, stage.build())
            except Exception as error:
                if not isinstance(error, RegrainError):  # which says what is wrong, not where
                    logger.warning("stage %s not loaded", name, exc_info=error)
                raise LoadError(f"stage {name!r} could not be loaded: {sentence(error)}") from error
            seconds[name] = self._clock() - start
        return seconds

    def unload(self, stages: Iterable[str]) -> None:
        """Drop these stages."""
        for name in stages:
            known = self._bodies.pop(name, None) is not None
            self._bound.discard(name)
            if known and self.device is not None and self._app.stages[name].spec.gpu is not None:
                self.device.unloaded(name)

    @contextmanager
    def rebuilding(self) -> Iterator[None]:
        """Surround a change of the device's options; LoadError where a stage cannot be built under the new ones.

        The stages that took the old ones are dropped before, and built again afterwards, also where the change fails.
        """
        bound = [name for name in self._bodies if name in self._bound]
        self.unload(bound)
        gc.collect()
        try:
            yield
        finally:
            self.load(bound)

    def run(self, step: Step, units: Sequence[Work]) -> tuple[list[Outcome], list[Timing]]:
        """Run a step on some units; return an outcome per unit, in order, and a timing per stage that ran.

        A stage that streams gives its items to the unit's `give` and has no other result; its timing ends with the
        first item.
        """
        states = [self._enter(step, unit) for unit in units]
        timings = []
        for name in step.stages:
            live = [state for state in states if state.ended is None]
            if not live:
                break
            timings.append(self._run_stage(name, live, per_item=step.per_item))
        return [self._leave(step, state) for state in states], timings

    def call(self, name: str, jobs: list[Job]) -> Timing:
        """Make a stage's calls: one by one, or of a batched stage in lists of its max_size at most."""
        spec, body = self._app.stages[name].spec, self._bodies[name]
        began = self._clock()
        if spec.streams:
            calls, seconds = len(jobs), sum(self._stream(spec, body, job) for job in jobs)
        else:
            calls = self._call_batched(spec, body, jobs) if spec.batched else call_each(body, jobs)
            seconds = self._clock() - began
        leased = 0.0 if spec.gpu is None or self.device is None else self.device.waited()
        self._began("")
        return Timing(name, max(0.0, seconds - leased), len(jobs), calls, leased)

    def _options(self, spec: StageSpec) -> Mapping[str, str]:
        """Return the device's options for a session of a stage, which from then on keeps to them."""
        if spec.gpu is None or self.device is None:
            return {}
        self._bound.add(spec.name)
        return self.device.options()

    def _loading(self, spec: StageSpec) -> AbstractContextManager[None]:
        if spec.gpu is None or self.device is None:
            return nullcontext()
        return self.device.loading(spec.name, spec.gpu.memory)

    def _running(self, spec: StageSpec, count: int) -> AbstractContextManager[None]:
        return (
            nullcontext()
            if spec.gpu is None or self.device is None
            else self.device.running(spec.name, count)
        )

    def _announced(self, spec: StageSpec, body: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            self._began(spec.name)
            return body(*args, **kwargs)

        def lease_and_call(*args: object, **kwargs: object) -> object:
            self._began("")  # it waits for its lease, and does not run
            given = next(iter((*args, *kwargs.values())), None)
            with self._running(spec, len(given) if spec.batched and isinstance(given, Sized) else 1):
                return call(*args, **kwargs)

        return call if spec.gpu is None or spec.streams else lease_and_call

    def _enter(self, step: Step, unit: Work) -> _State:
        state = _State(unit.context, {}, unit.give)
        for entry, value in zip(step.inputs, unit.values, strict=True):
            if entry.ref.is_input:
                name = entry.ref.node[1:]
                annotation = self._annotations.get(name)
                try:
                    made = convert(value, item_of(annotation) if entry.each else annotation)
                    value = freeze(made)  # noqa: PLW2901  # of arrays that were made here, too
                except Exception as error:
                    said = line(error) if isinstance(error, ValueError) else sentence(error)
                    detail = f"parameter {name!r}: {said}"
                    state.ended = Failed(HTTPStatus.BAD_REQUEST, "", detail[:DETAIL_LIMIT])
                    return state
            state.inputs[entry.ref, entry.each] = value
        return state

    def _leave(self, step: Step, state: _State) -> Outcome:
        if state.ended is not None:
            return state.ended
        try:
            return Gave([_part(state.results[output.ref.node], output.ref) for output in step.outputs])
        except RequestError as error:
            return failed(error.stage, error)

    def _run_stage(self, name: str, states: list[_State], *, per_item: bool) -> Timing:
        node = self._app.graph.node(name)
        spec = self._app.stages[name].spec
        jobs: list[Job] = []
        spans: list[tuple[_State, int, int]] = []
        for state in states:
            start = len(jobs)
            try:
                jobs.extend(self._jobs(node, state, per_item=per_item))
            except RequestError as error:
                state.ended = failed(error.stage or name, error)
                continue
            except Exception as error:  # of memory to copy them
                state.ended = failed(name, error, "could not be given its inputs")
                continue
            spans.append((state, start, len(jobs)))
        timing = self.call(name, jobs)
        for state, start, end in spans:
            self._collect(node, spec, state, jobs[start:end], listed=node.mapped and not per_item)
        return timing

    def _stream(self, spec: StageSpec, body: Callable[..., object], job: Job) -> float:
        """Give a generator's items one by one; return the seconds until the first, or until it ended without."""
        began, first = self._clock(), 0.0
        with entered((job.context,)):
            try:
                items = body(*job.given, **job.named)
                if not isinstance(items, Generator):
                    raise RegrainError(f"it returned a {type(items).__name__}, and no generator")
                with closing(items):
                    while not job.context.cancelled:
                        self._began("")  # it waits for its lease
                        with self._running(spec, 1):
                            self._began(spec.name)
                            item = next(items, _END)
                        self._began("")
                        first = first or self._clock()
                        if item is _END or job.give is None or not job.give(item):
                            break
            except Answer as answer:
                job.error = RegrainError(TOO_LATE) if first else answer
            except ENDS:
                raise
            except BaseException as error:
                job.error = error
        return (first or self._clock()) - began

    def _jobs(self, node: Node, state: _State, *, per_item: bool) -> list[Job]:
        named = {key: self._resolve(arg, state, each=False) for key, arg in node.kwargs.items()}
        if not node.mapped or per_item:
            each = per_item and node.mapped
            args = tuple(self._resolve(arg, state, each=each) for arg in node.args)
            return [Job(state.context, args, named, state.give)]
        lists = [_as_list(self._resolve(arg, state, each=False), node.stage, arg) for arg in node.args]
        lengths = {len(items) for items in lists}
        if len(lengths) > 1:
            found = " and ".join(str(len(items)) for items in lists)
            theirs = all(ref.is_input for ref in self._app.graph.scope(node.stage))
            raise RequestError(
                HTTPStatus.BAD_REQUEST if theirs else HTTPStatus.INTERNAL_SERVER_ERROR,
                f"stage {node.stage!r} is mapped over lists of different lengths: {found}",
            )
        return [Job(state.context, args, named, state.give) for args in zip(*lists, strict=True)]

    def _resolve(self, arg: Arg, state: _State, *, each: bool) -> object:
        if isinstance(arg, Ref):
            if arg.node in state.results:
                return _part(state.results[arg.node], arg)
            if arg.is_input and not each:
                return _part(state.inputs[Ref(arg.node), False], arg)
            return state.inputs[arg, each]
        if isinstance(arg, Const):
            return freeze(unpack_inline(arg.data))
        return _packed(arg, [self._resolve(item, state, each=each) for item in arg.items])

    def _call_batched(self, spec: StageSpec, body: Callable[..., object], jobs: list[Job]) -> int:
        order = self._by_size(spec.name, jobs) if spec.size else jobs
        calls = 0
        for start in range(0, len(order), spec.max_size):
            batch = order[start : start + spec.max_size]
            calls += call_batch(spec, body, batch)
            if start + len(batch) < len(order):
                set_apart(batch)
        return calls

    def _by_size(self, name: str, jobs: list[Job]) -> list[Job]:
        """Return the jobs in order of their size; one that cannot be measured fails and is left out."""
        stage = self._app.stages[name]
        sized: list[tuple[float, Job]] = []
        for job in jobs:
            try:
                sized.append((stage.measure(*job.given, **job.named), job))
            except Exception as error:
                job.error = error
        return [job for _, job in sorted(sized, key=lambda pair: pair[0])]

    def _collect(self, node: Node, spec: StageSpec, state: _State, jobs: list[Job], *, listed: bool) -> None:
        """Turn a unit's finished calls into the stage's result, or into the unit's end."""
        results = []
        for job in jobs:
            error = job.error
            if isinstance(error, Answer):
                state.ended = Ended(node.stage, error.value, error.status, error.headers)
                return
            if error is None:
                results.append(job.result)
            elif spec.errors == "return":
                results.append(Failure.of(spec.name, error))
            else:
                state.ended = failed(node.stage, error)
                if state.ended.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    state.context.log.warning("stage %s failed", node.stage, exc_info=error)
                return
        result: object = results if listed else results[0]
        try:
            state.results[node.stage] = freeze(result)
        except Exception as error:
            state.ended = failed(node.stage, error, "returned what cannot travel")


def _as_list(value: object, stage: str, arg: Arg) -> Sequence[object]:
    if isinstance(value, list | tuple):
        return value
    theirs = isinstance(arg, Ref) and arg.is_input
    raise RequestError(
        HTTPStatus.BAD_REQUEST if theirs else HTTPStatus.INTERNAL_SERVER_ERROR,
        f"stage {stage!r} is mapped over a {type(value).__name__}; allowed are list and tuple",
    )


def _packed(pack: Pack, values: list[object]) -> object:
    if pack.kind == "dict":
        return dict(zip(pack.keys, values, strict=True))
    return tuple(values) if pack.kind == "tuple" else values


def follow(value: object, path: Sequence[str | int]) -> object:
    """Return the field or place of a value that a path names."""
    for key in path:
        if isinstance(key, str):
            value = value[key] if isinstance(value, Mapping) else getattr(value, key)
        elif isinstance(value, list | tuple):
            value = value[key]
        else:
            raise TypeError(f"{type(value).__name__} has no places")
    return value


def _part(value: object, ref: Ref) -> object:
    """Return what a ref names of a value; RequestError says whose has it not."""
    try:
        return follow(value, ref.path)
    except Exception as error:  # a field may be a property, and raise anything
        if ref.is_input:
            detail = f"parameter {ref.node[1:]!r} has no {'.'.join(map(str, ref.path))}"
            raise RequestError(HTTPStatus.BAD_REQUEST, detail) from error
        found = failed(ref.node, error, "has no such field")
        raise RequestError(found.status, found.detail, stage=found.stage) from error
