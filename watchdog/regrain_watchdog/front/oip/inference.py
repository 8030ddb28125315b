"""A request of the protocol is run: as one call, or as many as its batch has items, answered together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from regrain.errors import RequestError
from regrain_watchdog.front import urgency
from regrain_watchdog.front.call import Call, Reply, Service
from regrain_watchdog.front.content import Values
from regrain_watchdog.front.oip.model import Model
from regrain_watchdog.front.oip.statistics import Statistics
from regrain_watchdog.front.oip.tensors import Tensor
from regrain_watchdog.front.oip.values import check_outputs, tensors_of, values_of
from regrain_watchdog.front.streaming import Stream

REFUSED = {
    "sequence_id": "this server has no sequences: every request stands alone",
    "shared_memory_region": "this server takes no shared memory regions",
    "classification": "this server gives outputs as they are, without classification",
}
"""Parameters of a request, an input or an output that ask for what there is not."""
MAX_TIMEOUT = (1 << 63) - 1
"""Microseconds of the parameter `timeout` at most: what it has room for over gRPC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a model.

    outputs: those wanted; none means all. timeout: seconds that the caller gives it, 0.0 for no end.
    """

    model: str
    version: str
    id: str
    inputs: Sequence[Tensor]
    outputs: Sequence[str] = ()
    timeout: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a model answers."""

    model: Model
    id: str
    outputs: Sequence[Tensor]


class Inference:
    """An app that answers requests of the protocol.

    Args:
        service: what runs the calls.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.statistics = Statistics()
        self._model = Model(service.manifest)

    @property
    def model(self) -> Model:
        """The app as a model, in the version that serves now."""
        if self._model.manifest is not self.service.manifest:
            self._model = Model(self.service.manifest)
        return self._model

    async def run(self, call: Call, request: Request, headers: dict[str, str]) -> Result:
        """Answer a request; `call` has everything but its values. RequestError says how it failed."""
        model = self.model
        values, batched = self._asked(model, call, request, headers)
        try:
            replies = await self._submit(call, values)
            outputs = tensors_of(model, replies, batched=batched, wanted=request.outputs)
        except RequestError:
            self.statistics.failed(time.monotonic() - call.arrived)
            raise
        self.statistics.succeeded(time.monotonic() - call.arrived, len(values), call.spans)
        return Result(model=model, id=request.id, outputs=outputs)

    async def stream(
        self, call: Call, request: Request, headers: dict[str, str]
    ) -> AsyncGenerator[Result, None]:
        """Answer a request by a result per item of a streamed answer. RequestError says how it failed, and when."""
        model = self.model
        values, batched = self._asked(model, call, request, headers)
        if len(values) > 1:
            detail = (
                f"the request has {len(values)} items; the answer to each is a stream: ask for one at a time"
            )
            raise RequestError(HTTPStatus.BAD_REQUEST, detail)
        call.values = values[0]
        items = Stream(self.service, call)
        first = 0.0
        try:
            early = await items.begin()
            first = time.monotonic()
            async for reply in _replies(early, items):
                outputs = tensors_of(model, [reply], batched=batched, wanted=request.outputs)
                yield Result(model=model, id=request.id, outputs=outputs)
        except RequestError:
            self.statistics.failed((first or time.monotonic()) - call.arrived)
            raise
        finally:
            items.close()
        self.statistics.succeeded(first - call.arrived, 1, call.spans)

    def _asked(
        self, model: Model, call: Call, request: Request, headers: dict[str, str]
    ) -> tuple[list[Values], bool]:
        """Return the parameters of each call that a request asks for, and whether it is a batch."""
        model.check(request.model, request.version)
        check_outputs(model, request.outputs)
        if request.timeout:
            urgency.lower(call, request.timeout)
        return values_of(model, request.inputs, headers)

    async def _submit(self, call: Call, values: Sequence[dict[str, object]]) -> Sequence[Reply]:
        call.values = values[0]
        if len(values) == 1:
            return [await self.service.submit(call)]
        calls = [
            call,
            *(replace(call, values=others, id=f"{call.id}-{at}") for at, others in enumerate(values[1:], 1)),
        ]
        try:
            async with (
                asyncio.TaskGroup() as group
            ):  # made here and now, all are of the version that was asked
                tasks = [group.create_task(self.service.submit(one)) for one in calls]
        except* RequestError:
            raise _failure(tasks) from None
        return [task.result() for task in tasks]


async def _replies(early: Reply | None, items: Stream) -> AsyncIterator[Reply]:
    if early is not None:
        yield early
        return
    async for item in items:
        yield Reply(value=item)


def refuse(parameters: Mapping[str, object]) -> None:
    """Refuse (400) what a request asks for by its parameters and there is not."""
    for name, why in REFUSED.items():
        if parameters.get(name):
            raise RequestError(HTTPStatus.BAD_REQUEST, f"parameter {name!r}: {why}")


def timeout_of(parameters: Mapping[str, object]) -> float:
    """Return the seconds that a request's parameter `timeout` (microseconds) gives it; 0.0 without one."""
    given = parameters.get("timeout", 0)
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= MAX_TIMEOUT:
        shown = repr(given)[:40]
        detail = f"parameter 'timeout' was {shown}, allowed are whole microseconds, 0 to {MAX_TIMEOUT}"
        raise RequestError(HTTPStatus.BAD_REQUEST, detail)
    return given / 1e6


def _failure(tasks: Sequence[asyncio.Task[Reply]]) -> RequestError:
    """The error of a request: that of its first item that failed."""
    failed = ((place, task.exception()) for place, task in enumerate(tasks) if not task.cancelled())
    place, error = next((place, error) for place, error in failed if isinstance(error, RequestError))
    return RequestError(
        error.status, f"item {place}: {error.detail}", stage=error.stage, headers=error.headers
    )
