"""What those who watch an app's health are told, whenever it ends."""

from __future__ import annotations

import asyncio

from grpc_health.v1 import health_pb2 as pb

from regrain_watchdog.front.grpc.health import NAME, Health


class Details:
    """Which method is called, as grpc asks for it."""

    method = f"/{NAME}/Watch"


def test_an_end_while_a_watcher_takes_the_last_change_is_told_as_well():
    health, told = Health((), lambda: "", calls=4), []

    class Slow:
        async def write(self, response):
            told.append(response.status)
            health.end()

    watch = health.handlers().service(Details()).unary_stream
    asyncio.run(watch(pb.HealthCheckRequest().SerializeToString(), Slow()))

    assert told == [pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING]
