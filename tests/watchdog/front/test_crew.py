"""Replicas that serve one plan after another, and what they keep loaded."""

import asyncio
import os
import signal

import pytest

from regrain.errors import RequestError, SpecError
from regrain_watchdog.front.keeping import keep
from regrain_watchdog.policy import resident

pytestmark = pytest.mark.process
TIMEOUT = 60.0
LIMIT = 110.0
"""Seconds that a whole scenario has, just less than pytest gives a test."""
APP = """
import os
import pathlib
import time

from regrain import App

app = App("pair", sample={"text": "sample"})
HERE = pathlib.Path(__file__).parent


@app.stage()
class first:
    def __init__(self):
        self.ballast = bytearray(b"x") * (64 << 20)

    def __call__(self, text: str) -> str:
        gate = HERE / text
        if text == "gate":
            (HERE / "waits").touch()
            while not gate.exists():
                time.sleep(0.002)
        return f"{text} {os.getpid()}"


@app.stage()
class second:
    def __init__(self):
        if (HERE / "broken").exists():
            raise ValueError("no second")
        self.warm = []

    def __call__(self, told: str) -> str:
        self.warm.append(told)
        return f"{told} {os.getpid()} {len(self.warm)}"


@app.flow
def run(text: str) -> str:
    return second(first(text))
"""


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), LIMIT))


def test_a_fuse_and_a_split_among_loaded_stages_start_and_end_no_process(standing):
    async def scenario():
        async with standing(APP, "fine", keeps=resident.ALL) as stand:
            pids = stand.pids
            for grain, replicas in [("coarse", "2"), ("fine", "1"), ("coarse", "2")]:
                asked = [stand.call() for _ in range(20)]
                await stand.change(grain, replicas)
                assert stand.pids == pids
                assert stand.live.current.route.plan.grain.count("|") == (grain == "fine")
                for one in await asyncio.gather(*asked):
                    assert {int(pid) for pid in one.value.split()[1:3]} <= set(pids)
            one, other, _ = await stand.ask()
            assert one == other

    run(scenario)


def test_a_split_is_served_by_the_fused_replica_until_each_group_has_its_own(standing):
    async def scenario():
        async with standing(APP) as stand:
            (pid,) = stand.pids

            await stand.change("fine")

            assert stand.live.unready() == ""
            assert pid in (await stand.ask())[:2]
            await stand.until(lambda: stand.ready(2))
            told = [await stand.ask() for _ in range(3)]
            assert len({*told[0][:2], *told[1][:2], *told[2][:2]}) == 2
            for function in stand.live.current.functions:
                (replica,) = function.replicas
                assert replica.home is function
                await stand.until(lambda replica=replica: replica.has_settled)
                assert replica.resident == set(function.group.stages)

    run(scenario)


def test_dropping_a_stage_gives_its_memory_back_and_is_measured(standing):
    async def scenario():
        async with standing(APP, "fine", keeps=resident.ALL) as stand:
            before = {replica.pid: replica.memory for replica in stand.crew.replicas}

            freed = await keep(stand.crew, resident.PLAN, TIMEOUT)

            assert freed > 60 << 20  # one of two replicas had the 64 MiB of the first stage for nothing
            gave = [replica for replica in stand.crew.replicas if replica.home.name == "second"]
            assert before[gave[0].pid] - gave[0].memory > 60 << 20
            assert (await stand.ask())[2] > 1

    run(scenario)


def test_replicas_take_in_further_stages_one_after_the_other_and_a_fuse_is_free_then(standing):
    async def scenario():
        async with standing(APP, "fine") as stand:
            pids = stand.pids

            asked = [stand.call() for _ in range(30)]
            await keep(stand.crew, "first,second", TIMEOUT)
            await asyncio.gather(*asked)
            assert all(replica.resident == {"first", "second"} for replica in stand.crew.replicas)
            await stand.change("coarse", "2")

            assert stand.pids == pids
            for _ in range(4):
                one, other, ran = await stand.ask()
                assert one == other
                assert ran > 1, "each stage was warmed up where it was loaded"

    run(scenario)


