"""Calls that come close together go on together, in their order, and nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest

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
