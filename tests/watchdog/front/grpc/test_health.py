"""What those who watch an app's health are told, whenever it ends."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2 as pb

from regrain_watchdog.front.grpc.health import NAME, Health
from regrain_watchdog.front.grpc.silence import Given


class Details:
    """Which method is called, as grpc asks for it."""

    method = f"/{NAME}/Watch"


def test_an_end_while_a_watcher_takes_the_last_change_is_told_as_well():
    health, told = Health((), lambda: "", calls=4, seconds=60.0), []

    class Slow:
        async def write(self, response):
            told.append(response.status)
            health.end()

    asked = Given(pb.HealthCheckRequest().SerializeToString())
    watch = health.handlers().service(Details()).stream_stream
    asyncio.run(watch(asked, Slow()))

    assert told == [pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING]


@pytest.mark.parametrize(("calls", "watching"), [(1, 0), (2, 1), (3, 1), (8, 2)])
def test_of_few_calls_one_may_watch_and_a_quarter_of_many_and_never_all(calls, watching):
    async def scenario():
        health = Health((), lambda: "", calls=calls, seconds=60.0)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((health.handlers(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(60):
                watches = [channel.unary_stream(Details.method)(b"") for _ in range(watching)]
                for watch in watches:
                    assert await watch.read()

                beyond = channel.unary_stream(Details.method)(b"")
                assert await beyond.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        finally:
            await server.stop(None)

    asyncio.run(scenario())
