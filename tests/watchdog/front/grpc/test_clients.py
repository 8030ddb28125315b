"""regrain's own clients against a running app."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
import requests

from regrain import AsyncGrpcClient, GrpcClient, RequestError
from regrain.wire.invoke_pb2 import Content, InvokeRequest

pytestmark = pytest.mark.process

ONES = np.ones((2, 3), np.float32)


def test_both_clients_get_the_same_answer(running_tensors):
    async def awaited():
        async with AsyncGrpcClient(running_tensors.grpc, timeout=60.0) as client:
            assert await client.ready()
            return await client.invoke(x=ONES, text="a")

    with GrpcClient(running_tensors.grpc, timeout=60.0) as client:
        assert client.ready()
        answer = client.invoke(x=ONES, text="a")

    assert answer == {"scaled": [[2.0] * 3] * 2, "loud": "A"}
    assert asyncio.run(awaited()) == answer


def test_awaited_calls_run_together_and_each_fails_alone(running_tensors):
    async def scenario():
        async with AsyncGrpcClient(running_tensors.grpc, timeout=60.0) as client:
            texts = [*"abcdefgh", "refuse"]
            calls = [client.invoke(x=ONES, text=text) for text in texts]
            return await asyncio.gather(*calls, return_exceptions=True)

    *answers, refused = asyncio.run(scenario())

    assert [answer["loud"] for answer in answers] == list("ABCDEFGH")
    assert isinstance(refused, RequestError)
    assert refused.status == 403
    assert "told to refuse" in refused.detail


def test_a_deadline_of_an_awaited_call_ends_it(running_tensors):
    async def scenario():
        async with AsyncGrpcClient(running_tensors.grpc, timeout=0.3) as client:
            await client.invoke(x=ONES, text="wait")

    with pytest.raises(RequestError) as raised:
        asyncio.run(scenario())

    assert raised.value.status == 504


DEEP = b"[" * 150 + b"]" * 150


def _over_http(app):
    body = b'{"x": [[1, 1, 1], [1, 1, 1]], "options": %b}' % DEEP
    return requests.post(
        f"http://{app.http}/", data=body, headers={"Content-Type": "application/json"}, timeout=60
    )


def _over_the_protocol(app):
    texts = {"name": "options", "datatype": "BYTES", "shape": [1], "data": [DEEP.decode()]}
    numbers = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1] * 6}
    path = f"http://{app.http}/v2/models/tensors/infer"
    return requests.post(path, json={"inputs": [numbers, texts]}, timeout=60)


@pytest.mark.parametrize("ask", [_over_http, _over_the_protocol])
def test_a_value_that_is_nested_too_deeply_is_its_caller_s_fault(running_tensors, ask):
    answer = ask(running_tensors)

    assert answer.status_code == 400
    assert "parameter 'options': a value of more than 100 containers within each other" in answer.text


def test_a_value_that_is_nested_too_deeply_is_an_invalid_argument(running_tensors):
    parameters = {
        "x": Content(body=b"[[1, 1, 1], [1, 1, 1]]", content_type="application/json"),
        "options": Content(body=DEEP, content_type="application/json"),
    }
    message = InvokeRequest(parameters=parameters).SerializeToString()

    with grpc.insecure_channel(running_tensors.grpc) as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/regrain.App/Invoke", bytes, bytes)(message, timeout=60)

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details().startswith("parameter 'options': a value of more than 100 containers")
