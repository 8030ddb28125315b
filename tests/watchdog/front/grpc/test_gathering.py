"""Calls that come close together go on together, in their order, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading

import pytest

from regrain.wire.invoke_pb2 import InvokeReply, InvokeRequest
from regrain_watchdog.front.call import Reply
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.grpc.entry import Entry
from regrain_watchdog.front.grpc.gathering import TURNS, Gathering
from regrain_watchdog.front.measure import Measure
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


class Bare:
    """What grpc tells of a call that came without metadata and without a deadline."""

    def invocation_metadata(self):
        return ()

    def time_remaining(self):
        return None


def test_what_comes_while_a_call_is_under_way_is_handed_on_together():
    """In turns of the loop that the test makes: when grpc's own thread brings a call is the machine's business."""
    entry, free, gone = Entry(Measure(), Config(), lambda: 0.0), asyncio.Event(), []

    async def work(data, _call, _headers):
        if data == b"first":
            await free.wait()
        gone.append(data)
        return InvokeReply()

    def come(data):
        return asyncio.create_task(entry.counted("/", work, data, Bare()))

    async def run():
        first = come(b"first")
        await turn()
        calls = []
        for number in range(20):
            calls.append(come(b"%d" % number))
            await turn()
            await turn()
        assert gone == []
        while not gone:
            await turn()
        assert gone == [b"%d" % number for number in range(20)]
        free.set()
        await asyncio.gather(first, *calls)

    asyncio.run(run())


class Later:
    """Answers calls but the first one."""

    def __init__(self):
        self.began = threading.Event()

    async def __call__(self, call):
        if not self.began.is_set():
            self.began.set()
            await asyncio.get_running_loop().create_future()
        return Reply(value=call.values["image"])


def test_a_server_answers_what_comes_while_a_call_is_under_way(grpc_serve):
    later = Later()
    served = grpc_serve(behave=later)
    method = served.channel.unary_unary("/regrain.App/Invoke", bytes, bytes)
    message = InvokeRequest(body=b"x").SerializeToString()
    under_way = method.future(message)
    assert later.began.wait(60)

    calls = [method.future(message) for _ in range(32)]

    assert all(call.result(60) for call in calls)
    assert not under_way.done()
    under_way.cancel()
