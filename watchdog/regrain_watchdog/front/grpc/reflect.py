"""The service of reflection: it tells clients such as grpcurl our services and their messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha import reflection_pb2 as pb

from regrain.errors import RequestError
from regrain.wire import invoke_pb2
from regrain_watchdog.front.grpc import inference_pb2
from regrain_watchdog.front.grpc.entry import Context, parsed
from regrain_watchdog.front.grpc.silence import Silence
from regrain_watchdog.front.grpc.status import code, sentence, trailers
from regrain_watchdog.front.grpc.stream import send

NAME = reflection.SERVICE_NAME


class Reflection:
    """Answers what clients ask about services.

    Args:
        services: the names of those that are served beside this one.
        check: RequestError for a caller that may not ask.
        silence: bounds the time in which a caller must ask something; one must take an answer within its seconds.
    """

    def __init__(
        self,
        services: tuple[str, ...],
        check: Callable[[Context], object] = lambda _: None,
        *,
        silence: Silence,
    ) -> None:
        self._check = check
        self._silence = silence
        self._servicer = reflection.aio.ReflectionServicer((*services, NAME), pool=_described())

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the method for a server."""
        method: grpc.RpcMethodHandler[bytes, bytes]
        method = grpc.stream_stream_rpc_method_handler(self._reflect)
        return grpc.method_handlers_generic_handler(NAME, {"ServerReflectionInfo": method})

    async def _reflect(self, requests: AsyncIterator[bytes], context: Context) -> None:
        answers: AsyncIterator[pb.ServerReflectionResponse]
        answers = self._servicer.ServerReflectionInfo(self._each(requests), context)  # type: ignore[assignment]  # a generator, for the stub a coroutine
        try:
            self._check(context)
            with self._silence.stream():
                async for answer in answers:
                    await send(context, answer.SerializeToString(), self._silence.seconds)
        except RequestError as error:
            await context.abort(code(error.status), sentence(error), trailers(error))

    async def _each(self, requests: AsyncIterator[bytes]) -> AsyncIterator[pb.ServerReflectionRequest]:
        while (data := await self._silence.until_asked(requests)) is not None:
            yield parsed(pb.ServerReflectionRequest, data)


def _described() -> DescriptorPool:
    """What reflection tells: every file of ours in one pool."""
    pool = DescriptorPool()
    files = (
        inference_pb2.POOL.FindFileByName("inference.proto"),
        invoke_pb2.POOL.FindFileByName("invoke.proto"),
        health_pb2.DESCRIPTOR,
        pb.DESCRIPTOR,
    )
    for file in files:
        told = FileDescriptorProto()
        file.CopyToProto(told)
        pool.Add(told)
    return pool
