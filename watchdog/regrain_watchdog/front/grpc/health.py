"""The service grpc.health.v1.Health: whether the app is ready, asked once or watched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

import grpc
from grpc_health.v1 import health_pb2 as pb

from regrain.errors import RequestError
from regrain_watchdog.front.grpc.entry import parsed
from regrain_watchdog.front.grpc.silence import LASTING, Requests, only
from regrain_watchdog.front.grpc.status import code, sentence, trailers

Context = grpc.aio.ServicerContext[bytes, pb.HealthCheckResponse]
NAME = "grpc.health.v1.Health"
LOOK = 0.25
"""Seconds between two looks for those who watch."""


class Health:
    """Answers health checks.

    Args:
        services: the names that are known beside "", which is the server.
        unready: why the app is not ready; "" when it is.
        calls: those that the server takes at once.
        seconds: in which a caller must ask.
    """

    def __init__(
        self, services: tuple[str, ...], unready: Callable[[], str], *, calls: int, seconds: float
    ) -> None:
        self._services = ("", *services)
        self._unready = unready
        self._seconds = seconds
        self._ended = asyncio.Event()
        self._most = max(calls // LASTING, min(1, calls - 1))  # a watch takes no server whole
        self._watching = 0

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the methods for a server."""
        write = pb.HealthCheckResponse.SerializeToString
        methods: dict[str, grpc.RpcMethodHandler[bytes, pb.HealthCheckResponse]] = {
            "Check": grpc.stream_unary_rpc_method_handler(self._check, None, write),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch, None, write),
        }
        return grpc.method_handlers_generic_handler(NAME, methods)

    def end(self) -> None:
        """Tell those who watch that it is over."""
        self._ended.set()

    async def _check(self, requests: Requests, context: Context) -> pb.HealthCheckResponse:
        service = await self._service(requests, context)
        if service not in self._services:
            error = RequestError(HTTPStatus.NOT_FOUND, f"there is no service {service!r}")
            await context.abort(code(error.status), sentence(error))
        return pb.HealthCheckResponse(status=self._status(service))

    async def _watch(self, requests: Requests, context: Context) -> None:
        service = await self._service(requests, context)
        if self._watching >= self._most:
            error = RequestError(HTTPStatus.TOO_MANY_REQUESTS, f"{self._most} watch already")
            await context.abort(code(error.status), sentence(error), trailers(error))
        self._watching += 1
        try:
            await self._tell(service, context)
        finally:
            self._watching -= 1

    async def _tell(self, service: str, context: Context) -> None:
        """Tell of changes until the end."""
        told = None
        while True:
            is_last, status = self._ended.is_set(), self._status(service)
            if status != told:
                await context.write(pb.HealthCheckResponse(status=status))  # it may end meanwhile
                told = status
            if is_last:
                return
            try:
                await asyncio.wait_for(self._ended.wait(), LOOK)
            except TimeoutError:
                continue

    def _status(self, service: str) -> int:
        if service not in self._services:
            return pb.HealthCheckResponse.SERVICE_UNKNOWN
        if self._ended.is_set() or self._unready():
            return pb.HealthCheckResponse.NOT_SERVING
        return pb.HealthCheckResponse.SERVING

    async def _service(self, requests: Requests, context: Context) -> str:
        """The service that is asked for."""
        data = await only(requests, context, self._seconds)
        try:
            return parsed(pb.HealthCheckRequest, data).service
        except RequestError as error:
            await context.abort(code(error.status), sentence(error))
