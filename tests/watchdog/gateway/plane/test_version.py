"""What ends goes on ending, whoever waits for it."""

from __future__ import annotations

import asyncio

from regrain_watchdog.gateway.plane.version import Ending


def test_what_ends_is_not_cut_off_with_who_waits_for_it_and_is_forgotten_afterwards() -> None:
    async def scenario() -> None:
        ending, may_end = Ending(), asyncio.Event()

        async def end() -> None:
            await may_end.wait()

        task = asyncio.create_task(end())
        ending.add(task)
        waiting = asyncio.create_task(ending.over())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not task.done()
        assert not ending.is_over
        may_end.set()
        await ending.over()

        assert ending.is_over
        assert not task.cancelled()

    asyncio.run(asyncio.wait_for(scenario(), 60))
