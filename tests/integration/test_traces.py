"""Traces, as a collector receives them from `regrain run` by OTLP over HTTP."""

import contextlib
import socket
import threading

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="regrain[otel] is not installed")

import grpc
import requests
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from regrain.wire import invoke_pb2

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{CALLER}-01"
INTERNAL, SERVER, CLIENT = Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT


@pytest.fixture
def whole(collector, until):
    """Wait for all spans of a trace; the request's own comes last."""

    def wait(*, count, trace=TRACE):
        found = until(
            lambda: spans if len(spans := collector.of(trace)) >= count else None,
            f"{count} spans of {trace}; last there were {collector.names}",
        )
        assert len(found) == count, collector.names
        return found

    return wait


def only(spans, name, kind=None):
    (found,) = [span for span in spans if span.name == name and kind in (None, span.kind)]
    return found


def ask(served, text, traceparent=SAMPLED, **headers):
    headers |= {"content-type": "application/json"} | ({"traceparent": traceparent} if traceparent else {})
    return served.post(f'{{"text": "{text}"}}', headers=headers)


def test_a_request_its_groups_and_their_stages_are_spans_of_the_callers_trace(serve, whole):
    served = serve("traced.py", "--grain", "first | second")
    pids = served.replicas()

    answer = ask(served, "Ada", tracestate="vendor=1")

    spans = whole(count=5)
    request, groups = only(spans, "POST /"), [only(spans, f"group {name}") for name in ("first", "second")]
    stages = [only(spans, f"stage {name}") for name in ("first", "second")]
    assert (request.parent, request.kind) == (CALLER, SERVER)
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["regrain.call_id"] == answer.headers["X-Call-Id"]
    assert [answer.json()["first"], answer.json()["second"]] == [group.named for group in groups]
    for group, stage, pid in zip(groups, stages, pids, strict=True):
        assert (group.parent, group.kind, stage.parent, stage.kind) == (
            request.id,
            INTERNAL,
            group.id,
            INTERNAL,
        )
        assert request.holds(group)
        assert group.holds(stage)
        assert group.attributes["regrain.batch.size"] == 1
        assert group.attributes["regrain.queue.wait"] >= 0.0
        assert group.attributes["regrain.replica.pid"] == pid
    assert {span.resource["service.name"] for span in spans} == {"traced"}
    assert {span.state for span in spans} == {"vendor=1"}


def test_stages_of_one_group_lie_in_its_span_one_after_another(serve, whole):
    served = serve("traced.py", "--grain", "coarse")

    answer = ask(served, "Ada")

    spans = whole(count=4)
    group, first, second = (
        only(spans, name) for name in ("group first+second", "stage first", "stage second")
    )
    assert {answer.json()["first"], answer.json()["second"]} == {group.named}
    assert (first.parent, second.parent) == (group.id, group.id)
    assert first.ends <= second.begins


def test_a_request_without_a_trace_begins_one(serve, collector, whole):
    served = serve("traced.py", "--grain", "coarse", "--trace-context", "make")

    trace = ask(served, "Ada", traceparent="").json()["first"][3:35]

    assert only(whole(count=4, trace=trace), "POST /").parent == ""
    assert collector.of(TRACE) == []


WEB = """
from flask import Flask, request

app = Flask(__name__)

@app.get("/<path:path>")
def told(path):
    return request.headers["traceparent"], 200 if path == "there" else 500
"""


@pytest.mark.parametrize(("path", "status"), [("there", 200), ("failing", 500)])
def test_a_request_to_an_upstream_is_a_span_that_it_is_told_of(serve, whole, tmp_path, path, status):
    (tmp_path / "web.py").write_text(WEB)
    served = serve("wsgi:web:app", "--trace-context", "make")

    headers = {"traceparent": SAMPLED, "tracestate": "vendor=1"}
    answer = requests.get(f"{served.url}/{path}?a=b", headers=headers, timeout=60)

    (span,) = whole(count=1)
    assert answer.text == span.named
    assert (span.name, span.parent, span.kind, span.state) == ("GET", CALLER, SERVER, "vendor=1")
    assert span.attributes["http.response.status_code"] == answer.status_code == status
    assert span.attributes["url.path"] == f"/{path}"
    assert span.attributes["regrain.call_id"] == answer.headers["X-Call-Id"]
    assert span.resource["service.name"] == "web"
    assert (span.status.code == Status.STATUS_CODE_ERROR) == (status == 500)


def test_a_request_without_a_trace_begins_one_at_an_upstream(serve, whole, tmp_path):
    (tmp_path / "web.py").write_text(WEB)
    served = serve("wsgi:web:app", "--trace-context", "make")

    told = requests.get(f"{served.url}/there", headers={"traceparent": "garbage"}, timeout=60).text

    (span,) = whole(count=1, trace=told[3:35])
    assert (span.parent, span.named[:-2]) == ("", told[:-2])  # what follows are flags


def test_a_trace_goes_on_in_another_pod(pair, whole):
    served, other = pair()

    answer = ask(served, "Ada")

    spans = whole(count=6)  # the caller of the second stage has events of it, the pod that runs it a span
    request, stage = only(spans, "POST /"), only(spans, "stage second")
    sent, took = only(spans, "group second", CLIENT), only(spans, "group second", SERVER)
    assert [sent.parent, took.parent, stage.parent] == [request.id, sent.id, took.id]
    assert answer.json()["second"] == took.named
    assert sent.attributes["regrain.pod"] == other.url
    assert sent.events == ["stage second"]
    assert (sent.resource["process.pid"], took.resource["process.pid"]) == (
        served.process.pid,
        other.process.pid,
    )
    assert [served.stop(), other.stop()] == [0, 0]


