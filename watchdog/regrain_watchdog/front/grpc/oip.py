"""The service inference.GRPCInferenceService."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from regrain.errors import RequestError
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.grpc import inference_pb2 as pb
from regrain_watchdog.front.grpc import tensors
from regrain_watchdog.front.grpc.entry import Context, Entry, Headers, parsed
from regrain_watchdog.front.grpc.status import code, sentence, trailers
from regrain_watchdog.front.grpc.stream import Answer, Streams
from regrain_watchdog.front.oip.inference import Inference
from regrain_watchdog.front.oip.model import JSONObject, server_metadata

NAME = "inference.GRPCInferenceService"
INFER = f"/{NAME}/ModelInfer"
STREAM = f"/{NAME}/ModelStreamInfer"
ASKS_FOR_END = "triton_enable_empty_final_response"
"""The parameter of a request that wants an empty message behind the last item."""
IS_END = "triton_final_response"
"""The parameter of an answer that says whether it is that message."""
OPEN = frozenset({"ServerLive", "ServerReady", "ModelReady"})
"""What is answered without the invocation key: probes have none."""


class OpenInference:
    """Answers the protocol's methods for an app.

    Args:
        inference: the app as a model.
        entry: what calls go through.
        streams: what keeps streams of calls.

    Attributes:
        inference: what answers from the next request on.
    """

    def __init__(self, inference: Inference, entry: Entry, streams: Streams) -> None:
        self.inference = inference
        self._entry = entry
        self._streams = streams

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the methods for a server."""
        pages = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._repository_index,
        }
        found = {name: self._entry.page(page, is_open=name in OPEN) for name, page in pages.items()}
        found["ModelInfer"] = self._entry.unary(INFER, self._infer)
        found["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(NAME, found)

    async def _infer(self, data: bytes, call: Call, headers: Headers) -> pb.ModelInferResponse:
        request = tensors.read(parsed(pb.ModelInferRequest, data))
        return tensors.write(await self.inference.run(call, request, headers))

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        try:
            self._entry.check(context)
        except RequestError as error:
            await context.abort(code(error.status), sentence(error), trailers(error))
        await self._streams.serve(requests, context, partial(self._streamed, context))

    async def _streamed(self, context: Context, data: bytes) -> Answer:
        if self.inference.service.manifest.graph.streams:
            return self._parts(context, data)
        answer, _, error = await self._entry.counted(STREAM, self._infer_in_stream, data, context)
        return _failed(data, error) if error is not None else answer

    async def _infer_in_stream(
        self, data: bytes, call: Call, headers: Headers
    ) -> pb.ModelStreamInferResponse:
        return pb.ModelStreamInferResponse(infer_response=await self._infer(data, call, headers))

    async def _parts(self, context: Context, data: bytes) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._entry.parts(STREAM, self._infer_items, data, context)) as parts:
            async for part in parts:
                yield _failed(data, part) if isinstance(part, RequestError) else part

    async def _infer_items(
        self, data: bytes, call: Call, headers: Headers
    ) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
        """Answer with a message per item; the end is told by an empty one to whoever asks for that, as Triton does."""
        message = parsed(pb.ModelInferRequest, data)
        request = tensors.read(message)
        async with aclosing(self.inference.stream(call, request, headers)) as results:
            async for result in results:
                yield _of_stream(tensors.write(result), is_final=False)
        if message.parameters[ASKS_FOR_END].bool_param:
            model = self.inference.model
            end = pb.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)
            yield _of_stream(end, is_final=True)

    def _server_live(self, data: bytes) -> Message:
        parsed(pb.ServerLiveRequest, data)
        return pb.ServerLiveResponse(live=True)

    def _server_ready(self, data: bytes) -> Message:
        parsed(pb.ServerReadyRequest, data)
        return pb.ServerReadyResponse(ready=not self.inference.service.unready())

    def _model_ready(self, data: bytes) -> Message:
        request = parsed(pb.ModelReadyRequest, data)
        self.inference.model.check(request.name, request.version)
        return pb.ModelReadyResponse(ready=not self.inference.service.unready())

    def _server_metadata(self, data: bytes) -> Message:
        parsed(pb.ServerMetadataRequest, data)
        return _filled(server_metadata(), pb.ServerMetadataResponse())

    def _model_metadata(self, data: bytes) -> Message:
        request = parsed(pb.ModelMetadataRequest, data)
        model = self.inference.model
        model.check(request.name, request.version)
        return _filled(model.metadata(), pb.ModelMetadataResponse())

    def _model_config(self, data: bytes) -> Message:
        request = parsed(pb.ModelConfigRequest, data)
        model = self.inference.model
        model.check(request.name, request.version)
        return _filled({"config": model.config()}, pb.ModelConfigResponse())

    def _model_statistics(self, data: bytes) -> Message:
        request = parsed(pb.ModelStatisticsRequest, data)
        model = self.inference.model
        model.check(request.name or model.name, request.version)
        told: JSONObject = {"model_stats": [self.inference.statistics.told(model)]}
        return _filled(told, pb.ModelStatisticsResponse())

    def _repository_index(self, data: bytes) -> Message:
        parsed(pb.RepositoryIndexRequest, data)
        return pb.RepositoryIndexResponse()


def _filled(told: JSONObject, message: Message) -> Message:
    """A message with what JSON values say."""
    return ParseDict(told, message)


def _of_stream(answer: pb.ModelInferResponse, *, is_final: bool) -> pb.ModelStreamInferResponse:
    answer.parameters[IS_END].bool_param = is_final
    return pb.ModelStreamInferResponse(infer_response=answer)


def _failed(data: bytes, error: RequestError) -> bytes:
    """An error as a stream tells it, under the id of its request."""
    try:
        request = parsed(pb.ModelInferRequest, data)
    except RequestError:
        request = pb.ModelInferRequest()
    response = pb.ModelInferResponse(id=request.id, model_name=request.model_name)
    detail = f"stage {error.stage}: {error.detail}" if error.stage else error.detail
    return pb.ModelStreamInferResponse(error_message=detail, infer_response=response).SerializeToString()
