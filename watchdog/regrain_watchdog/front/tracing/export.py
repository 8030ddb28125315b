"""How spans leave: in batches, by a thread beside the loop, through a queue that is bounded.

OpenTelemetry's own variables say where to, how many wait at most (OTEL_BSP_MAX_QUEUE_SIZE; the oldest go first), how
long a batch may take, and which requests are recorded (OTEL_TRACES_SAMPLER).
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Sequence
from importlib import metadata

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.util.types import AnyValue

from regrain_watchdog.front.tracing.asked import CONSOLE
from regrain_watchdog.front.tracing.traces import Traces

logger = logging.getLogger(__name__)

LOSSES = ("opentelemetry.sdk", "opentelemetry.exporter")
"""Parts of the library that complain of lost spans; others do of headers that callers sent."""
FLUSH = 2.0
"""Seconds that spans have to leave at the end; a collector that does not answer holds nobody up for longer."""


class Export:
    """Takes the spans of all apps of a process.

    Args:
        exporter: where they go.
        complaints: what the library says of itself.
    """

    def __init__(self, exporter: SpanExporter, complaints: Complaints) -> None:
        self._exporter = exporter
        self._complaints = complaints
        self._processor = BatchSpanProcessor(exporter)

    @classmethod
    def open(cls, kind: str) -> Export:
        """Return what sends spans to a collector, or prints them; ValueError for a variable that says neither."""
        complaints = Complaints()
        theirs = logging.getLogger("opentelemetry")
        theirs.addHandler(complaints)
        theirs.propagate = False
        exporter = ConsoleSpanExporter() if kind == CONSOLE else Collector(complaints)
        return cls(exporter, complaints)

    def traces(self, app: str) -> Traces:
        """Return what records the requests of an app, under its name where OTEL_SERVICE_NAME says no other."""
        about: dict[str, AnyValue] = {
            "service.name": app,
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
        }
        resource = Resource.create().merge(Resource(about)).merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        return Traces(provider.get_tracer("regrain", metadata.version("regrain")))

    def close(self) -> None:
        """Send what waits, for FLUSH seconds at most, and not at all where nothing could be sent before."""
        if self._complaints.told:
            self._exporter.shutdown()
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        ending.join(FLUSH)


class Complaints(logging.Handler):
    """Passes on the first complaint of the library, and the next one only after spans have left again.

    A collector that is away would else be a line every few seconds, from the way of each request.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told = False
        self.addFilter(lambda record: record.name.startswith(LOSSES))

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a complaint, unless one was told."""
        if not self.told:
            self.told = True
            logger.warning("traces are lost, which is told once: %s", record.getMessage())

    def over(self) -> None:
        """Spans have left."""
        if self.told:
            self.told = False
            logger.info("traces are sent again")


class Collector(OTLPSpanExporter):
    """Sends spans to a collector over HTTP."""

    def __init__(self, complaints: Complaints) -> None:
        super().__init__()
        self._complaints = complaints

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, trying again within OTEL_EXPORTER_OTLP_TIMEOUT; called by the thread."""
        result = super().export(spans)
        if result is SpanExportResult.SUCCESS:
            self._complaints.over()
        return result
