"""What every call over gRPC goes through: key, call id, deadline, headers, counting, and errors as statuses.

Messages come in and go out as bytes, so that a malformed one is an error of ours like any other.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import TypeVar

import grpc
import msgspec
from google.protobuf.message import DecodeError, Message

from regrain.errors import RequestError
from regrain_watchdog.front import problem, urgency
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.credentials import Key
from regrain_watchdog.front.grpc.gathering import Gathering
from regrain_watchdog.front.grpc.silence import Given, Requests, only
from regrain_watchdog.front.grpc.status import code, sentence, trailers
from regrain_watchdog.front.http import checked_id
from regrain_watchdog.front.measure import CANCELLED, LATE, Measure
from regrain_watchdog.front.trace_context import TRACEPARENT, TRACESTATE, keep_valid, make, trace_id

logger = logging.getLogger(__name__)
accesses = logging.getLogger("regrain.access")

Headers = dict[str, str]
Context = grpc.aio.ServicerContext[bytes, bytes]
Work = Callable[[bytes, Call, Headers], Awaitable[Message]]
Parts = Callable[[bytes, Call, Headers], AsyncGenerator[Message, None]]
M = TypeVar("M", bound=Message)

METHOD = "POST"
"""The method under which calls are counted; gRPC has no other."""
_msgpack = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(dict[str, str]).decode


class Entry:
    """Lets calls in, and answers those that fail.

    Args:
        measure: what counts them.
        config: limits and keys.
        latency: called for the latency objective in seconds; 0.0 means none.
    """

    def __init__(self, measure: Measure, config: Config, latency: Callable[[], float]) -> None:
        self._measure = measure
        self._gathering = Gathering()
        self._inside = 0
        self._latency = latency
        self._seconds = config.body_timeout
        self._logs = config.access_log != "off"
        self._key = Key.load(config.invocation_key_file, "invocation_key_file")
        self._makes = config.trace_context == "make"
        self._ids = map(f"{os.urandom(8).hex()}{{:08x}}".format, itertools.count())

    def unary(self, path: str, work: Work) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the method at a path whose calls are answered with one message, by `work`."""

        async def answered(requests: Requests | Given, context: Context) -> bytes:
            data = await only(requests, context, self._seconds)
            answer, call, error = await self.counted(path, work, data, context)
            told = (("x-call-id", call.id),)
            if error is not None:
                await context.abort(code(error.status), sentence(error), (*told, *trailers(error)))
            context.set_trailing_metadata(told)
            return answer

        return grpc.stream_unary_rpc_method_handler(answered)

    async def counted(
        self, path: str, work: Work, data: bytes, context: Context
    ) -> tuple[bytes, Call, RequestError | None]:
        """Run a call and count it; return its answer or its error."""
        call = self._call(data)
        status, answer, error = CANCELLED, b"", None
        self._measure.arrived()
        self._inside += 1
        try:
            if self._inside > 1:
                await self._gathering.wait()
            answer = (await work(data, call, self._admit(call, path, context))).SerializeToString()
            status = HTTPStatus.OK.value
        except RequestError as found:
            error, status = found, found.status.value
        except asyncio.CancelledError:
            status = LATE if context.time_remaining() == 0 else CANCELLED
            raise
        except Exception:
            logger.exception("a request failed unexpectedly", extra={"call_id": call.id})
            error = problem.internal(call.id)
            status = error.status.value
        finally:
            self._inside -= 1
            self._count(call, path, status, received=len(data), sent=len(answer))
        return answer, call, error

    async def parts(
        self, path: str, work: Parts, data: bytes, context: Context
    ) -> AsyncGenerator[bytes | RequestError, None]:
        """Run a call that is answered by several messages; yield them, and how it failed if it did.

        It is counted by its first message, and by how it ended.
        """
        call = self._call(data)
        status, sent, first = CANCELLED, 0, 0.0
        error: RequestError | None = None
        self._measure.arrived()
        try:
            async with aclosing(work(data, call, self._admit(call, path, context))) as messages:
                async for message in messages:
                    first = first or time.monotonic()
                    answer = message.SerializeToString()
                    sent += len(answer)
                    yield answer
            status = HTTPStatus.OK.value
        except RequestError as found:
            error, status = found, found.status.value
        except Exception:
            logger.exception("a request failed unexpectedly", extra={"call_id": call.id})
            error = problem.internal(call.id)
            status = error.status.value
        finally:
            self._count(call, path, status, received=len(data), sent=sent, answered=first)
        if error is not None:
            yield error

    def _count(
        self, call: Call, path: str, status: int, *, received: int, sent: int, answered: float = 0.0
    ) -> None:
        """Count a call that has ended; `answered` is when, if that was earlier."""
        now = time.monotonic()
        seconds = (answered or now) - call.arrived
        self._measure.finished(call, method=METHOD, status=status, seconds=seconds, now=now)
        if self._logs:
            told = {"method": METHOD, "path": path, "status": status, "seconds": round(now - call.arrived, 6)}
            sizes = {"call_id": call.id, "received": received, "sent": sent}
            accesses.info("request", extra=told | sizes | _traced(call))

    def page(
        self, work: Callable[[bytes], Message], *, is_open: bool = False
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return a method whose answers need no call of the app, nor the key if it `is_open`."""

        async def answered(requests: Requests | Given, context: Context) -> bytes:
            data = await only(requests, context, self._seconds)
            try:
                if not is_open:
                    self.check(context)
                return work(data).SerializeToString()
            except RequestError as error:
                await context.abort(code(error.status), sentence(error), trailers(error))

        return grpc.stream_unary_rpc_method_handler(answered)

    def check(self, context: Context) -> Headers:
        """Return metadata as headers, without the key; RequestError (401) where they do not show it."""
        headers = _headers(context)
        if self._key is None:
            return headers
        self._key.check(headers)
        return self._key.without(headers)

    def _call(self, data: bytes) -> Call:
        """Return a call that comes now, its message as it came."""
        return Call(id=next(self._ids), values={}, headers=b"", arrived=time.monotonic(), size=len(data))

    def _admit(self, call: Call, path: str, context: Context) -> Headers:
        """Give a call what its metadata and its deadline say; return the metadata as headers."""
        headers = self.check(context)
        self._trace(call, path, headers)
        call.headers = _msgpack(headers)
        if "x-call-id" in headers:
            call.id = checked_id(headers["x-call-id"])
        urgency.admit(call, headers, self._latency())
        left = context.time_remaining()
        if left is not None:
            urgency.lower(call, left)
        return headers

    def _trace(self, call: Call, path: str, headers: Headers) -> None:
        """Drop a malformed trace context, make one if that is asked for, or begin the span of a call."""
        if TRACEPARENT in headers or TRACESTATE in headers:
            keep_valid(headers)
        traces = self._measure.traces
        if traces is not None:
            service, _, method = path[1:].partition("/")
            about = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
            traces.begin(call, headers, path[1:], about, status="regrain.status")
        elif self._makes and TRACEPARENT not in headers:
            headers[TRACEPARENT] = make()


def parsed(kind: type[M], data: bytes) -> M:
    """Return a message; RequestError (400) if the bytes are none."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        detail = f"the message is no {kind.DESCRIPTOR.full_name}: {error}"
        raise RequestError(HTTPStatus.BAD_REQUEST, detail) from error


def _traced(call: Call) -> Headers:
    """What the access log tells of a call's trace; nothing of one that was not let in."""
    headers = _read(call.headers) if call.headers else {}
    found = trace_id(headers.get(TRACEPARENT, ""))
    return {"trace_id": found} if found else {}


def _headers(context: Context) -> Headers:
    """Metadata by name; one that comes several times is joined by commas, binary ones stay out."""
    headers: Headers = {}
    for name, text in context.invocation_metadata() or ():
        if isinstance(text, str):
            headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers
