"""Calls that come close together go on together, in their order, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading

import pytest

from regrain.wire.invoke_pb2 import InvokeRequest
from regrain_watchdog.front.call import Reply
from regrain_watchdog.front.grpc.gathering import TURNS, Gathering
from regrain_watchdog.policy.batch import MAX_PACKED


async def turn():
    await asyncio.sleep(0)


def test_calls_that_come_in_neighbouring_turns_go_on_in_one_and_in_their_order():
    gathering, gone = Gathering(), []

    async def call(name):
        await gathering.wait()
        gone.append(name)

    async def run():
        calls = []
        for name in range(5):
            calls.append(asyncio.create_task(call(name)))
            await turn()
            await turn()
        assert gone == []
        while not gone:
            await turn()
        assert gone == list(range(5))
        await asyncio.gather(*calls)

    asyncio.run(run())


@pytest.mark.parametrize("count", [1, 2])
def test_who_is_followed_by_nobody_waits_a_few_turns(count):
    gathering = Gathering()

    async def run():
        calls = [asyncio.create_task(gathering.wait()) for _ in range(count)]
        for _ in range(TURNS + 4):
            await turn()
        assert all(call.done() for call in calls)

    asyncio.run(run())


def test_a_full_dispatch_does_not_wait():
    gathering = Gathering()

    async def run():
        calls = [asyncio.create_task(gathering.wait()) for _ in range(MAX_PACKED + 1)]
        for _ in range(3):
            await turn()
        assert [call.done() for call in calls] == [True] * MAX_PACKED + [False]
        await calls[-1]

    asyncio.run(run())


def test_one_that_is_cancelled_holds_nobody_up():
    gathering = Gathering()

    async def run():
        left, stays = (asyncio.create_task(gathering.wait()) for _ in range(2))
        await turn()
        left.cancel()
        await stays
        assert left.cancelled()

    asyncio.run(run())


class Turns:
    """Answers calls but the first one, and counts those that came in one turn of the loop together."""

    def __init__(self):
        self.sizes = []
        self.began = threading.Event()
        self._same = False

    async def __call__(self, call):
        if not self.began.is_set():
            self.began.set()
            await asyncio.get_running_loop().create_future()
        if not self._same:
            self._same = True
            self.sizes.append(0)
            asyncio.get_running_loop().call_soon(self._next)
        self.sizes[-1] += 1
        return Reply(value=call.values["image"])

    def _next(self):
        self._same = False


def test_a_server_hands_on_together_what_comes_while_a_call_is_under_way(grpc_serve):
    turns = Turns()
    served = grpc_serve(behave=turns)
    method = served.channel.unary_unary("/regrain.App/Invoke", bytes, bytes)
    message = InvokeRequest(body=b"x").SerializeToString()
    under_way = method.future(message)
    assert turns.began.wait(20)

    calls = [method.future(message) for _ in range(32)]

    assert all(call.result(20) for call in calls)
    under_way.cancel()
    assert sum(turns.sizes) == 32
    assert max(turns.sizes) >= 4
