"""An app in this process, at any grain: for tests of one's own app without a server.

Stages run through the executor that replicas use, and what goes from group to group is packed and unpacked
as between processes, so that what cannot travel fails here too and a grain can be held to the same answers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from itertools import count

from regrain import grain as grains
from regrain.app import App
from regrain.context import Context
from regrain.errors import RequestError, SpecError
from regrain.execute import Executor, Work, follow
from regrain.graph import Arg, Const, Graph, Pack, Ref
from regrain.json_schema import Schema, check_length
from regrain.outcomes import Ended, Failed, Gave, Outcome, failed
from regrain.plan import Input, Step, steps
from regrain.wire.codec import pack, unpack, unpack_inline


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a request ended: the flow's answer, or what a stage ended it with by regrain.answer()."""

    value: object
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Call:
    """A request under way: its parameters, what groups gave so far by Step.outputs, and how it ended."""

    context: Context
    parameters: dict[str, object]
    results: dict[Ref, object] = field(default_factory=dict)
    items: list[object] = field(default_factory=list)
    ended: Reply | RequestError | None = None


class Session:
    """An app whose stages are loaded once, for any number of requests at any grain.

    Args:
        app: the app.
        headers: of every request, names in lower case.
        timeout: seconds until each request's deadline; None for none.
    """

    def __init__(
        self, app: App, *, headers: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> None:
        self._app = app
        self._headers = dict(headers or {})
        self._timeout = timeout
        self._executor = Executor(app, clock=time.monotonic)
        self._calls = count(1)

    def __enter__(self) -> Session:
        self._executor.load(self._app.graph.stages)
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.unload(self._app.graph.stages)

    def run(self, *args: object, grain: str = "coarse", **parameters: object) -> object:
        """Run one request and return its answer, whatever status a stage gave it; of a stream, the list of its items.

        Args:
            args: the flow's parameters in order.
            grain: in grain notation.
            parameters: the flow's parameters by name.

        Raises:
            RequestError: the request failed; as a caller over HTTP would be told.
            SpecError: unknown or missing parameters, or no grain of this app.
            LoadError: a stage could not be built.
        """
        return self.reply(*args, grain=grain, **parameters).value

    def reply(self, *args: object, grain: str = "coarse", **parameters: object) -> Reply:
        """Run one request; return answer, status and headers. Raises as `run` does."""
        reply = self.together([self._bound(args, parameters)], grain=grain)[0]
        if isinstance(reply, RequestError):
            raise reply
        return reply

    def together(
        self, requests: Sequence[Mapping[str, object]], *, grain: str = "coarse"
    ) -> list[Reply | RequestError]:
        """Run several requests as one dispatch, so that batched stages see them together.

        Args:
            requests: the parameters of each, by name.
            grain: in grain notation.

        Returns:
            How each ended, in order.

        Raises:
            SpecError: unknown or missing parameters, or no grain of this app.
            LoadError: a stage could not be built.
        """
        graph = self._app.graph
        self._executor.load(graph.stages)
        calls = [_Call(self._context(), self._bound((), request)) for request in requests]
        schemas = {parameter.name: parameter.schema for parameter in self._app.manifest().parameters}
        for step in steps(graph, grains.parse(grain, graph)):
            self._run_step(step, [call for call in calls if call.ended is None], schemas)
        return [call.ended or self._answered(call) for call in calls]

    def _context(self) -> Context:
        deadline = time.monotonic() + self._timeout if self._timeout is not None else 0.0
        return Context(call_id=f"test-{next(self._calls)}", headers=self._headers, deadline=deadline)

    def _bound(self, args: tuple[object, ...], named: Mapping[str, object]) -> dict[str, object]:
        """Return every parameter's value: as given, as it comes out of the codec, or its default."""
        names = self._app.graph.inputs
        given = dict(zip(names, args, strict=False)) | dict(named)
        if len(args) > len(names) or given.keys() - set(names) or set(names[: len(args)]) & named.keys():
            raise SpecError(
                f"parameters of app {self._app.name!r} are {', '.join(names) or 'none'}, each once"
            )
        values = {}
        for parameter in self._app.manifest().parameters:
            if parameter.name in given:
                values[parameter.name] = _carried(given[parameter.name])
            elif parameter.required:
                raise SpecError(f"parameter {parameter.name!r} of app {self._app.name!r} is missing")
            else:
                values[parameter.name] = unpack_inline(parameter.default)
        return values

    def _run_step(self, step: Step, calls: list[_Call], schemas: Mapping[str, Schema]) -> None:
        works: list[Work] = []
        spans: list[tuple[_Call, int, int]] = []
        for call in calls:
            start = len(works)
            try:
                works += _works(self._app.graph, step, call, schemas)
            except RequestError as error:
                call.ended = error
                continue
            spans.append((call, start, len(works)))
        outcomes = self._executor.run(step, works)[0] if works else []
        for call, start, end in spans:
            _collect(step, call, outcomes[start:end])

    def _answered(self, call: _Call) -> Reply:
        if self._app.graph.streams:
            return Reply(value=call.items)
        return Reply(value=_resolved(self._app.graph.output, call))


def run(app: App, *args: object, grain: str = "coarse", **parameters: object) -> object:
    """Run one request through an app and return its answer; see Session.run.

    Stages are built for this request alone; a Session keeps them.
    """
    with Session(app) as session:
        return session.run(*args, grain=grain, **parameters)


def _carried(value: object) -> object:
    """A value as another process gets it; UnsupportedValueError if it cannot travel."""
    return unpack(pack(value, None), None)


def _works(graph: Graph, step: Step, call: _Call, schemas: Mapping[str, Schema]) -> list[Work]:
    """What a call brings to a step: itself, or its items."""
    if not step.per_item:
        return [Work(call.context, [_input(entry, call) for entry in step.inputs], partial(_give, call))]
    values = [(_items(entry, call, step, schemas) if entry.each else None, entry) for entry in step.inputs]
    lengths = {len(items) for items, _ in values if items is not None}
    if len(lengths) > 1:
        found = " and ".join(map(str, sorted(lengths)))
        theirs = all(ref.is_input for ref in graph.scope(step.stages[0]))
        status = HTTPStatus.BAD_REQUEST if theirs else HTTPStatus.INTERNAL_SERVER_ERROR
        raise _failure(step, f"is mapped over lists of different lengths: {found}", status)
    return [
        Work(
            call.context, [_input(entry, call) if items is None else items[place] for items, entry in values]
        )
        for place in range(next(iter(lengths), 0))
    ]


def _give(call: _Call, item: object) -> bool:
    call.items.append(_carried(item))
    return True


def _input(entry: Input, call: _Call) -> object:
    if entry.ref.is_input:
        return follow(call.parameters[entry.ref.node[1:]], entry.ref.path)
    return call.results[entry.ref]


def _items(entry: Input, call: _Call, step: Step, schemas: Mapping[str, Schema]) -> Sequence[object]:
    value, ref = _input(entry, call), entry.ref
    if not isinstance(value, list | tuple):
        status = HTTPStatus.BAD_REQUEST if ref.is_input else HTTPStatus.INTERNAL_SERVER_ERROR
        raise _failure(step, f"is mapped over a {type(value).__name__}; allowed are list and tuple", status)
    if ref.is_input:
        try:
            check_length(len(value), schemas[ref.node[1:]])
        except ValueError as error:
            raise RequestError(HTTPStatus.BAD_REQUEST, f"parameter {ref.node[1:]!r}: {error}") from error
    return value


def _failure(step: Step, detail: str, status: HTTPStatus) -> RequestError:
    stage = step.stages[0]
    return RequestError(status, f"stage {stage!r} {detail}", stage=stage)


def _collect(step: Step, call: _Call, outcomes: list[Outcome]) -> None:
    """Take over what the call's units gave, or how the first of them ended it."""
    gave: list[Gave] = []
    for outcome in outcomes:
        if isinstance(outcome, Gave):
            gave.append(outcome)
        elif call.ended is None:
            call.ended = _end(outcome)
    if call.ended is not None:
        return
    for place, output in enumerate(step.outputs):
        try:
            values = [_carried(one.values[place]) for one in gave]
        except Exception as error:
            call.ended = _error(failed(output.ref.node, error, "returned what cannot travel"))
            return
        call.results[output.ref] = values if step.per_item else values[0]


def _end(outcome: Failed | Ended) -> Reply | RequestError:
    if isinstance(outcome, Failed):
        return _error(outcome)
    try:
        return Reply(value=_carried(outcome.value), status=outcome.status, headers=outcome.headers)
    except Exception as error:
        return _error(failed(outcome.stage, error, "returned what cannot travel"))


def _error(outcome: Failed) -> RequestError:
    return RequestError(outcome.status, outcome.detail, stage=outcome.stage, headers=outcome.headers)


def _resolved(arg: Arg, call: _Call) -> object:
    """Return the answer as the flow puts it together."""
    if isinstance(arg, Const):
        return unpack_inline(arg.data)
    if isinstance(arg, Pack):
        items = [_resolved(item, call) for item in arg.items]
        if arg.kind == "dict":
            return dict(zip(arg.keys, items, strict=True))
        return tuple(items) if arg.kind == "tuple" else items
    return _input(Input(arg), call)
