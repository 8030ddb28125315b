"""How long a stream may ask nothing, and what it then asks."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import grpc
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


def _lives(served):
    with contextlib.suppress(grpc.RpcError):
        return bool(served.call("/inference.GRPCInferenceService/ServerLive"))
    return False


class Silent:
    """Has nothing to send until it ends."""

    def __init__(self):
        self._ended = threading.Event()

    def __iter__(self):
        return self

    def __next__(self):
        self._ended.wait(60)
        raise StopIteration

    def end(self):
        self._ended.set()


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


@pytest.mark.parametrize(
    "path",
    [
        "/regrain.App/Invoke",
        "/inference.GRPCInferenceService/ModelInfer",
        "/inference.GRPCInferenceService/ServerReady",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
    ],
)
def test_calls_that_bring_no_message_are_ended_in_favour_of_others(grpc_serve, until, path):
    """Callers of these methods send theirs at once; whoever begins a stream need not."""
    served = grpc_serve(max_connections=2, body_timeout=0.2)
    silent, ended = Silent(), []
    call = served.channel.stream_stream(path, bytes, bytes)
    for one in [call(silent) for _ in range(2)]:
        with pytest.raises(grpc.RpcError):
            next(one)
        ended.append((one.details(), dict(one.trailing_metadata() or ()).get("x-status")))
    silent.end()

    late = ("the message did not come within 0.2 s", "408")
    assert late in ended
    assert set(ended) <= {late, ("Concurrent RPC limit exceeded!", None)}
    until(lambda: _lives(served))  # once the server has seen the last of them off as well


def test_a_call_that_ends_without_its_message_is_told_so(grpc_serve):
    with pytest.raises(grpc.RpcError) as raised:
        grpc_serve().channel.stream_unary("/regrain.App/Invoke", bytes, bytes)(iter(()), timeout=60)

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "the call brought no message"
