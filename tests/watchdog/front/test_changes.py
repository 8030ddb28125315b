import asyncio
import contextlib
import itertools
import logging
import os
import signal
from http import HTTPStatus

import pytest
from msgspec import structs

from regrain.errors import GrainError, LoadError, RequestError, SpecError
from regrain.grain import make_plan
from regrain.plan import GpuShare, Group, Plan
from regrain_watchdog.front.changes import Changes, Release
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.live import Live
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.service import App
from regrain_watchdog.front.zygote import Zygote

pytestmark = pytest.mark.process
TIMEOUT = 60.0
APP = """
from regrain import App

app = App("pair")


@app.stage()
def first(x: int) -> int:
    return x + 1


@app.stage()
def second(x: int) -> int:
    return x * 2


@app.flow
def run(x: int) -> int:
    return second(first(x))
"""
THIRD = APP.replace(
    "@app.flow", "@app.stage()\ndef third(x: int) -> int:\n    return x\n\n\n@app.flow"
).replace("second(first(x))", "third(second(first(x)))")

CARDS = """
from regrain import GPU, App

app = App("pair")


@app.batched(max_size=8, max_wait=0.001, gpu=GPU(memory="1Gi"))
def look(words: list[str]) -> list[str]:
    return words


@app.stage(gpu=GPU(memory="1Gi"))
def tell(word: str) -> str:
    return word


@app.flow
def run(word: str) -> str:
    return tell(look(word))
"""
ADAPTED = Plan(
    (
        Group(
            stages=("look",),
            replicas=3,
            max_size=2,
            max_wait=0.002,
            gpu=GpuShare(fraction=0.15, memory=1 << 30),
        ),
        Group(stages=("tell",), gpu=GpuShare(fraction=0.25, memory=1 << 30)),
    )
)


class Stand:
    def __init__(self, path, config):
        self.path, self.config = path, config
        self.zygotes = []
        self._numbers = itertools.count(1)

    def start_zygote(self):
        zygote = Zygote(str(self.path), died=lambda _: None, exited=lambda _, __: None, numbers=self._numbers)
        self.zygotes.append(zygote)
        return zygote

    async def start(self, grain):
        zygote = self.start_zygote()
        manifest = await zygote.hello(TIMEOUT)
        measure = Measure()
        plan = make_plan(manifest, grain, self.config.replicas)
        crew = Crew(manifest, zygote, memory=1 << 26)
        app = App(plan, crew, max_queue=9, measure=measure, failed=lambda _: None)
        self.live = Live(app, patience=TIMEOUT, sample=lambda _: None)
        await app.start(None)
        self.changes = Changes(self.live, Release(zygote, manifest), self.config, measure, self.start_zygote)

    @property
    def plan(self):
        return {group.name: group.replicas for group in self.live.current.route.plan.groups}

    async def settle(self):
        while self.live.status()["transitions"][0]["state"] == "draining":
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def standing(folder, grain="fine", code=APP, **settings):
    path = folder / "pair_app.py"
    path.write_text(code)
    stand = Stand(path, Config(**settings))
    try:
        await stand.start(grain)
        yield stand
    finally:
        await asyncio.wait_for(stand.live.stop(), TIMEOUT)
        await stand.changes.stop()


def test_a_grain_is_given_the_replicas_asked_for_or_those_of_the_settings(tmp_path):
    async def scenario():
        async with standing(tmp_path, replicas="2") as stand:
            await stand.changes.regrain("coarse")
            by_settings = stand.plan
            await stand.settle()
            await stand.changes.regrain("fine", "second=1,first=3")

            assert (by_settings, stand.plan) == ({"first+second": 2}, {"first": 3, "second": 1})

    asyncio.run(scenario())


@pytest.mark.parametrize("group", ["first+second", "second"])
def test_a_group_is_scaled_by_its_name_or_that_of_a_stage_in_it(tmp_path, group):
    async def scenario():
        async with standing(tmp_path, "coarse") as stand:
            await stand.changes.scale(group, 2)

            assert stand.plan == {"first+second": 2}

    asyncio.run(scenario())


async def adapted(stand):
    """Put a plan in force whose batches and shares are not those of the settings."""
    await stand.changes.adopt(ADAPTED, {})
    await stand.settle()


def test_scaling_a_group_leaves_the_batches_and_shares_of_all_as_they_are(tmp_path):
    async def scenario():
        async with standing(tmp_path, code=CARDS) as stand:
            await adapted(stand)

            await stand.changes.scale("tell", 2)

            look, tell = ADAPTED.groups
            assert stand.live.current.route.plan == Plan((look, structs.replace(tell, replicas=2)))

    asyncio.run(scenario())


def test_a_version_takes_batches_and_shares_over_but_of_groups_whose_stages_declare_something_else(tmp_path):
    async def scenario():
        async with standing(tmp_path, code=CARDS) as stand:
            await adapted(stand)
            stand.path.write_text(CARDS.replace("return words", "return list(words)"))

            await stand.changes.update()
            await stand.settle()
            same = stand.live.current.route.plan
            stand.path.write_text(CARDS.replace("max_size=8", "max_size=4"))
            await stand.changes.update()
            other = stand.live.current.route.plan

            assert same == ADAPTED
            assert [(one.replicas, one.max_size, one.gpu.fraction) for one in other.groups] == [
                (3, 4, 1.0),
                (1, 1, 0.25),
            ]

    asyncio.run(scenario())


