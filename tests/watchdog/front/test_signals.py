"""Signals that tell a server to end are counted; a parent's death counts once."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from regrain_watchdog.front import signals as module
from regrain_watchdog.front.signals import DYING, Signals


@pytest.fixture(autouse=True)
def _near(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, what is told here comes together."""
    monkeypatch.setattr(module, "TOGETHER", 60.0)


async def is_drained(times: int, seconds: float) -> bool:
    """Whether work of so many seconds comes to its end though so many signals come at once."""
    signals, came = Signals(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, came.set)
    signals.listen()
    for _ in range(times):
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0)  # they are told one by one
        came.clear()
        signal.raise_signal(signal.SIGUSR1)  # comes behind it
        await came.wait()
    assert signals.count == 1
    return await signals.until_second(asyncio.sleep(seconds))


def test_a_second_signal_ends_what_the_first_one_began() -> None:
    assert asyncio.run(is_drained(1, 0.0))
    assert not asyncio.run(is_drained(2, 60.0))


@pytest.mark.parametrize("times", [1, 3])
def test_the_death_of_a_parent_counts_once_though_each_of_its_threads_tells_it(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some tell it before it is dead."""
    parents = iter([2])
    monkeypatch.setattr(os, "getppid", lambda: next(parents, 1))

    assert asyncio.run(is_drained(times, 2 * DYING))
