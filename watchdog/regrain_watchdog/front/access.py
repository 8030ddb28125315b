"""What stands before an ingress where a setting asks for it: the invocation key, trace contexts, the access log.

None of it is on the way of a request where these settings are off: `before` then returns the ingress itself.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator
from typing import Protocol
from urllib.parse import quote

from regrain.errors import RequestError
from regrain_watchdog.front import problem, trace_context
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.credentials import Key
from regrain_watchdog.front.handler import Exchange, Fields, Handler, Scope, Stream
from regrain_watchdog.front.measure import CANCELLED
from regrain_watchdog.front.trace_context import TRACEPARENT

logger = logging.getLogger("regrain.access")

PROBE = "kube-probe"
"""How the user agent of Kubernetes' probes begins; they come every few seconds and are not logged."""
OPEN = frozenset({"/_/health", "/_/ready", "/v2/health/live", "/v2/health/ready"})
"""What may be read without a key, where it is no call of the app: probes have none."""
READING = frozenset({"GET", "HEAD"})


class Serving(Handler, Protocol):
    """An ingress that tells which requests are for the app itself."""

    def is_call(self, method: str, path: str) -> bool:
        """Whether such a request is a call of the app."""


def before(ingress: Serving, config: Config, *, records: bool = False) -> Handler:
    """Return what serves the app's port; SpecError where the file of the invocation key holds none.

    records: whether the ingress records requests, and so makes the trace contexts itself.
    """
    key = Key.load(config.invocation_key_file, "invocation_key_file")
    makes, logs = config.trace_context == "make" and not records, config.access_log != "off"
    return Gate(ingress, key=key, makes=makes, logs=logs) if key or makes or logs else ingress


class Gate:
    """Lets requests through to an ingress.

    Args:
        ingress: what answers them.
        key: what calls must show; None where they need nothing.
        makes: whether a request without trace context gets one.
        logs: whether each request is logged.
    """

    def __init__(self, ingress: Serving, *, key: Key | None, makes: bool, logs: bool) -> None:
        self._ingress = ingress
        self._key = key
        self._makes = makes
        self._logs = logs

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        headers = dict(scope.headers)
        trace_context.keep_valid(headers)
        if self._makes and TRACEPARENT not in headers:
            headers[TRACEPARENT] = trace_context.make()
        if not self._logs or headers.get("user-agent", "").startswith(PROBE):
            await self._pass(scope, proto, headers)
            return
        began = time.monotonic()
        watched = Watched(proto)
        try:
            await self._pass(scope, watched, headers)
        finally:
            _log(scope, headers, watched, time.monotonic() - began)

    async def _pass(self, scope: Scope, proto: Exchange, headers: dict[str, str]) -> None:
        if self._key is not None:
            try:
                if not self._is_open(scope.method, scope.path):
                    self._key.check(headers)
            except RequestError as error:
                _refuse(proto, error)
                return
            headers = self._key.without(headers)
        await self._ingress.__rsgi__(Changed(scope, headers), proto)

    def _is_open(self, method: str, path: str) -> bool:
        return path in OPEN and method in READING and not self._ingress.is_call(method, path)


class Changed:
    """A request's scope with other headers (by name in lower case)."""

    __slots__ = ("headers", "method", "path", "query_string")

    def __init__(self, scope: Scope, headers: dict[str, str]) -> None:
        self.method = scope.method
        self.path = scope.path
        self.query_string = scope.query_string
        self.headers = headers


class Watched:
    """A request's protocol that remembers what the access log tells.

    Attributes:
        status: of the response; 499 as long as there is none.
        call_id: as the response's header has it; "" without.
        received, sent: bytes of the bodies.
    """

    __slots__ = ("_proto", "call_id", "received", "sent", "status")

    def __init__(self, proto: Exchange) -> None:
        self._proto = proto
        self.status = CANCELLED
        self.call_id = ""
        self.received = 0
        self.sent = 0

    def arrived(self) -> bytes | None:
        """Take the request's body if all of it is here."""
        body = self._proto.arrived()
        self.received += len(body or b"")
        return body

    async def __call__(self) -> bytes:
        """Return the request's body."""
        body = await self._proto()
        self.received += len(body)
        return body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the request's body as it comes."""
        async for chunk in self._proto:
            self.received += len(chunk)
            yield chunk

    def response_empty(self, status: int, headers: Fields, length: int = 0) -> None:
        """Answer without a body."""
        self._begin(status, headers)
        self._proto.response_empty(status, headers, length)

    def response_str(self, status: int, headers: Fields, body: str) -> None:
        """Answer with text."""
        self.response_bytes(status, headers, body.encode())

    def response_bytes(self, status: int, headers: Fields, body: bytes) -> None:
        """Answer with bytes."""
        self._begin(status, headers)
        self.sent += len(body)
        self._proto.response_bytes(status, headers, body)

    def response_stream(self, status: int, headers: Fields) -> Stream:
        """Answer bit by bit."""
        self._begin(status, headers)
        return Counted(self, self._proto.response_stream(status, headers))

    def _begin(self, status: int, headers: Fields) -> None:
        self.status = status
        self.call_id = next((text for name, text in headers if name == "x-call-id"), "")


class Counted:
    """A response that is sent bit by bit, counted."""

    __slots__ = ("_transport", "_watched")

    def __init__(self, watched: Watched, transport: Stream) -> None:
        self._watched = watched
        self._transport = transport

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes."""
        self._watched.sent += len(data)
        await self._transport.send_bytes(data)


def _refuse(proto: Exchange, error: RequestError) -> None:
    call_id = os.urandom(8).hex()
    fields = [("content-type", problem.MEDIA_TYPE), ("x-call-id", call_id), ("connection", "close")]
    proto.response_bytes(
        error.status.value, [*fields, *error.headers.items()], problem.problem(error, call_id)
    )


def _log(scope: Scope, headers: dict[str, str], watched: Watched, seconds: float) -> None:
    fields: dict[str, object] = {
        "method": scope.method,
        "path": quote(scope.path),
        "status": watched.status,
        "seconds": round(seconds, 6),
        "call_id": watched.call_id,
        "received": watched.received,
        "sent": watched.sent,
    }
    if trace := trace_context.trace_id(headers.get(TRACEPARENT, "")):
        fields["trace_id"] = trace
    logger.info("request", extra=fields)
