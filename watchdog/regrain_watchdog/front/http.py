"""The HTTP ingress: a request becomes a Call, and its Reply or its error a response.

This is the hottest Python of the front, so a request does not pay for what it does not need: no await and no timer
for a body that it has not or that is here already. Its task is cancelled when its caller goes away.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from urllib.parse import parse_qsl

import msgspec

from regrain.errors import RequestError
from regrain.media import EVENTS, LINES
from regrain.request import Request
from regrain_watchdog.front import body, cloudevent, problem, urgency
from regrain_watchdog.front.answer import JSON, STREAMED, Answers, Headers, Response, choose
from regrain_watchdog.front.call import Call, Service, Span
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.content import Inputs
from regrain_watchdog.front.handler import CallerGoneError, Exchange, Scope
from regrain_watchdog.front.measure import CANCELLED, Measure
from regrain_watchdog.front.oip.http import OpenInference
from regrain_watchdog.front.oip.inference import Inference
from regrain_watchdog.front.outflow import Outflow
from regrain_watchdog.front.pages import OWN, Pages
from regrain_watchdog.front.streaming import Stream
from regrain_watchdog.front.trace_context import TRACEPARENT, keep_valid

logger = logging.getLogger(__name__)

CALL_ID = re.compile(r"[A-Za-z0-9._~:+/=@-]{1,128}")
WAITS = {"wait": "queue-wait", "hop": "replica-hop", "lease": "gpu-lease"}
"""What a span that is no stage is called in Server-Timing; no stage can have a hyphen in its name."""

_msgpack = msgspec.msgpack.Encoder().encode

Answer = Callable[[Call, Scope, Exchange, dict[str, str]], Awaitable[Response | Outflow]]
Refusal = Callable[[RequestError, str], Response]


class Ingress:
    """Serves an app over RSGI.

    Args:
        service: what runs the calls.
        measure: what counts them.
        config: limits and timeouts; its `slo` wins over the app's.

    Attributes:
        manifest: the version of the app that it reads requests for.
        draining: set once the app is to stop; health and readiness say no from then on, calls are served.
        successor: who serves another version of the app by now, and takes the requests whose bodies end from here on.
        inference: the app as a model, for the other ingresses.
    """

    def __init__(self, service: Service, measure: Measure, config: Config) -> None:
        manifest = service.manifest
        self.draining = False
        self.successor: Ingress | None = None
        self.manifest = manifest
        self._service = service
        self._measure = measure
        self._config = config
        self._paths = frozenset(("/", manifest.path))
        self._pages = Pages(manifest)
        self._inputs = Inputs(manifest.parameters)
        self._streams = manifest.graph.streams
        self._answers = Answers(manifest.answer, streams=self._streams)
        self.inference = Inference(service)
        self._oip = OpenInference(self.inference)
        self._raw = next((item.name for item in manifest.parameters if item.kind == "request"), "")
        self._latency = config.latency(manifest) or 0.0
        self._ids = map(f"{os.urandom(8).hex()}{{:08x}}".format, itertools.count())

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        path = scope.path
        if self.is_call(scope.method, path):
            await self._serve(scope, proto, self._answer, _refusal)
            return
        tensors = self._oip.owns(path)
        if tensors and self._oip.infers(scope.method, path):
            await self._serve(scope, proto, self._infer, self._oip.refusal)
            return
        try:
            if tensors:
                response = self._oip.page(scope.method, path)
            else:
                response = self._pages.answer(scope.method, path, self.draining, self._service.unready)
        except RequestError as error:
            named = scope.headers.get("x-call-id", "")
            call_id = named if CALL_ID.fullmatch(named) else next(self._ids)
            response = (self._oip.refusal if tensors else _refusal)(error, call_id)
            response[1].append(("x-call-id", call_id))
        proto.response_bytes(*response)

    def is_call(self, method: str, path: str) -> bool:
        """Whether a request is one for the app itself, in its own form."""
        if path.startswith(OWN):
            return False
        return bool(self._raw) or (path in self._paths and method == "POST")

    async def _serve(self, scope: Scope, proto: Exchange, answer: Answer, refusal: Refusal) -> None:
        """Run a call and answer it; the one place where errors become responses."""
        method = scope.method
        headers = scope.headers
        call = Call(id=next(self._ids), values={}, headers=b"", arrived=time.monotonic())
        response: Response | Outflow | None = None
        self._measure.arrived()
        if TRACEPARENT in headers or self._measure.traces is not None:
            self._trace(call, scope, headers)
        try:
            response = await answer(call, scope, proto, headers)
        except RequestError as error:
            response = refusal(error, call.id)
        except (asyncio.CancelledError, CallerGoneError):
            logger.debug("the caller went away", extra={"call_id": call.id})
        except Exception:
            logger.exception("a request failed unexpectedly", extra={"call_id": call.id})
            response = refusal(problem.internal(call.id), call.id)
        now = time.monotonic()
        seconds = now - call.arrived
        if response is None:
            self._measure.finished(call, method=method, status=CANCELLED, seconds=seconds, now=now)
            return
        if isinstance(response, Outflow):
            await self._pour(response, call, proto, method)
            return
        status, fields, content = response
        self._measure.finished(call, method=method, status=status, seconds=seconds, now=now)
        fields.append(("x-call-id", call.id))
        fields.append(("x-duration-seconds", f"{seconds:.6f}"))
        if call.spans:
            fields.append(("server-timing", server_timing(call.spans)))
        proto.response_bytes(status, fields, content)

    def _trace(self, call: Call, scope: Scope, headers: dict[str, str]) -> None:
        """Drop a malformed trace context; begin the span of a request."""
        keep_valid(headers)
        traces = self._measure.traces
        if traces is None:
            return
        route = "" if self._raw else f" {scope.path if scope.path in self._paths else self._oip.route}"
        traces.begin_http(call, headers, scope.method, scope.path, route)

    async def _pour(self, outflow: Outflow, call: Call, proto: Exchange, method: str) -> None:
        """Send a streamed answer, whose first item is there, and count it: by its first item, and by how it ended."""
        seconds = time.monotonic() - call.arrived
        fields = [("x-call-id", call.id), ("x-duration-seconds", f"{seconds:.6f}")]
        if call.spans:
            fields.append(("server-timing", server_timing(call.spans)))
        status = CANCELLED
        try:
            status = await outflow.send(proto, fields, call.id)
        except (asyncio.CancelledError, CallerGoneError):
            logger.debug("the caller went away", extra={"call_id": call.id})
        finally:
            outflow.items.close()
            now = time.monotonic()
            self._measure.finished(call, method=method, status=status, seconds=seconds, now=now)

    async def _answer(
        self, call: Call, scope: Scope, proto: Exchange, headers: dict[str, str]
    ) -> Response | Outflow:
        if "x-call-id" in headers:
            call.id = checked_id(headers["x-call-id"])
        accept = headers.get("accept", "")
        if accept == "*/*":
            accept = ""
        if accept:
            self._answers.check(accept)
        sent = b""
        if not body.is_empty(headers):
            sent = await self._read(proto, headers)
            call.arrived = time.monotonic()
            call.size = len(sent)
        taker = self._latest()
        if taker is not self:
            taker.check(path=scope.path, accept=accept)
        return await taker.take(call, scope, headers, sent, accept)

    def check(self, *, path: str, accept: str) -> None:
        """Refuse (404, 406) a request that an earlier version let in and this one has no answer for."""
        if path not in self._paths and not self._raw:
            raise RequestError(
                HTTPStatus.NOT_FOUND, f"there is no {path}; the app is at {self.manifest.path}"
            )
        if accept:
            self._answers.check(accept)

    async def take(
        self, call: Call, scope: Scope, headers: dict[str, str], sent: bytes, accept: str
    ) -> Response | Outflow:
        """Answer a request whose body is here: no await lies between taking what it asks and running it."""
        if self._raw:
            call.values[self._raw] = _request(scope, headers, sent)
        elif cloudevent.is_event(headers):
            return await self._take_event(call, scope, headers, sent)
        else:
            call.values = self._inputs.read(sent, headers.get("content-type", ""), scope.query_string)
        self._admit(call, headers)
        media = choose(accept or LINES, STREAMED) if self._streams else JSON
        if media in (LINES, EVENTS):
            return await self._stream(call, media, accept)
        return self._answers.render(await self._service.submit(call), accept)

    async def _take_event(self, call: Call, scope: Scope, headers: dict[str, str], sent: bytes) -> Response:
        """Answer an event by an event; a streamed answer is collected, as one event holds it."""
        event, headers, sent = cloudevent.read(headers, sent)
        call.values = self._inputs.read(sent, headers.get("content-type", ""), scope.query_string)
        self._admit(call, headers)
        accept = JSON if self._streams else ""
        response = self._answers.render(await self._service.submit(call), accept)
        return cloudevent.answer(event, self.manifest.app, call.id, response)

    async def _stream(self, call: Call, media: str, accept: str) -> Response | Outflow:
        """Return a streamed answer once its first item is there, or what a stage answered in its place."""
        items = Stream(self._service, call)
        try:
            early = await items.begin()
        except BaseException:
            items.close()
            raise
        if early is None:
            return Outflow(items=items, media=media)
        return self._answers.render(early, accept, is_other=True)

    def _latest(self) -> Ingress:
        """Who serves the version in force."""
        latest = self
        while latest.successor is not None:
            latest = latest.successor
        return latest

    async def _infer(self, call: Call, scope: Scope, proto: Exchange, headers: dict[str, str]) -> Response:
        """Answer a request of the Open Inference Protocol."""
        if "x-call-id" in headers:
            call.id = checked_id(headers["x-call-id"])
        sent = b"" if body.is_empty(headers) else await self._read(proto, headers)
        call.arrived = time.monotonic()
        call.size = len(sent)
        self._admit(call, headers)
        return await self._latest().infer(call, scope, headers, sent)

    async def infer(self, call: Call, scope: Scope, headers: dict[str, str], sent: bytes) -> Response:
        """Answer a request of the Open Inference Protocol that has been read."""
        return await self._oip.infer(call, scope.path, headers, sent)

    def _admit(self, call: Call, headers: dict[str, str]) -> None:
        """Give a call whose body has been read what its headers say."""
        call.headers = _msgpack(headers)
        urgency.admit(call, headers, self._latency)

    async def _read(self, proto: Exchange, headers: dict[str, str]) -> bytes:
        return await body.read(proto, headers, limit=self._config.max_body, timeout=self._config.body_timeout)


def server_timing(spans: Sequence[Span]) -> str:
    """Return the Server-Timing header: milliseconds by stage, and in queues and hops, each summed up."""
    total: dict[str, float] = {}
    for span in spans:
        name = span.stage or WAITS.get(span.kind, span.kind)
        total[name] = total.get(name, 0.0) + span.seconds
    return ", ".join([f"{name};dur={seconds * 1e3:.3f}" for name, seconds in total.items()])


def checked_id(wanted: str) -> str:
    """Return a call id that a caller chose; RequestError (400) if it is none."""
    if not CALL_ID.fullmatch(wanted):
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            "X-Call-Id must be 1 to 128 letters, digits or any of . _ ~ : + / = @ -",
        )
    return wanted


def _request(scope: Scope, headers: dict[str, str], sent: bytes) -> Request:
    query: dict[str, str] = {}
    for name, text in parse_qsl(scope.query_string, keep_blank_values=True):
        query.setdefault(name, text)
    return Request(body=sent, headers=headers, method=scope.method, query=query, path=scope.path)


def _refusal(error: RequestError, call_id: str) -> Response:
    fields: Headers = [("content-type", problem.MEDIA_TYPE)]
    fields.extend((name.lower(), text) for name, text in error.headers.items())
    return error.status.value, fields, problem.problem(error, call_id)
