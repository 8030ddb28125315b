"""Call an app over gRPC as if it were a function: values go out and come back as what they are."""

from __future__ import annotations

from http import HTTPStatus
from types import TracebackType
from typing import Self

import grpc

from regrain.bearer import bearer
from regrain.errors import RequestError, SpecError
from regrain.hosts import names_loopback
from regrain.media import ACCEPT, JSON, decoded, encoded, to_json
from regrain.wire import invoke_pb2 as pb

DEFAULT = "127.0.0.1:9000"
INVOKE = "/regrain.App/Invoke"
HEALTH = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"
"""The message HealthCheckResponse(status=SERVING)."""
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))

STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}
"""What a status means where none of HTTP came with it: it is then gRPC's own, and not the app's."""
TOLD = {"x-call-id": "X-Call-Id", "retry-after": "Retry-After"}
_pack, _unpack = pb.InvokeRequest.SerializeToString, pb.InvokeReply.FromString


class _Caller:
    """What both clients know of the app that they call."""

    def __init__(self, address: str, *, timeout: float, key: str, root_certificates: bytes | None) -> None:
        host, _, port = address.rpartition(":")
        if not host or "/" in host or not port.isdecimal():
            raise SpecError(f"address must be like host:9000, was {address!r}")
        self.address = address
        self._timeout = timeout
        self._metadata = (("authorization", bearer(key)),) if key else ()
        own = (("grpc.enable_http_proxy", 0),) if names_loopback(address) else ()
        self._options = (*OPTIONS, *own)  # no proxy stands before one's own machine
        self._credentials = (
            None if root_certificates is None else grpc.ssl_channel_credentials(root_certificates)
        )

    def _error(self, error: grpc.RpcError) -> RequestError:
        if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
            return RequestError(HTTPStatus.BAD_GATEWAY, f"{self.address}: {error}")
        told = {name: text for name, text in error.trailing_metadata() or () if isinstance(text, str)}
        headers = {name: told[sent] for sent, name in TOLD.items() if sent in told}
        code, detail = error.code(), error.details() or ""
        if "x-status" in told:
            return RequestError(
                _status(told["x-status"]), detail, stage=told.get("x-stage", ""), headers=headers
            )
        status = STATUSES.get(code, HTTPStatus.BAD_GATEWAY)
        if status is HTTPStatus.GATEWAY_TIMEOUT:
            detail = f"no answer from {self.address} within {self._timeout:g} s"
        elif status is HTTPStatus.SERVICE_UNAVAILABLE:
            detail = f"nothing answers at {self.address}: {detail}"
        return RequestError(status, detail, headers=headers)


class GrpcClient(_Caller):
    """A caller of one app; it keeps its connection, and threads may share it.

    Args:
        address: where the app serves gRPC, as host:port.
        timeout: seconds that a call may take; the app knows them as its deadline.
        key: the invocation key, where the app asks for one.
        root_certificates: PEM of who signed the app's certificate; where given, the connection is TLS.
    """

    def __init__(
        self,
        address: str = DEFAULT,
        *,
        timeout: float = 10.0,
        key: str = "",
        root_certificates: bytes | None = None,
    ) -> None:
        super().__init__(address, timeout=timeout, key=key, root_certificates=root_certificates)
        if self._credentials is None:
            self._channel = grpc.insecure_channel(address, self._options)
        else:
            self._channel = grpc.secure_channel(address, self._credentials, self._options)
        self._invoke = self._channel.unary_unary(INVOKE, _pack, _unpack)
        self._check = self._channel.unary_unary(HEALTH, bytes, bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def invoke(self, body: object = None, /, **parameters: object) -> object:
        """Send a request and return the answer: what JSON holds, an array, a str, or bytes.

        Args:
            body: the whole request body: bytes as they are, an array as npy, text, else JSON.
            parameters: instead of a body, by the names of the app's parameters, each as what it is.

        Raises:
            RequestError: the app refused or failed; with its status, detail and stage, and in `headers`
                X-Call-Id and Retry-After where sent. 503 if nothing answers there, 504 if no answer came
                within the timeout.
            SpecError: both a body and parameters, or a value that cannot be sent.
        """
        request = _request(body, parameters)
        try:
            reply = self._invoke(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._error(error) from error
        return decoded(reply.body, reply.content_type)

    def ready(self) -> bool:
        """Whether the app is there and every group of it has a warm replica."""
        try:
            return self._check(b"", timeout=self._timeout) == SERVING
        except grpc.RpcError:
            return False


class AsyncGrpcClient(_Caller):
    """A caller of one app from an event loop: `GrpcClient` with its methods to be awaited.

    Make it where the loop runs, and share it: calls run at once over one connection. A call whose task is cancelled
    is cancelled in the app as well.

    Args:
        address: where the app serves gRPC, as host:port.
        timeout: seconds that a call may take; the app knows them as its deadline.
        key: the invocation key, where the app asks for one.
        root_certificates: PEM of who signed the app's certificate; where given, the connection is TLS.
    """

    def __init__(
        self,
        address: str = DEFAULT,
        *,
        timeout: float = 10.0,
        key: str = "",
        root_certificates: bytes | None = None,
    ) -> None:
        super().__init__(address, timeout=timeout, key=key, root_certificates=root_certificates)
        if self._credentials is None:
            self._channel = grpc.aio.insecure_channel(address, self._options)
        else:
            self._channel = grpc.aio.secure_channel(address, self._credentials, self._options)
        self._invoke = self._channel.unary_unary(INVOKE, _pack, _unpack)
        self._check = self._channel.unary_unary(HEALTH, bytes, bytes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def invoke(self, body: object = None, /, **parameters: object) -> object:
        """Send a request and return the answer, as `GrpcClient.invoke` does, with the same arguments and errors."""
        request = _request(body, parameters)
        try:
            reply = await self._invoke(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._error(error) from error
        return decoded(reply.body, reply.content_type)

    async def ready(self) -> bool:
        """Whether the app is there and every group of it has a warm replica."""
        try:
            return await self._check(b"", timeout=self._timeout) == SERVING
        except grpc.RpcError:
            return False


def _request(body: object, parameters: dict[str, object]) -> pb.InvokeRequest:
    if body is not None and parameters:
        raise SpecError("invoke() takes a body or parameters, not both")
    if parameters:
        contents = {name: _content(value) for name, value in parameters.items()}
        return pb.InvokeRequest(parameters=contents, accept=ACCEPT)
    if body is None:
        return pb.InvokeRequest(accept=ACCEPT)
    data, media = encoded(body)
    return pb.InvokeRequest(body=data, content_type=media, accept=ACCEPT)


def _content(value: object) -> pb.Content:
    """A parameter; a str as JSON, since the app may take it as text or as any JSON."""
    data, media = (to_json(value), JSON) if isinstance(value, str) else encoded(value)
    return pb.Content(body=data, content_type=media)


def _status(text: str) -> HTTPStatus:
    try:
        return HTTPStatus(int(text))
    except ValueError:  # not one of ours
        return HTTPStatus.BAD_GATEWAY
