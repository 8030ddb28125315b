import asyncio
import errno
import os
from types import SimpleNamespace

from regrain_watchdog.front.starting import Starting

TIMEOUT = 60.0
FIRST, SECOND = (SimpleNamespace(name=name) for name in ("first", "second"))


class Stand:
    """Starts what the test lets it."""

    def __init__(self, *, rooms: list[bool] | None = None, failures: int = 0) -> None:
        self.starting = Starting(may_start=self._may_start, start=self._start)
        self.started: list[str] = []
        self._rooms, self._failures = rooms or [], failures

    def _may_start(self) -> bool:
        return self._rooms.pop(0) if self._rooms else True

    def _start(self, function) -> None:
        if self._failures:
            self._failures -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self.started.append(function.name)

    async def until_started(self, count: int) -> None:
        async with asyncio.timeout(TIMEOUT):
            while len(self.started) < count:
                await asyncio.sleep(0.002)


def test_what_cannot_be_started_now_stays_first_and_is_tried_again(caplog):
    async def scenario():
        stand = Stand(failures=2)
        stand.starting.add(FIRST)
        assert (stand.started, stand.starting.count(FIRST)) == ([], 1)
        stand.starting.add(SECOND)

        await stand.until_started(2)

        assert stand.started == ["first", "second"]
        assert (stand.starting.count(FIRST), stand.starting.count(SECOND)) == (0, 0)

    asyncio.run(scenario())
    assert caplog.messages == ["a replica of first cannot be started now: [Errno 24] Too many open files"] * 2


def test_what_may_not_start_yet_is_looked_at_again():
    async def scenario():
        stand = Stand(rooms=[True, False])
        stand.starting.add(FIRST)
        stand.starting.add(FIRST)
        assert (stand.started, stand.starting.count(FIRST)) == (["first"], 1)

        await stand.until_started(2)

        assert stand.starting.count(FIRST) == 0

    asyncio.run(scenario())
