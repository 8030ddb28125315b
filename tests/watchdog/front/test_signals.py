"""Signals that tell a server to end are counted; a parent's death counts once."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from regrain_watchdog.front.signals import Signals


async def signalled(times: int) -> int:
    """How many signals are counted of so many."""
    signals, came = Signals(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, came.set)
    signals.listen()
    for _ in range(times):
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0)  # they are told one by one
        came.clear()
        signal.raise_signal(signal.SIGUSR1)  # comes behind it
        await came.wait()
    return signals.count


def test_each_signal_counts() -> None:
    assert asyncio.run(signalled(2)) == 2


@pytest.mark.parametrize("times", [1, 3])
def test_the_death_of_a_parent_counts_once_though_each_of_its_threads_tells_it(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = iter([2])
    monkeypatch.setattr(os, "getppid", lambda: next(parents, 1))

    assert asyncio.run(signalled(times)) == 1
