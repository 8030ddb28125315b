import logging

import pytest

pytest.importorskip("opentelemetry.sdk", reason="regrain[otel] is not installed")

from regrain_watchdog.front.call import Call
from regrain_watchdog.front.tracing.asked import open_export

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def export():
    library = logging.getLogger("opentelemetry")
    before = library.handlers[:], library.propagate
    opened = open_export({"OTEL_TRACES_EXPORTER": "console"})
    yield opened
    opened.close()
    library.handlers[:], library.propagate = before


@pytest.mark.parametrize("tracestate", ["no good", "a=1,a=2", "é=1"])
def test_what_a_caller_sends_is_no_loss_of_traces(export, caplog, tracestate):
    call = Call(id="1", values={}, headers=b"", arrived=1.0)
    export.traces("app").begin(call, {"traceparent": TRACEPARENT, "tracestate": tracestate}, "POST /", {})
    assert call.trace is not None
    assert "traces are lost" not in caplog.text


def test_a_loss_is_told_once(export, caplog):
    for _ in range(2):
        logging.getLogger("opentelemetry.sdk.trace.export").warning("queue is full")
    assert caplog.text.count("traces are lost") == 1