def test_a_stage_that_cannot_be_taken_in_leaves_everything_as_it_was(standing, tmp_path):
    async def scenario():
        async with standing(APP, "fine") as stand:
            pids = stand.pids
            (tmp_path / "broken").touch()

            with pytest.raises(RequestError, match="could not load what it is to keep"):
                await keep(stand.crew, resident.ALL, TIMEOUT)
            with pytest.raises(SpecError, match="resident was 'third'"):
                await keep(stand.crew, "third", TIMEOUT)

            assert stand.crew.keeps == resident.PLAN
            assert stand.pids == pids
            await stand.until(lambda: all(replica.has_settled for replica in stand.crew.replicas))
            assert {tuple(replica.resident) for replica in stand.crew.replicas} == {("first",), ("second",)}
            await stand.ask()

    run(scenario)


def test_scaling_one_group_leaves_the_processes_of_the_others_alone(standing):
    async def scenario():
        async with standing(APP, "fine") as stand:
            pids = stand.pids

            await stand.change("fine", "second=3")

            assert set(pids) < set(stand.pids)
            assert stand.ready(4)
            await stand.change("fine", "second=1")
            assert len(stand.pids) == 2
            await stand.ask()

    run(scenario)


def test_a_call_of_the_old_plan_ends_there_on_replicas_that_serve_the_new_one_too(standing, tmp_path):
    async def scenario():
        async with standing(APP, "fine", keeps=resident.ALL) as stand:
            early = stand.call("gate")
            await stand.until((tmp_path / "waits").exists)

            change = await stand.change("coarse", "2", drained=False)

            assert change.state == "draining"
            one, other, _ = await stand.ask()
            assert one == other
            with pytest.raises(RequestError, match="another change is under way"):
                await stand.change("fine")
            (tmp_path / "gate").touch()
            assert (await early).value.startswith("gate ")
            await asyncio.wait_for(stand.live.drained(), TIMEOUT)
            assert stand.live.status()["transitions"][0]["state"] == "done"

    run(scenario)


def test_an_old_plan_whose_only_replica_dies_while_it_ends_is_served_all_the_same(standing, tmp_path):
    """What takes the dead one's place is stopped with the old plan."""

    async def scenario():
        async with standing(APP, "first | second") as stand:
            early = [stand.call("gate"), *(stand.call() for _ in range(3))]
            await stand.until((tmp_path / "waits").exists)
            old = {function.name: function.replicas[0].pid for function in stand.live.current.functions}

            await stand.change("coarse", drained=False)
            for pid in old.values():
                os.kill(pid, signal.SIGKILL)
            (tmp_path / "gate").touch()

            for reply in await asyncio.wait_for(asyncio.gather(*early), TIMEOUT):
                assert len(reply.value.split()) == 4
            await asyncio.wait_for(stand.live.drained(), TIMEOUT)
            await stand.until(lambda: stand.ready(1))
            assert not set(old.values()) & set(stand.pids)

    run(scenario)


def test_a_hundred_free_changes_under_load_and_kills_lose_nothing(standing):
    async def scenario():
        async with standing(APP, "fine", "2", keeps=resident.ALL) as stand:
            told = []
            ended = asyncio.Event()

            async def ask():
                while not ended.is_set():
                    told.append(await stand.ask())

            askers = [asyncio.ensure_future(ask()) for _ in range(6)]
            for place in range(100):
                grain, replicas = [("coarse", "4"), ("fine", "2")][place % 2]
                await stand.change(grain, replicas)
                if place % 20 == 10:
                    os.kill(stand.pids[0], signal.SIGKILL)
                    await stand.until(lambda: stand.ready(4))
            ended.set()
            await asyncio.wait_for(asyncio.gather(*askers), TIMEOUT)
            assert len(told) > 100
            assert len(stand.live.changes) == 20
            assert {change.state for change in stand.live.changes} == {"done"}

    run(scenario)


def test_a_replica_that_comes_after_a_free_change_is_warmed_up(standing):
    """The new plan's steps have not seen the sample when the route swaps; it passes behind the calls."""

    async def scenario():
        async with standing(APP, "fine", keeps=resident.ALL) as stand:
            await stand.change("coarse", "2")
            victim, _ = stand.pids
            os.kill(victim, signal.SIGKILL)
            await stand.until(lambda: victim not in stand.pids and stand.ready(2))

            counts = {}
            for _ in range(20):
                pid, _, ran = await stand.ask()
                counts.setdefault(pid, ran)
            assert all(ran > 1 for ran in counts.values())

    run(scenario)
