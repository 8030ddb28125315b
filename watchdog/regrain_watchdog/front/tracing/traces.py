"""The spans of a request: its own, one for each group that it passes, and in those one for each stage.

A replica says how long its stages took and not when each began, so within a group's span the stages lie end to end, in
the order in which the replica tells of them, between two halves of the hop. A group on another pod records its own
stages; here they are events.

What a stage's `traceparent` names is the span of its group, so what it calls in turn hangs under there, and so does
what another pod records.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from regrain.wire.frames import Done, Fault
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.flight import Flight
from regrain_watchdog.front.measure import CANCELLED, METHODS
from regrain_watchdog.front.replica import Dispatch, Replica
from regrain_watchdog.front.trace_context import TRACEPARENT

if TYPE_CHECKING:
    from regrain_watchdog.front.remote.peer import Peer

HTTP_STATUS = "http.response.status_code"
STATUS = "regrain.status"
"""Of a call that came over gRPC: the status that it would have had over HTTP."""
TEXT = 1024
"""Characters of a path or a failure that are kept at most: their lengths are of the making of callers and of stages,
and thousands of spans may wait."""
_msgpack = msgspec.msgpack.Encoder().encode
_headers = msgspec.msgpack.Decoder(dict[str, str]).decode
_propagator = TraceContextTextMapPropagator()


@dataclass(slots=True, eq=False)
class Trace:
    """A request's place in a trace that is recorded.

    context: under which its groups are recorded. offset: nanoseconds from the loop's clock to the wall's.
    span: its own; None where a group came alone, from another pod.
    """

    context: Context
    offset: int
    span: Span | None = None
    status: str = HTTP_STATUS

    def at(self, seconds: float) -> int:
        """Return a time of the loop in nanoseconds since 1970."""
        return int(seconds * 1e9) + self.offset

    def end(self, call: Call, status: int, now: float) -> None:
        """The request is over."""
        span = self.span
        if span is None:
            return
        span.set_attribute("regrain.call_id", call.id)
        if status == CANCELLED:
            span.set_attribute("error.type", "cancelled")
        else:
            span.set_attribute(self.status, status)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            span.set_attribute("error.type", str(status))
            span.set_status(StatusCode.ERROR)
        span.end(self.at(now))


class Traces:
    """Records the requests of an app.

    Args:
        tracer: OpenTelemetry's; it decides which requests are recorded.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(
        self,
        call: Call,
        headers: dict[str, str],
        name: str,
        attributes: Mapping[str, AttributeValue],
        *,
        status: str = HTTP_STATUS,
    ) -> None:
        """A request has come: begin its span, and have `headers` (names in lower case) name it.

        A request that is not recorded keeps the traceparent that it has; one without gets one that says so.
        """
        offset = time.time_ns() - time.monotonic_ns()
        span = self._tracer.start_span(
            name,
            context=_propagator.extract(headers, Context()),
            kind=SpanKind.SERVER,
            attributes={key: _cut(value) for key, value in attributes.items()},
            start_time=int(call.arrived * 1e9) + offset,
        )
        if span.is_recording():
            context = set_span_in_context(span, Context())
            call.trace = Trace(context, offset, span, status)
        elif TRACEPARENT in headers:
            return
        headers[TRACEPARENT] = _named(span)

    def begin_http(
        self, call: Call, headers: dict[str, str], method: str, path: str, route: str = ""
    ) -> None:
        """As `begin`, of a request over HTTP; its name is not of the caller's making."""
        method = method if method in METHODS else "_OTHER"
        about = {"http.request.method": method, "url.path": quote(path)}
        self.begin(call, headers, ("HTTP" if method == "_OTHER" else method) + route, about)

    def join(self, call: Call) -> None:
        """A group has come from another pod: it is recorded under what its headers name, if that is."""
        try:
            headers = _headers(call.headers)
        except (msgspec.MsgspecError, UnicodeDecodeError):  # what a pod sends is checked where it is used
            return
        if TRACEPARENT in headers:
            offset = time.time_ns() - time.monotonic_ns()
            call.trace = Trace(_propagator.extract(headers, Context()), offset)

    def send(self, dispatch: Dispatch, runner: Replica | Peer, waits: Mapping[Flight, float]) -> Legs | None:
        """Begin the spans of a dispatch that is about to go, and have its requests' headers name them.

        waits: the seconds that each of its requests has waited for it.
        """
        group = dispatch.function.name
        about: dict[str, AttributeValue] = {"regrain.group": group, "regrain.batch.size": dispatch.size}
        if isinstance(runner, Replica):
            is_here = True
            about |= {"regrain.replica": runner.number, "regrain.replica.pid": runner.pid}
        else:
            is_here = False
            about["regrain.pod"] = runner.pod.url
        spans: dict[Flight, tuple[Trace, Span]] = {}
        for flight, waited in waits.items():
            trace = flight.call.trace
            if trace is None:
                continue
            alone = SpanKind.SERVER if trace.span is None else SpanKind.INTERNAL
            span = self._tracer.start_span(
                f"group {group}",
                context=trace.context,
                kind=alone if is_here else SpanKind.CLIENT,
                attributes=about | {"regrain.queue.wait": waited},
                start_time=trace.at(dispatch.sent - waited),
            )
            if span.is_recording():
                named = _headers(flight.call.headers) | {TRACEPARENT: _named(span)}
                flight.call.headers = _msgpack(named)
                spans[flight] = trace, span
        return Legs(self._tracer, dispatch, spans, is_here=is_here) if spans else None


