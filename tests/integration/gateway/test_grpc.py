"""Functions of a gateway over gRPC: by name, by model, and woken."""

from __future__ import annotations

import re

import grpc
import pytest

from regrain.wire import invoke_pb2
from regrain_watchdog.front.grpc import inference_pb2 as pb

OIP = "/inference.GRPCInferenceService"
PATIENCE = 60.0


def ask(channel: grpc.Channel, method: str, message, kind, function: str = ""):
    call = channel.unary_unary(
        method, request_serializer=type(message).SerializeToString, response_deserializer=kind.FromString
    )
    return call(message, timeout=PATIENCE, metadata=(("function", function),) if function else ())


def invoke(channel: grpc.Channel, function: str) -> str:
    message = invoke_pb2.InvokeRequest(body=b'{"name": "you"}', content_type="application/json")
    return ask(channel, "/regrain.App/Invoke", message, invoke_pb2.InvokeReply, function).body.decode()


@pytest.fixture
def channel(start_gateway, until):
    gateway = start_gateway(REGRAIN_GATEWAY_GRPC_PORT="0")
    gateway.build("Hello")
    gateway.deploy("first")
    gateway.ready("first")
    found = until(lambda: re.search(r"gRPC on (\S+)", gateway.output), "gRPC is served")
    with grpc.insecure_channel(found[1]) as channel:
        yield gateway, channel


def test_a_call_is_for_the_function_that_it_names_or_whose_model_it_asks_for(channel) -> None:
    gateway, calls = channel
    gateway.deploy("cat", "functions/alpine", envProcess="cat")
    gateway.ready("cat")

    live = ask(calls, f"{OIP}/ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)
    by_model = ask(calls, f"{OIP}/ModelReady", pb.ModelReadyRequest(name="hello"), pb.ModelReadyResponse)
    named = pb.ModelReadyRequest(name="hello")
    by_name = ask(calls, f"{OIP}/ModelReady", named, pb.ModelReadyResponse, "first.openfaas-fn")
    refused = []
    for function in ("nobody", "cat", ""):
        with pytest.raises(grpc.RpcError) as caught:
            invoke(calls, function)
        refused.append((caught.value.code(), caught.value.details()))

    assert live.live
    assert by_model.ready
    assert by_name.ready
    assert invoke(calls, "first") == "Hello you"
    assert [code for code, _ in refused] == [grpc.StatusCode.NOT_FOUND] * 3
    assert "no app" in refused[1][1]
    assert "the metadata 'function' names one" in refused[2][1]


def test_a_function_at_zero_is_woken_and_another_version_takes_over(channel, until) -> None:
    gateway, calls = channel
    gateway.ask("POST", "/system/scale-function/first", json={"serviceName": "first", "replicas": 0})
    until(lambda: gateway.status("first")["state"] == "zero", "it sleeps")
    woken = invoke(calls, "first")
    gateway.build("Again")
    gateway.deploy("first")
    until(lambda: invoke(calls, "first") == "Again you", "the new version answers")

    assert woken == "Hello you"
