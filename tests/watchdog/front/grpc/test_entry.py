"""What calls over gRPC go through before and behind their work: the key, trace contexts, the access log."""

from __future__ import annotations

import logging

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2

from regrain.wire.invoke_pb2 import InvokeRequest
from regrain_watchdog.front.grpc import inference_pb2 as pb
from regrain_watchdog.front.trace_context import trace_id

SECRET = "0123456789abcdef"
SHOWN = (("authorization", f"Bearer {SECRET}"),)
PROTOCOL = "/inference.GRPCInferenceService/"
INVOKE = "/regrain.App/Invoke"
MESSAGE = InvokeRequest(body=b"x").SerializeToString()
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def locked(grpc_serve, tmp_path):
    """An app with a key."""
    file = tmp_path / "key"
    file.write_text(SECRET)
    file.chmod(0o600)
    return grpc_serve(invocation_key_file=str(file))


def refusal(served, path, message=b"", metadata=()):
    with pytest.raises(grpc.RpcError) as raised:
        served.call(path, message, metadata=metadata)
    return raised.value


def test_a_key_is_asked_for_where_a_setting_has_one_and_never_handed_on(locked):
    error = refusal(locked, INVOKE, MESSAGE)
    locked.call(INVOKE, MESSAGE, metadata=SHOWN)

    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert len(locked.service.calls) == 1
    assert SECRET.encode() not in locked.service.calls[0].headers


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("ServerMetadata", b""),
        ("ModelMetadata", pb.ModelMetadataRequest(name="echo").SerializeToString()),
        ("ModelConfig", pb.ModelConfigRequest(name="echo").SerializeToString()),
        ("ModelStatistics", b""),
        ("RepositoryIndex", b""),
    ],
    ids=["server", "model", "configuration", "statistics", "index"],
)
def test_what_an_app_is_and_did_is_told_to_those_with_the_key_alone(locked, method, message):
    error = refusal(locked, PROTOCOL + method, message, (("authorization", "Bearer wrong"),))
    locked.call(PROTOCOL + method, message, metadata=SHOWN)

    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert dict(error.trailing_metadata())["x-status"] == "401"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{PROTOCOL}ServerLive", b""),
        (f"{PROTOCOL}ServerReady", b""),
        (f"{PROTOCOL}ModelReady", pb.ModelReadyRequest(name="echo").SerializeToString()),
        ("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest().SerializeToString()),
    ],
    ids=["live", "ready", "model", "health"],
)
def test_probes_need_no_key(locked, path, message):
    assert locked.call(path, message)


@pytest.mark.parametrize(
    "path", [f"{PROTOCOL}ModelStreamInfer", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]
)
def test_a_stream_without_the_key_is_ended_before_it_has_asked(locked, path):
    stream = locked.channel.stream_stream(path, bytes, bytes)

    with pytest.raises(grpc.RpcError) as raised:
        next(stream(iter(()), timeout=60))

    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_trace_context_is_made_where_a_call_has_none(grpc_serve):
    served = grpc_serve(trace_context="make")

    served.call(INVOKE, MESSAGE)
    served.call(INVOKE, MESSAGE, metadata=(("traceparent", PARENT), ("tracestate", "a=1")))
    served.call(INVOKE, MESSAGE, metadata=(("traceparent", "nonsense"), ("tracestate", "a=1")))

    first, second, third = (msgspec.msgpack.decode(call.headers) for call in served.service.calls)
    assert trace_id(first["traceparent"]) != TRACE
    assert (second["traceparent"], second["tracestate"]) == (PARENT, "a=1")
    assert trace_id(third["traceparent"]) not in ("", TRACE)
    assert "tracestate" not in third


def test_the_access_log_has_the_trace_of_a_call(grpc_serve, caplog, until):
    caplog.set_level(logging.INFO, "regrain.access")
    served = grpc_serve(trace_context="make", access_log="json")

    served.call(INVOKE, MESSAGE, metadata=(("traceparent", PARENT),))
    refusal(served, INVOKE, MESSAGE, (("traceparent", PARENT), ("x-call-id", "with blank")))
    served.call(INVOKE, MESSAGE)

    until(lambda: len(caplog.records) == 3)
    given, failed, made = caplog.records
    assert (given.trace_id, failed.trace_id) == (TRACE, TRACE)
    assert made.trace_id == trace_id(msgspec.msgpack.decode(served.service.calls[1].headers)["traceparent"])


def test_without_a_trace_context_the_access_log_has_none(grpc_serve, caplog, until):
    caplog.set_level(logging.INFO, "regrain.access")
    served = grpc_serve(access_log="json")

    served.call(INVOKE, MESSAGE)

    until(lambda: caplog.records)
    assert not hasattr(caplog.records[0], "trace_id")
