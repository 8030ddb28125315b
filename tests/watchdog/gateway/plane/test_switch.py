"""The gateway's port of gRPC, over a real server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest

from regrain.errors import SpecError
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.grpc.reflect import NAME
from regrain_watchdog.front.listen import bind
from regrain_watchdog.gateway.plane.switch import STREAM, Calls

REFLECT = f"/{NAME}/ServerReflectionInfo"


@asynccontextmanager
async def serving(**limits):
    """A port whose functions nobody asks for, and a channel to it."""
    calls = Calls(None, None, Config(host="127.0.0.1", grpc_port=0, **limits))
    await calls.start()
    try:
        async with grpc.aio.insecure_channel(calls.address) as channel:
            yield calls, channel
    finally:
        await calls.stop(0.0)


@pytest.mark.parametrize("is_usual", [False, True])
def test_a_port_that_is_taken_is_refused_naming_the_gateways_own_variable(is_usual, monkeypatch):
    with bind("127.0.0.1", 0, name="port", backlog=1) as taken:
        port = taken.getsockname()[1]
        if is_usual:  # of an app's own front, where any free one will do
            monkeypatch.setattr(Config, "DEFAULT_GRPC_PORT", port)
        calls = Calls(None, None, Config(host="127.0.0.1", grpc_port=port))

        with pytest.raises(SpecError, match=f"port {port} .*--grpc-port or REGRAIN_GATEWAY_GRPC_PORT"):
            asyncio.run(calls.start())


@pytest.mark.parametrize("path", [STREAM, REFLECT])
def test_a_stream_that_asks_nothing_is_ended_where_there_is_no_room(path):
    async def scenario():
        async with serving(max_connections=3, header_timeout=0.1) as (_, channel):
            silent = channel.stream_stream(path)()

            assert await asyncio.wait_for(silent.code(), 60) is grpc.StatusCode.DEADLINE_EXCEEDED
            assert await silent.details() == "the caller asked nothing for 0.1 s"

    asyncio.run(scenario())


def test_streams_that_ask_nothing_may_stay_while_they_are_few_and_end_with_the_port():
    async def scenario():
        async with serving(max_connections=4, header_timeout=0.1) as (calls, channel):
            codes = [asyncio.create_task(channel.stream_stream(path)().code()) for path in (STREAM, REFLECT)]
            async with asyncio.timeout(60):
                (ended,), (stays,) = await asyncio.wait(codes, return_when=asyncio.FIRST_COMPLETED)
                assert ended.result() is grpc.StatusCode.DEADLINE_EXCEEDED

                calls.drain()
                assert await stays is grpc.StatusCode.OK

    asyncio.run(scenario())


@pytest.mark.parametrize("path", ["/regrain.App/Invoke", "/grpc.health.v1.Health/Watch"])
def test_a_call_that_brings_no_message_is_ended(path):
    async def scenario():
        async with serving(body_timeout=0.1) as (_, channel):
            silent = channel.stream_stream(path)()

            assert await asyncio.wait_for(silent.code(), 60) is grpc.StatusCode.DEADLINE_EXCEEDED

    asyncio.run(scenario())