def test_what_cannot_be_scaled_is_refused(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            for group, replicas, said in [
                ("first", 0, "1 to 256 replicas, 0 were"),
                ("first", 257, "1 to 256 replicas, 257 were"),
                ("third", 1, "no group or stage 'third'; there are first, second"),
            ]:
                with pytest.raises(SpecError, match=said):
                    await stand.changes.scale(group, replicas)
            with pytest.raises(GrainError):
                await stand.changes.regrain("first")

    asyncio.run(scenario())


def test_a_version_takes_the_grain_and_the_replicas_over(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            await stand.changes.scale("second", 2)
            await stand.settle()
            stand.path.write_text(APP.replace("x + 1", "x + 2"))

            change = await stand.changes.update()

            assert change.old != change.new
            assert stand.plan == {"first": 1, "second": 2}
            assert stand.live.manifest is stand.changes.release.manifest

    asyncio.run(scenario())


def test_a_version_with_other_stages_takes_its_own_grain(tmp_path, caplog):
    async def scenario():
        async with standing(tmp_path) as stand:
            stand.path.write_text(THIRD)

            with caplog.at_level(logging.WARNING):
                await stand.changes.update()

            assert stand.plan == {"first+second+third": 1}
            assert "grain first | second is none of the new version's" in caplog.text

    asyncio.run(scenario())


def test_one_earlier_version_is_kept_and_those_before_it_end(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            with pytest.raises(SpecError, match="no earlier version"):
                await stand.changes.roll_back()
            first = stand.changes.release
            await stand.changes.update()
            await stand.settle()
            second = stand.changes.release

            await stand.changes.roll_back()
            await stand.settle()
            assert (stand.changes.release, stand.changes.previous) == (first, second)
            await stand.changes.roll_back()
            await stand.settle()
            await stand.changes.update()

            assert stand.changes.previous is second
            await stand.changes.stop()
            assert all(zygote._process.poll() is not None for zygote in stand.zygotes)

    asyncio.run(scenario())


def test_an_earlier_version_whose_process_has_died_is_forgotten(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            old = stand.changes.release.zygote
            await stand.changes.update()
            await stand.settle()

            assert not stand.changes.lost(old)
            assert stand.changes.lost(stand.changes.release.zygote)
            with pytest.raises(SpecError, match="no earlier version"):
                await stand.changes.roll_back()
            await old.stop()

    asyncio.run(scenario())


async def bereft(stand):
    """Have the process die that replicas of the version in force are started from; return its zygote."""
    zygote = stand.changes.release.zygote
    os.kill(zygote._process.pid, signal.SIGKILL)
    while not zygote.died_of:
        await asyncio.sleep(0.002)
    return zygote


def test_a_version_whose_process_has_died_is_not_kept_behind_an_update(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            old = await bereft(stand)

            await stand.changes.update()
            await stand.settle()

            with pytest.raises(SpecError, match="no earlier version"):
                await stand.changes.roll_back()
            await old.stop()

    asyncio.run(scenario())


def test_a_version_whose_process_has_died_is_not_kept_behind_a_roll_back(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            first = stand.changes.release
            await stand.changes.update()
            await stand.settle()
            second = await bereft(stand)

            await stand.changes.roll_back()
            await stand.settle()

            assert stand.changes.release is first
            with pytest.raises(SpecError, match="no earlier version"):
                await stand.changes.roll_back()
            await second.stop()

    asyncio.run(scenario())


def test_code_that_does_not_load_changes_nothing_and_leaves_no_process(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            before = stand.changes.release
            stand.path.write_text("def (")

            with pytest.raises(LoadError, match="SyntaxError"):
                await stand.changes.update()

            assert stand.changes.release is before
            assert stand.zygotes[1]._process.poll() is not None

    asyncio.run(scenario())


def test_where_both_plans_do_not_fit_none_is_started(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            stand.path.write_text(APP.replace("@app.stage()", '@app.stage(memory="100Ti")', 1))

            with pytest.raises(RequestError, match="both plans at once do not fit") as refused:
                await stand.changes.update()

            assert refused.value.status == HTTPStatus.CONFLICT
            assert stand.live.status()["transitions"] == []

    asyncio.run(scenario())


def test_a_version_that_cannot_be_served_after_all_gives_the_old_plan_its_replicas_back(tmp_path):
    """Where memory is tight the old plan gives up replicas before the new version is tried."""
    tight = APP.replace("@app.stage()", '@app.stage(memory="100Ti")', 1)

    async def scenario():
        async with standing(tmp_path, "coarse", tight, replicas="2") as stand:
            await stand.changes.keep("second")
            stand.path.write_text(tight.replace("second", "last"))

            with pytest.raises(SpecError, match="resident was 'second'"):
                await stand.changes.update()

            assert stand.plan == {"first+second": 2}

    asyncio.run(scenario())
