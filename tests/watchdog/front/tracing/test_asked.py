import subprocess
import sys

import pytest

from regrain_watchdog.front.tracing.asked import asked, open_export

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        pytest.param({}, "", id="nothing"),
        pytest.param(ENDPOINT, "otlp", id="an endpoint"),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1"}, "otlp", id="an endpoint of traces"
        ),
        pytest.param({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, "", id="an empty endpoint counts as none"),
        pytest.param({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c/v1"}, "", id="of metrics alone"),
        pytest.param({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp", id="the library's own endpoint"),
        pytest.param({"OTEL_TRACES_EXPORTER": " Console "}, "console", id="printed"),
        pytest.param(ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, "", id="none wins over an endpoint"),
        pytest.param(ENDPOINT | {"OTEL_TRACES_EXPORTER": "zipkin"}, "", id="an exporter that is not had"),
        pytest.param(ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, "", id="disabled"),
        pytest.param(ENDPOINT | {"OTEL_SDK_DISABLED": "false"}, "otlp", id="not disabled"),
    ],
)
def test_the_standard_variables_say_whether_there_are_traces(environ, kind):
    assert asked(environ) == kind


def test_a_warning_says_what_cannot_be_had(caplog):
    assert open_export({"OTEL_TRACES_EXPORTER": "zipkin"}) is None
    assert "'zipkin'" in caplog.text
    assert open_export(ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) is None
    assert "not by grpc" in caplog.text


def test_without_the_extra_there_is_a_warning_and_no_error(caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(sys.modules, "regrain_watchdog.front.tracing.export", raising=False)

    assert open_export(ENDPOINT) is None
    assert "pip install 'regrain[otel]'" in caplog.text


@pytest.mark.process
def test_nothing_of_opentelemetry_is_imported_where_nobody_asks():
    code = (
        "import sys, regrain_watchdog.front.server as server, regrain_watchdog.front.tracing.asked as asked\n"
        "asked.open_export({})\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60.0).returncode == 0
