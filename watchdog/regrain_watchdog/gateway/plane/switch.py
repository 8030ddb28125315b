"""Functions over gRPC: a call is for the function that its metadata names, or for the one whose model it asks for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from http import HTTPStatus
from typing import cast

import grpc
from google.protobuf.message import DecodeError

from regrain.errors import RequestError
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.grpc import health, oip, reflect
from regrain_watchdog.front.grpc import inference_pb2 as pb
from regrain_watchdog.front.grpc.entry import Context
from regrain_watchdog.front.grpc.methods import SERVICES
from regrain_watchdog.front.grpc.server import Listening
from regrain_watchdog.front.grpc.silence import Given, Requests, Silence, only
from regrain_watchdog.front.grpc.status import code, sentence, trailers
from regrain_watchdog.gateway.plane.counts import Counts
from regrain_watchdog.gateway.plane.functions import Functions
from regrain_watchdog.gateway.plane.hosting import Hosting
from regrain_watchdog.gateway.plane.kinds.app import AppInstance
from regrain_watchdog.gateway.plane.route import named
from regrain_watchdog.gateway.plane.version import Version
from regrain_watchdog.gateway.settings import PREFIX

FUNCTION = "function"
"""Metadata that names a function, as NAME or NAME.NAMESPACE."""
OURS = {
    f"/{oip.NAME}/ServerLive": pb.ServerLiveResponse(live=True).SerializeToString(),
    f"/{oip.NAME}/ServerReady": pb.ServerReadyResponse(ready=True).SerializeToString(),
}
"""What the gateway answers for all functions."""
Method = Callable[[Requests | Given, Context], Awaitable[bytes]]
STREAM = f"/{oip.NAME}/ModelStreamInfer"


class Switch(grpc.GenericRpcHandler):
    """Hands calls on to apps.

    Args:
        functions: all of them.
        counts: what counts invocations.
        silence: bounds the time in which a stream must ask something.
        seconds: in which the message of any other call must be here.
    """

    def __init__(self, functions: Functions, counts: Counts, silence: Silence, seconds: float) -> None:
        self._functions = functions
        self._counts = counts
        self._silence = silence
        self._seconds = seconds

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Return the method that is asked for; None where there is none."""
        details = handler_call_details
        if details.method.split("/")[1] not in SERVICES:
            return None
        metadata = details.invocation_metadata or ()
        name = next((str(text) for key, text in metadata if key == FUNCTION), "")
        if details.method == STREAM:
            return grpc.stream_stream_rpc_method_handler(partial(self._stream, details, name))
        return grpc.stream_unary_rpc_method_handler(partial(self._unary, details, name))

    async def _unary(
        self, details: grpc.HandlerCallDetails, name: str, requests: Requests, context: Context
    ) -> bytes:
        data = await only(requests, context, self._seconds)
        if not name and details.method in OURS:
            return OURS[details.method]
        hosting, found = await self._entered(name, data, context)
        with self._counted(hosting, found):
            return await _method(found, details)(Given(data), context)

    async def _stream(
        self,
        details: grpc.HandlerCallDetails,
        name: str,
        requests: Requests,
        context: Context,
    ) -> None:
        try:
            with self._silence.stream():  # which is over before its end is told: it takes no room from others
                first = await self._silence.until_asked(requests)
                if first is None:
                    return
                hosting, found = await self._entered(name, first, context)
                with self._counted(hosting, found):
                    await _method(found, details)(_joined(first, requests), context)
        except RequestError as error:
            await context.abort(code(error.status), sentence(error), trailers(error))

    @contextlib.contextmanager
    def _counted(self, hosting: Hosting, found: Version) -> Iterator[None]:
        """Count a call of the block's; what is raised there counts as 500, as gRPC has no such codes."""
        self._counts.began(hosting.key)
        began, status = time.monotonic(), HTTPStatus.INTERNAL_SERVER_ERROR
        try:
            yield
            status = HTTPStatus.OK
        finally:
            hosting.leave(found)
            self._counts.ended(hosting.key, status, time.monotonic() - began)

    async def _entered(self, name: str, data: bytes, context: Context) -> tuple[Hosting, Version]:
        """Return the function that a call is for, and its version that takes it; the call ends where there is none."""
        try:
            hosting = self._find(name, data)
            found = await hosting.enter()
            if isinstance(found.instance, AppInstance):
                return hosting, found
            hosting.leave(found)
            raise RequestError(
                HTTPStatus.NOT_FOUND, f"{hosting.key[1]} is no app: it is asked over HTTP alone"
            )
        except RequestError as error:
            await context.abort(code(error.status), sentence(error), trailers(error))

    def _find(self, name: str, data: bytes) -> Hosting:
        """Return the function of a name, or else the one whose name or whose app's is that of the model asked for."""
        model = name or _model(data)
        found = self._functions.find(named(model)) if model else None
        if found is None and not name:
            found = next((one for one in self._functions.all() if _serves(one, model)), None)
        if found is None:
            asked = f"there is no function or model {model!r}" if model else "no function is named"
            raise RequestError(HTTPStatus.NOT_FOUND, f"{asked}: the metadata {FUNCTION!r} names one")
        return found


class Calls(Listening):
    """The gateway's port of gRPC.

    Args:
        functions: all of them.
        counts: what counts invocations.
        config: its address, and limits.
    """

    def __init__(self, functions: Functions, counts: Counts, config: Config) -> None:
        self._silence = Silence.of(config)
        switch = Switch(functions, counts, self._silence, config.body_timeout)
        self._health = health.Health(
            SERVICES, lambda: "", calls=config.max_connections, seconds=config.body_timeout
        )
        reflection = reflect.Reflection((*SERVICES, health.NAME), silence=self._silence)
        super().__init__((switch, self._health.handlers(), reflection.handlers()), config, prefix=PREFIX)

    def drain(self) -> None:
        """Let watchers end, and streams that ask nothing."""
        self._silence.drain()
        self._health.end()


def _method(found: Version, details: grpc.HandlerCallDetails) -> Method:
    """Return an app's own method."""
    instance = found.instance
    if isinstance(instance, AppInstance):
        for handler in instance.methods().handlers:
            method = handler.service(details)
            if method is not None:
                return cast("Method", method.stream_unary or method.stream_stream)
    return _unknown


async def _unknown(_: object, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such method")


def _serves(hosting: Hosting, model: str) -> bool:
    return isinstance(hosting.instance, AppInstance) and hosting.instance.model == model


def _model(data: bytes) -> str:
    """Return the model that a message asks for: it is the first field of all that name one."""
    try:
        return pb.ModelReadyRequest.FromString(data).name
    except DecodeError:
        return ""


async def _joined(first: bytes, rest: Requests) -> Requests:
    yield first
    async for data in rest:
        yield data
