"""A stream of calls whose caller takes nothing, over a real server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc

from regrain_watchdog.front.grpc.silence import Silence
from regrain_watchdog.front.grpc.stream import Streams

PATH = "/test/Stream"
ITEM = bytes(1 << 20)


@asynccontextmanager
async def serving(streams, run):
    async def stream(requests, context):
        await streams.serve(requests, context, run)

    server = grpc.aio.server()
    methods = {"Stream": grpc.stream_stream_rpc_method_handler(stream)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.stream_stream(PATH)
    await server.stop(None)


def test_a_caller_that_takes_nothing_ends_its_stream_and_what_gives_to_it():
    async def scenario():
        closed = asyncio.Event()
        given = 0

        async def endless():
            nonlocal given
            try:
                while True:
                    given += 1
                    yield ITEM
            finally:
                closed.set()

        async def run(_data):
            return endless()

        async with serving(Streams(stall=0.2, silence=Silence()), run) as method:
            call = method(iter([b"go"]))
            first = await call.read()
            await asyncio.wait_for(closed.wait(), 60)
            rest = 0
            try:
                while await call.read() is not grpc.aio.EOF:
                    rest += 1
            except grpc.aio.AioRpcError:
                pass
            assert first == ITEM
            assert rest < given
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert await call.details() == "the caller took no answer for 0.2 s"
            assert dict(await call.trailing_metadata())["x-status"] == "408"

    asyncio.run(scenario())


def test_a_caller_that_takes_each_answer_in_time_gets_them_all():
    async def scenario():
        async def ten():
            for _ in range(10):
                yield ITEM

        async def run(_data):
            return ten()

        async with serving(Streams(stall=60.0, silence=Silence()), run) as method:
            assert len([item async for item in method(iter([b"go"]))]) == 10

    asyncio.run(scenario())


def test_calls_that_run_for_a_caller_that_takes_nothing_are_cancelled():
    async def scenario():
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def run(data):
            if data == b"large":
                await begun.wait()  # no answer is due before, which nobody takes
                return ITEM
            begun.set()
            try:
                return await asyncio.get_running_loop().create_future()
            finally:
                cancelled.set()

        async with serving(Streams(stall=0.2, silence=Silence()), run) as method:
            call = method(iter([b"large"] * 32 + [b"long"]))
            await asyncio.wait_for(cancelled.wait(), 60)
            call.cancel()

    asyncio.run(scenario())


def test_a_stream_that_comes_while_its_server_drains_ends_at_once():
    async def scenario():
        async def run(data):
            return data

        streams = Streams(stall=60.0, silence=Silence())
        streams.drain()
        async with serving(streams, run) as method:
            call = method(iter([b"late"]))
            assert await asyncio.wait_for(call.read(), 60) is grpc.aio.EOF

    asyncio.run(scenario())


def test_a_stream_that_asks_nothing_is_ended_and_one_that_waits_for_its_answer_is_not(with_time):
    async def scenario(seconds):
        asked, answered = asyncio.Event(), asyncio.Event()

        async def run(data):
            asked.set()
            await answered.wait()
            return data

        async with serving(Streams(stall=60.0, silence=Silence(seconds)), run) as method:
            waiting = method()
            await waiting.write(b"slow")
            await asyncio.wait_for(asked.wait(), 60)
            silent = method()

            assert await silent.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert await silent.details() == f"the caller asked nothing for {seconds:g} s"
            assert dict(await silent.trailing_metadata())["x-status"] == "408"

            answered.set()
            assert await asyncio.wait_for(waiting.read(), 60) == b"slow"
            assert await waiting.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    with_time(lambda seconds: asyncio.run(scenario(seconds)), 0.2)


def test_a_stream_that_asks_nothing_may_stay_where_there_are_few(with_time):
    async def scenario(seconds):
        async def run(data):
            return data

        async with serving(Streams(stall=60.0, silence=Silence(seconds, spare=1)), run) as method:
            streams = [method(), method()]
            for stream in streams:
                await stream.write(b"begun")
                assert await asyncio.wait_for(stream.read(), 60) == b"begun"

            codes = {asyncio.create_task(stream.code()): stream for stream in streams}
            (ended,), (stays,) = await asyncio.wait(codes, return_when=asyncio.FIRST_COMPLETED)
            assert ended.result() is grpc.StatusCode.DEADLINE_EXCEEDED

            await codes[stays].write(b"again")
            assert await asyncio.wait_for(codes[stays].read(), 60) == b"again"
            stays.cancel()

    with_time(lambda seconds: asyncio.run(scenario(seconds)), 0.05)
