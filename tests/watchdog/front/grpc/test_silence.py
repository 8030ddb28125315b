"""How long a stream may ask nothing, and what it then asks."""

from __future__ import annotations

import asyncio

import pytest

from regrain.errors import RequestError
from regrain_watchdog.front.grpc.silence import Silence


class Requests:
    """Come when they are given; None is behind the last."""

    def __init__(self):
        self.given = asyncio.Queue()

    async def __aiter__(self):
        while (data := await self.given.get()) is not None:
            yield data


def test_a_stream_that_was_silent_is_read_on_and_one_too_many_is_not_waited_for():
    async def scenario():
        requests, silence = Requests(), Silence(0.02, spare=1)
        coming = aiter(requests)
        asyncio.get_running_loop().call_later(0.1, requests.given.put_nowait, b"at last")
        with silence.stream():
            assert await silence.until_asked(coming) == b"at last"
            requests.given.put_nowait(b"more")
            assert await silence.until_asked(coming) == b"more"
            with silence.stream(), pytest.raises(RequestError, match="asked nothing"):
                await silence.until_asked(coming)

    asyncio.run(scenario())


def test_behind_the_last_request_there_is_none():
    async def scenario():
        requests = Requests()
        requests.given.put_nowait(None)
        assert await Silence().until_asked(aiter(requests)) is None

    asyncio.run(scenario())


def test_once_all_drain_no_stream_is_waited_for():
    async def scenario():
        silence = Silence()
        waiting = asyncio.create_task(silence.until_asked(aiter(Requests())))
        await asyncio.sleep(0)  # it waits now
        silence.drain()
        async with asyncio.timeout(60):
            assert await waiting is None
            assert await silence.until_asked(aiter(Requests())) is None

    asyncio.run(scenario())
