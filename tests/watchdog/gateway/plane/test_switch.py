"""The gateway's port of gRPC, over a real server."""

from __future__ import annotations

import asyncio

import grpc

from regrain_watchdog.gateway.plane.switch import STREAM, Switch


def test_a_stream_that_asks_nothing_is_ended():
    async def scenario():
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Switch(None, None, idle=0.1),))  # nobody is asked for
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            silent = channel.stream_stream(STREAM)()

            assert await asyncio.wait_for(silent.code(), 60) is grpc.StatusCode.DEADLINE_EXCEEDED
            assert await silent.details() == "the caller asked nothing for 0.1 s"
        await server.stop(None)

    asyncio.run(scenario())
