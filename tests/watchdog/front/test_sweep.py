import asyncio
import time

from regrain_watchdog.front.sweep import Sweeper


class Caller:
    """A connection whose other end goes away when told to."""

    def __init__(self):
        self.left = asyncio.Event()
        self.watched = asyncio.Event()

    async def client_disconnect(self):
        self.watched.set()
        await self.left.wait()


def _run(scenario):
    async def bounded():
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(bounded())


async def _request(sweeper, caller, work):
    task = asyncio.current_task()
    sweeper.enter(task, caller, time.monotonic())
    try:
        await work
    finally:
        caller.gone = sweeper.leave(task)


def test_a_request_whose_caller_leaves_is_cancelled():
    async def scenario():
        caller, sweeper = Caller(), Sweeper(0.001)
        request = asyncio.create_task(_request(sweeper, caller, asyncio.Event().wait()))
        await caller.watched.wait()
        caller.left.set()
        await asyncio.wait({request})

        assert request.cancelled()
        assert caller.gone is True

    _run(scenario)


def test_a_request_that_ends_is_no_longer_watched():
    async def scenario():
        caller, sweeper = Caller(), Sweeper(0.001)
        await _request(sweeper, caller, caller.watched.wait())
        caller.left.set()
        await asyncio.sleep(0)

        assert caller.gone is False
        assert asyncio.all_tasks() == {asyncio.current_task()}

    _run(scenario)


def test_a_request_that_is_over_soon_is_never_watched():
    async def scenario():
        caller, sweeper = Caller(), Sweeper(60.0)
        await _request(sweeper, caller, asyncio.sleep(0))
        sweeper.stop()

        assert not caller.watched.is_set()
        assert caller.gone is False

    _run(scenario)


def test_requests_that_come_later_are_swept_too():
    async def scenario():
        sweeper, callers = Sweeper(0.001), [Caller(), Caller()]
        for caller in callers:
            await _request(sweeper, caller, caller.watched.wait())

    _run(scenario)


def test_stopping_cuts_off_who_waits_and_ends_the_watchers():
    async def scenario():
        caller, sweeper = Caller(), Sweeper(0.001)
        watched = asyncio.create_task(_request(sweeper, caller, asyncio.Event().wait()))
        await caller.watched.wait()
        young = asyncio.create_task(_request(sweeper, Caller(), asyncio.Event().wait()))
        await asyncio.sleep(0)

        sweeper.stop()
        await asyncio.wait({watched, young})

        assert (watched.cancelled(), young.cancelled()) == (True, True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    _run(scenario)
