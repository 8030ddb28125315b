"""Spans of requests, without a collector."""

import pytest

pytest.importorskip("opentelemetry.sdk", reason="regrain[otel] is not installed")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from regrain.manifest import Parameter
from regrain_watchdog.front.tracing.traces import TEXT, Traces

RAW = Parameter(name="request", kind="request")


@pytest.fixture
def asked(serve):
    """Send requests to an app, and return their spans."""

    def ask(app, *requests):
        spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(spans))
        served = serve(app)
        served.measure.traces = Traces(provider.get_tracer("test"))
        for method, path in requests:
            served.request(method, path, b"x")
        return spans.get_finished_spans()

    return ask


def test_a_spans_name_is_not_of_its_callers_making(asked, app_of):
    models = [("POST", f"/v2/models/{name}/infer") for name in ("echo", "x", "x/versions/9", "y" * 9999)]
    assert {span.name for span in asked(app_of(), *models)} == {"POST /v2/models/echo/infer"}
    wild = [("GET", "/v2/abc"), ("GET", "/abc"), ("PROPFIND", "/v2/abc")]
    assert {span.name for span in asked(app_of(RAW, answer=RAW), *wild)} == {"GET", "HTTP"}


def test_of_a_long_path_a_span_keeps_its_beginning(asked, app_of):
    (span,) = asked(app_of(RAW, answer=RAW), ("GET", "/" + "x" * 9999))
    assert span.attributes["url.path"] == "/" + "x" * (TEXT - 1)
