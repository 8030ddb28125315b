"""What a hop costs here: an app of two stages that do nothing, served as one group and as two; the difference."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from statistics import median

from regrain.grain import make_plan
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.changes import Release, make_crew
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.service import App
from regrain_watchdog.front.zygote import Zygote
from regrain_watchdog.policy.profile import Hop

PROBE = "regrain_runtime.probe"
START = 60.0
LITTLE, MUCH = 1, 4 << 20
"""Bytes that are handed over."""
CALLS = 60
SKIPPED = 10
"""Calls under each grain, and how many of the first do not count."""


async def measure() -> Hop:
    """Return what it takes to hand a unit to another group on this node; RegrainError where nothing can be served."""
    config = Config()
    zygote = Zygote(PROBE, died=lambda _: None, exited=lambda *_: None)
    try:
        release = Release(zygote, await zygote.hello(START))
        async with _served(release, config, "coarse") as one, _served(release, config, "fine") as two:
            seconds = await _longer(one, two, LITTLE)
            more = await _longer(one, two, MUCH)
    finally:
        await zygote.stop()
    return Hop(max(0.0, seconds), max(0.0, more - seconds) / (MUCH - LITTLE))


@contextlib.asynccontextmanager
async def _served(release: Release, config: Config, grain: str) -> AsyncIterator[App]:
    """Serve the probe under a grain for the length of a block."""
    crew = make_crew(release, config, config.resident)
    plan = make_plan(release.manifest, grain)
    app = App(plan, crew, max_queue=config.max_queue, measure=Measure(), failed=lambda _: None)
    try:
        await app.start({"nbytes": LITTLE})
        yield app
    finally:
        await app.stop()


async def _longer(one: App, two: App, nbytes: int) -> float:
    """Return how many seconds a call takes longer in two groups than in one: the median, called by turns."""
    longer = []
    for number in range(CALLS):
        first = await _call(one, nbytes)
        second = await _call(two, nbytes)
        if number >= SKIPPED:
            longer.append(second - first)
    return median(longer)


async def _call(app: App, nbytes: int) -> float:
    began = time.monotonic()
    await app.submit(Call(id="hop", values={"nbytes": nbytes}, headers=b"", arrived=began))
    return time.monotonic() - began
