"""Flows that stream or map, over replicas whose plan changes and which die: what comes is right and whole."""

import asyncio
import contextlib
import os
import random
import signal

import pytest

from regrain.errors import RequestError
from regrain_watchdog.front.keeping import keep
from regrain_watchdog.policy import resident

pytestmark = pytest.mark.process
TIMEOUT = 60.0
LIMIT = 110.0
"""Seconds that a whole scenario has, just less than pytest gives a test."""
SHORT = 1.0
"""The patience of a test in which something takes all of it."""
STREAM = """
import pathlib
from collections.abc import Iterator

from regrain import App

app = App("pair", sample={"text": "5"})
HERE = pathlib.Path(__file__).parent


@app.stage()
def prompt(text: str) -> str:
    return text


@app.stage()
def write(told: str) -> Iterator[int]:
    number = 0
    try:
        while told == "endless" or number < int(told):
            yield number
            number += 1
    finally:
        (HERE / "closed").touch()


@app.flow
def run(text: str) -> Iterator[int]:
    return write(prompt(text))
"""
MAPS = """
import numpy as np

from regrain import App

app = App("pair", sample={"text": "2"})


@app.stage()
def cut(text: str) -> list[np.ndarray]:
    return [np.full(5000, number, dtype=np.float32) for number in range(int(text))]


@app.batched(max_size=4, max_wait=0.003)
def double(items: list[np.ndarray]) -> list[np.ndarray]:
    return [item * 2 for item in items]


@app.stage(idempotent=IDEMPOTENT)
def add(item: np.ndarray) -> float:
    return float(item.sum())


@app.stage()
def total(items: list[float]) -> str:
    return str(sum(items) / 5000)


@app.flow
def run(text: str) -> str:
    return total(add.map(double.map(cut(text))))
"""


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), LIMIT))


def test_a_replica_that_streams_serves_on_and_is_not_made_to_load(standing):
    async def scenario():
        async with standing(STREAM, "fine", sample="5") as stand:
            pids = stand.pids
            stream = stand.stream("endless")
            await stream.begin()

            with pytest.raises(RequestError, match="could not load what it is to keep"):
                await asyncio.wait_for(keep(stand.crew, "prompt", SHORT), TIMEOUT)  # the other has it

            assert stand.live.unready() == ""
            assert await asyncio.wait_for(anext(stream), TIMEOUT) is not None
            stream.close()
            await asyncio.wait_for(keep(stand.crew, resident.ALL, TIMEOUT), TIMEOUT)
            assert stand.pids == pids
            assert [replica.resident for replica in stand.crew.replicas] == [{"prompt", "write"}] * 2

    run(scenario)


def test_a_replica_loads_what_it_is_to_keep_as_soon_as_its_stream_ends(standing):
    async def scenario():
        async with standing(STREAM, "fine", sample="5") as stand:
            stream = stand.stream("endless")
            await stream.begin()
            keeping = asyncio.ensure_future(keep(stand.crew, "prompt", LIMIT))
            await asyncio.sleep(0)
            assert stand.crew.keeps == "prompt"

            stream.close()

            await asyncio.wait_for(keeping, TIMEOUT)
            assert [replica.resident for replica in stand.crew.replicas] == [{"prompt"}, {"prompt", "write"}]

    run(scenario)


def test_a_group_that_streams_has_a_replica_of_its_own_before_a_split_is_in_force(standing):
    async def scenario():
        async with standing(STREAM, sample="5") as stand:
            (pid,) = stand.pids

            await stand.change("fine", drained=False)

            assert stand.ready(2)
            prompt, write = stand.live.current.functions
            assert [replica.pid for replica in prompt.replicas] == [pid]
            assert [replica.home for replica in write.replicas] == [write]
            assert await stand.take("5") == [0, 1, 2, 3, 4]

    run(scenario)


def test_a_sample_that_streams_without_end_is_closed_after_an_item(standing, tmp_path):
    async def scenario():
        async with standing(STREAM, "fine", sample="endless") as stand:
            await stand.until((tmp_path / "closed").exists)
            assert await stand.take("3") == [0, 1, 2]
            await stand.change("coarse")
            assert await stand.take("3") == [0, 1, 2]

    run(scenario)


@contextlib.contextmanager
def tolerating(said):
    """Let calls fail that say so, and no others; "" is none."""
    try:
        yield
    except RequestError as error:
        if not said or said not in error.detail:
            raise


async def disturb(stand, callers, rng, plans, settings=()):
    """Change the plan again and again, kill replicas and have them keep others; each time some answers come."""
    slots = len(stand.crew.slots)
    async with callers:
        for _ in range(40):
            await stand.change(*rng.choice(plans))
            if rng.random() < 0.3:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(stand.pids), signal.SIGKILL)
            if settings and rng.random() < 0.3:
                with contextlib.suppress(RequestError):
                    async with stand.live.turn():
                        await asyncio.wait_for(keep(stand.crew, rng.choice(settings), TIMEOUT), TIMEOUT)
            await callers.more(rng.randrange(20))
    await stand.drained()
    await stand.until(lambda: not any(replica.holding for replica in stand.crew.replicas))
    await stand.until(lambda: len(stand.crew.slots) >= slots)


@pytest.mark.parametrize("keeps", [resident.ALL, resident.PLAN])
def test_streams_live_on_over_changes_and_only_a_death_ends_one_early(standing, keeps):
    async def scenario():
        async with standing(STREAM, "fine", keeps=keeps, sample="5") as stand:

            async def ask(rng):
                text, limit = rng.choice([("5", None), ("40", None), ("endless", 1), ("endless", 20)])
                with tolerating("died"):
                    assert await stand.take(text, limit) == list(range(limit or int(text)))

            plans = [("coarse", "1"), ("coarse", "2"), ("fine", "1"), ("fine", "2")]
            await disturb(stand, stand.callers(ask, 6), random.Random(1), plans)

    run(scenario)


@pytest.mark.parametrize(("idempotent", "keeps"), [(True, resident.ALL), (False, resident.PLAN)])
def test_maps_are_added_up_right_whatever_becomes_of_the_plan_and_the_replicas(standing, idempotent, keeps):
    async def scenario():
        async with standing(
            MAPS.replace("IDEMPOTENT", str(idempotent)), "fine", keeps=keeps, sample="2"
        ) as stand:

            async def ask(rng):
                count = rng.choice([0, 1, 3, 9])
                call = stand.call(str(count))
                if rng.random() < 0.2:
                    await asyncio.wait({call}, timeout=rng.random() * 0.02)
                    call.cancel()
                with (
                    contextlib.suppress(asyncio.CancelledError),
                    tolerating("" if idempotent else "may not run twice"),
                ):
                    assert float((await call).value) == count * (count - 1)

            plans = [
                ("coarse", "2"),
                ("fine", "1"),
                ("cut+double | add+total", "1"),
                ("cut | double+add | total", "1"),
            ]
            settings = [resident.ALL, resident.PLAN, "double,add"]
            await disturb(stand, stand.callers(ask, 6), random.Random(1), plans, settings)

    run(scenario)
