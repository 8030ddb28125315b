"""What stands before an ingress, at a real listener."""

import asyncio
import json
import logging

import pytest

from regrain.lines import formatter
from regrain.manifest import Parameter
from regrain_watchdog.front import access
from regrain_watchdog.front.access import Gate
from regrain_watchdog.front.call import Reply
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.credentials import Key
from regrain_watchdog.front.http import Ingress
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.trace_context import trace_id

SECRET = "correct-horse-battery"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def lines():
    logger = logging.getLogger("regrain.access")
    handler = Lines()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.records
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def gate(listen, app_of):
    """Serve an app behind a gate; returns a client, and the headers that the app's calls had."""

    def _make(*parameters, **settings):
        seen = []

        class Service:
            manifest = app_of(*parameters)

            async def submit(self, call):
                import msgspec

                seen.append(msgspec.msgpack.decode(call.headers))
                return Reply(value=b"12345")

            def unready(self):
                return ""

            def status(self):
                return {}

        ingress = Ingress(Service(), Measure(), Config())
        options = {"key": None, "makes": False, "logs": False}
        return listen(Gate(ingress, **options | settings)), seen

    return _make


def test_where_nothing_is_asked_for_nothing_stands_before_the_ingress(app_of):
    ingress = object()

    assert access.before(ingress, Config()) is ingress
    assert access.before(ingress, Config(access_log="json")) is not ingress


def test_a_request_is_logged_in_one_line(gate, lines, until):
    client, _ = gate(logs=True)

    answer = client.post(b"abc", X_Call_Id="order-7", Traceparent=PARENT)

    until(lambda: lines)
    (record,) = lines
    told = json.loads(formatter("json").format(record))
    assert 0 < told.pop("seconds") < 60
    assert {name: told[name] for name in told if name not in ("time", "level", "logger")} == {
        "event": "request",
        "method": "POST",
        "path": "/",
        "status": 200,
        "call_id": "order-7",
        "received": 3,
        "sent": 5,
        "trace_id": TRACE,
    }
    assert answer.body == b"12345"


def test_a_body_without_a_length_is_counted_too(gate, lines, until):
    client, _ = gate(logs=True)

    client.post(iter([b"abc", b"de"]))

    until(lambda: lines)
    assert lines[0].received == 5


def test_a_path_cannot_forge_a_line(gate, lines, until):
    client, _ = gate(logs=True)

    client.request("GET", "/a%0d%0ainfo%20forged")

    until(lambda: lines)
    text = formatter("text").format(lines[0])
    assert "\n" not in text
    assert "status=404" in text


def test_probes_are_not_logged(gate, lines, until):
    client, _ = gate(logs=True)

    assert client.request("GET", "/_/ready", headers={"User-Agent": "kube-probe/1.36"}).status == 200
    client.request("GET", "/_/ready")

    until(lambda: lines)
    assert [record.path for record in lines] == ["/_/ready"]


def test_a_caller_that_leaves_is_logged_as_499(listen, lines, until):
    entered, left = [], []

    class Waiting:
        async def __rsgi__(self, scope, proto):
            entered.append(True)
            try:
                await asyncio.Event().wait()
            finally:
                left.append(True)

    client = listen(Gate(Waiting(), key=None, makes=False, logs=True))
    with client.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: entered)

    until(lambda: lines)
    assert left
    assert lines[0].status == 499


def test_a_stream_is_counted(listen, lines, until):
    class Streaming:
        async def __rsgi__(self, scope, proto):
            stream = proto.response_stream(200, [("x-call-id", "c1")])
            await stream.send_bytes(b"abc")
            await stream.send_bytes(b"de")

    client = listen(Gate(Streaming(), key=None, makes=False, logs=True))

    assert client.request("GET").body == b"abcde"
    until(lambda: lines)
    assert (lines[0].sent, lines[0].call_id) == (5, "c1")


@pytest.mark.parametrize("respond", ["response_empty", "response_str"])
def test_other_kinds_of_responses_pass(listen, lines, until, respond):
    class Other:
        async def __rsgi__(self, scope, proto):
            await asyncio.sleep(0)
            content = ("text",) if respond == "response_str" else ()
            getattr(proto, respond)(203, [], *content)

    client = listen(Gate(Other(), key=None, makes=False, logs=True))

    answer = client.request("GET")

    until(lambda: lines)
    assert (answer.status, lines[0].status, lines[0].sent) == (203, 203, len(answer.body))


def test_without_the_key_a_call_is_refused_and_with_it_served(gate):
    client, seen = gate(key=Key(SECRET))

    refused = client.post(b"x" * 100_000)
    served = client.post(b"x", Authorization=f"Bearer {SECRET}")

    assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Bearer realm="regrain"')
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json["call_id"] == refused.headers["x-call-id"]
    assert served.status == 200
    assert len(seen) == 1
    assert not any(SECRET in text for text in seen[0].values())


@pytest.mark.parametrize(
    ("path", "status"), [("/_/health", 200), ("/_/ready", 200), ("/_/openapi.json", 401), ("/", 401)]
)
def test_probes_need_no_key_and_all_else_does(gate, path, status):
    client, _ = gate(key=Key(SECRET))

    assert client.request("GET", path).status == status


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_what_is_a_call_of_the_app_needs_the_key_whatever_its_path(gate, path, method):
    client, seen = gate(Parameter(name="request", kind="request"), key=Key(SECRET))

    assert client.request(method, path).status == 401
    assert not seen


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 401)])
def test_the_health_of_the_protocol_may_be_read_without_the_key(gate, method, status):
    client, _ = gate(key=Key(SECRET))

    assert client.request(method, "/v2/health/live").status == status


def test_a_refused_call_is_logged_without_what_it_showed(gate, lines, until):
    client, _ = gate(key=Key(SECRET), logs=True)

    client.post(b"x", X_Regrain_Key="a-wrong-key-that-is-long")

    until(lambda: lines)
    assert lines[0].status == 401
    assert "a-wrong-key" not in str(lines[0].__dict__)


def test_a_trace_context_is_made_where_a_request_has_none(gate):
    client, seen = gate(makes=True)

    client.post(b"x")
    client.post(b"x", Traceparent=PARENT, Tracestate="a=1")
    client.post(b"x", Traceparent="nonsense", Tracestate="a=1")

    assert trace_id(seen[0]["traceparent"]) != TRACE
    assert (seen[1]["traceparent"], seen[1]["tracestate"]) == (PARENT, "a=1")
    assert trace_id(seen[2]["traceparent"])
    assert "tracestate" not in seen[2]


def test_a_made_trace_id_is_logged(gate, lines, until):
    client, seen = gate(makes=True, logs=True)

    client.post(b"x")

    until(lambda: lines)
    assert lines[0].trace_id == trace_id(seen[0]["traceparent"])


def test_without_a_gate_a_malformed_trace_context_is_dropped_all_the_same(serve):
    import msgspec

    served = serve()

    served.post(b"x", Traceparent=PARENT, Tracestate="a=1")
    served.post(b"x", Traceparent="nonsense", Tracestate="a=1")

    first, second = (msgspec.msgpack.decode(call.headers) for call in served.service.calls)
    assert (first["traceparent"], first["tracestate"]) == (PARENT, "a=1")
    assert not {"traceparent", "tracestate"} & set(second)
