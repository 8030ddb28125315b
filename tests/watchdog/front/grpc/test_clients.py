"""regrain's own clients against a running app."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from regrain import AsyncGrpcClient, GrpcClient, RequestError

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
