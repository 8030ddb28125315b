"""Who asks reflection nothing, over a real server."""

from __future__ import annotations

import asyncio

import grpc

from regrain_watchdog.front.grpc.reflect import NAME, Reflection
from regrain_watchdog.front.grpc.silence import Silence


def test_who_asks_nothing_is_let_go():
    async def scenario():
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Reflection((), silence=Silence(0.1)).handlers(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            silent = channel.stream_stream(f"/{NAME}/ServerReflectionInfo")()

            assert await asyncio.wait_for(silent.code(), 60) is grpc.StatusCode.DEADLINE_EXCEEDED
            assert await silent.details() == "the caller asked nothing for 0.1 s"
        await server.stop(None)

    asyncio.run(scenario())