class Legs:
    """The spans of a dispatch: one for each of its requests that is recorded."""

    def __init__(
        self,
        tracer: Tracer,
        dispatch: Dispatch,
        spans: Mapping[Flight, tuple[Trace, Span]],
        *,
        is_here: bool,
    ) -> None:
        self._tracer = tracer
        self._dispatch = dispatch
        self._spans = spans
        self._is_here = is_here

    def ran(self, done: Done, *, hop: float, now: float) -> None:
        """The dispatch came back, `hop` seconds of it spent on the way."""
        faults = {
            job.flight: outcome
            for job, outcome in zip(self._dispatch.jobs, done.outcomes, strict=True)
            if isinstance(outcome, Fault)
        }
        for flight, (trace, span) in self._spans.items():
            span.set_attribute("regrain.hop", hop)
            if self._is_here:
                self._stages(done, trace, span, self._dispatch.sent + hop / 2)
            else:
                for timing in done.timings:
                    told = {"regrain.service": timing.seconds, "regrain.inputs": timing.count}
                    span.add_event(f"stage {timing.stage}", told, trace.at(now))
            if flight in faults:
                span.set_attribute("error.type", str(faults[flight].status))
                span.set_status(StatusCode.ERROR, faults[flight].detail[:TEXT])
            span.end(trace.at(now))

    def lost(self, why: str) -> None:
        """The dispatch did not come back."""
        now = time.monotonic()
        for trace, span in self._spans.values():
            span.set_status(StatusCode.ERROR, why[:TEXT])
            span.end(trace.at(now))

    def _stages(self, done: Done, trace: Trace, group: Span, begins: float) -> None:
        """Record the stages of a run end to end."""
        context = set_span_in_context(group, Context())
        for timing in done.timings:
            ends = begins + timing.seconds + timing.leased
            about: dict[str, AttributeValue] = {"regrain.stage": timing.stage, "regrain.inputs": timing.count}
            if timing.leased:
                about["regrain.gpu.wait"] = timing.leased
            span = self._tracer.start_span(
                f"stage {timing.stage}", context=context, attributes=about, start_time=trace.at(begins)
            )
            span.end(trace.at(ends))
            begins = ends


def _cut(value: AttributeValue) -> AttributeValue:
    return value[:TEXT] if isinstance(value, str) else value


def _named(span: Span) -> str:
    """Return the traceparent that names a span."""
    found = span.get_span_context()
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"
