"""Errors of calls as gRPC has them: the one table from HTTP's status to gRPC's, and what goes beside it."""

from __future__ import annotations

import re
from http import HTTPStatus

import grpc

from regrain.errors import RequestError

Trailers = tuple[tuple[str, str], ...]

CODES = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: grpc.StatusCode.UNIMPLEMENTED,
    HTTPStatus.REQUEST_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    HTTPStatus.CONFLICT: grpc.StatusCode.ABORTED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.INTERNAL_SERVER_ERROR: grpc.StatusCode.INTERNAL,
    HTTPStatus.NOT_IMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    # a request that killed its replica: UNAVAILABLE would have clients send it again
    HTTPStatus.BAD_GATEWAY: grpc.StatusCode.INTERNAL,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
}
PUSHBACK = "grpc-retry-pushback-ms"
"""What gRPC's own clients wait before they try again."""
SECONDS = re.compile(r"[0-9]{1,9}")
"""What a stage may have said of it; it may also be a date, which gRPC has no way to say."""
LONGEST = 2000
"""Bytes of a sentence at most: gRPC may write each as three, and clients take 8 KiB of all beside a status."""


def code(status: HTTPStatus) -> grpc.StatusCode:
    """Return gRPC's status; other 4xx are invalid arguments, other 5xx internal errors."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return CODES.get(status, grpc.StatusCode.INTERNAL)
    return CODES.get(status, grpc.StatusCode.INVALID_ARGUMENT)


def sentence(error: RequestError) -> str:
    """Return what a caller is told; the middle of a long one, such as of a name that it sent itself, is left out."""
    told = error.detail.encode("utf-8", "replace")
    if len(told) <= LONGEST:
        return error.detail
    half = LONGEST // 2
    return f"{told[:half].decode('utf-8', 'ignore')} ... {told[-half:].decode('utf-8', 'ignore')}"


def trailers(error: RequestError) -> Trailers:
    """Return what a caller learns beside the status: HTTP's status, the stage, when to try again."""
    told = [("x-status", str(error.status.value))]
    if error.stage and error.stage.isascii() and error.stage.isprintable():
        told.append(("x-stage", error.stage))
    for name, text in error.headers.items():
        if name.lower() == "retry-after" and SECONDS.fullmatch(text):
            told += [("retry-after", text), (PUSHBACK, f"{int(text) * 1000}")]
    return tuple(told)