@pytest.fixture
def pair(attempt, until, tmp_path, free_ports):
    """Start two pods of which the first has the first stage alone, and wait until it hears the other one.

    It starts the second stage itself if the other stands still for longer than it may: once more then.
    """

    def start():
        key = tmp_path / "secret"
        key.write_text("a-secret-of-the-pods")
        key.chmod(0o600)
        flags = ["--grain", "first | second", "--remote-key-file", str(key)]
        while True:
            other = attempt("traced.py", *flags, "--port", str(free_ports[0])).ready()
            served = attempt("traced.py", *flags, "--remote", f"second={other.url}").ready()
            until(lambda one=served: hears(one), "the pod hears the other one")
            if len(served.replicas()) == 1:
                return served, other
            served.destroy()
            other.destroy()

    return start


def hears(pod):
    return all(peer["answers"] for group in pod.status()["groups"] for peer in group["pods"])


def test_a_call_over_grpc_is_a_span(serve, whole):
    served = serve("traced.py", "--grain", "coarse", "--grpc-port", "0")
    address = f"127.0.0.1:{served.status()['ports']['grpc']}"
    message = invoke_pb2.InvokeRequest(body=b'{"text": "Ada"}', content_type="application/json")

    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/regrain.App/Invoke", response_deserializer=invoke_pb2.InvokeReply.FromString
        )
        call(message.SerializeToString(), metadata=[("traceparent", SAMPLED)], timeout=60.0)

    request = only(whole(count=4), "regrain.App/Invoke", SERVER)
    assert request.parent == CALLER
    assert request.attributes["rpc.method"] == "Invoke"
    assert request.attributes["regrain.status"] == 200


def test_a_stage_that_fails_is_an_error_of_its_group_and_of_the_request(serve, whole):
    served = serve("traced.py", "--grain", "first | second")

    assert ask(served, "fail").status_code == 500

    spans = {span.name: span for span in whole(count=5)}
    failed = {name for name, span in spans.items() if span.status.code == Status.STATUS_CODE_ERROR}
    assert failed == {"POST /", "group second"}
    assert "as it was asked to" in spans["group second"].status.message
    assert spans["POST /"].attributes["error.type"] == "500"


def test_each_try_of_a_request_that_ends_its_replicas_is_a_span(serve, whole):
    served = serve("traced.py", "--grain", "first | second")

    assert ask(served, "die").status_code == 502

    spans = whole(count=5)
    tries = [span for span in spans if span.name == "group second"]
    assert [span.status.code for span in tries] == [Status.STATUS_CODE_ERROR] * 2
    assert len({span.attributes["regrain.replica.pid"] for span in tries}) == 2


def test_what_is_not_sampled_is_passed_on_and_not_recorded(serve, collector, whole):
    served = serve("traced.py", "--grain", "coarse")
    unsampled = SAMPLED.replace(TRACE, "1" * 32).replace("-01", "-00")

    assert ask(served, "Ada", unsampled).json()["first"] == unsampled
    ask(served, "Ada")

    whole(count=4)
    assert collector.of("1" * 32) == []


def test_the_standard_sampler_says_which_requests_are_recorded(serve, collector, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    served = serve("traced.py", "--grain", "coarse")

    made = ask(served, "Ada", traceparent="").json()["first"]
    passed = ask(served, "Ada").json()["first"]

    assert made
    assert not int(made[-2:], 16) & 1
    assert passed == SAMPLED
    assert served.stop() == 0
    assert collector.asked == 0


def test_a_collector_that_is_away_costs_one_line_until_it_is_back(serve, collector, until, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    collector.is_open = False
    served = serve("traced.py", "--grain", "coarse")

    until(
        lambda: ask(served, "Ada").status_code == 200 and collector.asked > 4, "the collector was asked again"
    )
    collector.is_open = True
    until(lambda: ask(served, "Ada").status_code == 200 and collector.spans, "spans have come")
    served.said("traces are sent again")

    until_then, _, _ = served.output.partition("traces are sent again")
    assert until_then.count("traces are lost") == 1


def test_an_app_ends_in_time_although_its_collector_does_not_answer(serve, monkeypatch):
    silent = Silent()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", silent.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")
    served = serve("traced.py", "--grain", "coarse")

    assert ask(served, "Ada").status_code == 200
    silent.asked.wait(60.0)

    assert served.stop() == 0
    silent.close()


class Silent:
    """Accepts connections and says nothing."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.asked = threading.Event()
        self.held = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                self.held.append(self.server.accept()[0])
                self.asked.set()

    def close(self):
        for one in (*self.held, self.server):
            one.close()


def test_what_comes_last_is_sent_before_the_end(serve, collector, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    served = serve("traced.py", "--grain", "coarse")

    ask(served, "Ada")
    assert collector.spans == []
    assert served.stop() == 0

    assert len(collector.of(TRACE)) == 4


def test_spans_are_printed_where_that_is_asked_for(serve, collector, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    served = serve("traced.py", "--grain", "coarse")

    ask(served, "Ada")

    served.said('"name": "POST /"')
    assert collector.asked == 0


def test_a_protocol_that_is_not_spoken_is_a_warning(serve, collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    served = serve("traced.py", "--grain", "coarse")

    assert ask(served, "Ada").json()["first"] == SAMPLED
    served.said("no traces are sent: OTLP goes by http/protobuf here, not by grpc")
    assert collector.asked == 0
