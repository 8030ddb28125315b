"""A value that a stage hands on as it came is written once, by whoever made it."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from regrain.grain import make_plan
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.service import App
from regrain_watchdog.front.zygote import Zygote

pytestmark = pytest.mark.process
PASSES = Path(__file__).parents[2] / "apps" / "passes.py"
TIMEOUT = 60.0
SIZE = 10_000


def owners(app: App) -> set[int]:
    """Who has written into shared memory."""
    found = set()
    for segment in range(1, 50):
        with contextlib.suppress(KeyError):
            found.add(app.crew.pool.segment(segment).owner)
    return found


def play(replicas: str, sample: dict[str, object] | None, proof: Callable[[App], Awaitable[None]]) -> None:
    """Have something proved of the app, each stage in replicas of its own."""

    async def scenario() -> None:
        zygote = Zygote(str(PASSES), died=lambda _: None, exited=lambda _, __: None)
        manifest = await zygote.hello(TIMEOUT)
        plan = make_plan(manifest, "fine", replicas)
        crew = Crew(manifest, zygote, memory=1 << 28)
        app = App(plan, crew, max_queue=9, measure=Measure(), failed=lambda _: None)
        try:
            await asyncio.wait_for(app.start(sample), TIMEOUT)
            await proof(app)
        finally:
            await asyncio.wait_for(app.stop(), TIMEOUT)
            await zygote.stop()

    asyncio.run(scenario())


def test_what_is_handed_on_as_it_came_is_not_written_again():
    async def proof(app: App) -> None:
        for _ in range(3):
            call = Call(id="test", values={"size": SIZE}, headers=b"", arrived=time.monotonic())
            reply = await asyncio.wait_for(app.submit(call), TIMEOUT)

            assert reply.value == float(sum(range(SIZE // 2, SIZE)))
            assert app.crew.pool.in_use == 0
        maker, keeper, _ = (function.replicas[0].number for function in app.functions)
        assert maker in owners(app)
        assert keeper not in owners(app)

    play("", None, proof)


def test_a_replica_may_hand_on_what_the_sample_that_warms_it_up_brings():
    """The first replica gets warm by the sample's own request, and every later one by what was kept of it."""

    async def proof(app: App) -> None:
        _, keep, _ = app.functions
        assert len(keep.replicas) == 2
        assert keep.deaths == 0

    play("keep=2", {"size": SIZE}, proof)
