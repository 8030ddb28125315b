"""Functions start in turn, and one that hangs keeps no others back."""

from __future__ import annotations

import asyncio

from regrain_watchdog.gateway.plane.starts import Starts

PATIENCE = 60.0


def test_so_many_start_at_once() -> None:
    under_way: list[int] = []
    most = 0

    async def start(starts: Starts, number: int) -> None:
        nonlocal most
        async with starts.turn():
            under_way.append(number)
            most = max(most, len(under_way))
            await asyncio.sleep(0)
            under_way.remove(number)

    async def scenario() -> None:
        starts = Starts(2, PATIENCE)
        await asyncio.gather(*(start(starts, number) for number in range(9)))

    asyncio.run(scenario())

    assert most == 2


def test_starts_that_hang_lose_their_turn_and_no_more_than_that() -> None:
    async def scenario() -> int:
        starts = Starts(2, seconds=0.01)
        free = asyncio.Event()
        started = 0

        async def hang() -> None:
            nonlocal started
            async with starts.turn():
                started += 1
                await free.wait()

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(hang())
            while started < 4:
                await asyncio.sleep(0)
            free.set()
        others = [starts.turn() for _ in range(2)]
        for one in others:
            await one.__aenter__()
        third = asyncio.create_task(starts.turn().__aenter__())
        await asyncio.sleep(0)
        has_turn = third.done()
        for one in others:
            await one.__aexit__(None, None, None)
        await third
        return has_turn

    assert not asyncio.run(scenario())
