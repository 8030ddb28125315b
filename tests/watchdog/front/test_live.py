import asyncio
import contextlib
import itertools
import time
from http import HTTPStatus

import pytest

from regrain.errors import RequestError, SpecError
from regrain.grain import make_plan
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.live import CONTROLLER, OPERATOR, Live
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.service import App
from regrain_watchdog.front.zygote import Zygote

pytestmark = pytest.mark.process
TIMEOUT = 60.0
APP = """
import pathlib
import time

import regrain
from regrain import App

app = App("slow")


@app.stage()
def first(path: str) -> str:
    pathlib.Path(path + ".begun").touch()
    while not pathlib.Path(path).exists() and not regrain.context().cancelled:
        time.sleep(0.002)
    return path


@app.stage()
def second(path: str) -> str:
    return path + "!"


@app.flow
def run(path: str) -> str:
    return second(first(path))
"""


class Stand:
    """An app that lives, and the means to make further plans of it."""

    def __init__(self, zygote, manifest):
        self.zygote, self.manifest = zygote, manifest
        self.sample = None
        self.rest = TIMEOUT
        self.swapped = []
        self.live = None

    def app(self, grain):
        return App(
            make_plan(self.manifest, grain),
            Crew(self.manifest, self.zygote, memory=1 << 26),
            max_queue=100,
            measure=Measure(),
            failed=lambda _: None,
        )

    async def change(self, grain, by=OPERATOR):
        async with self.live.turn(by):
            return await asyncio.wait_for(self.live.change(self.app(grain)), TIMEOUT)

    def swap(self, app):
        """From here on an old plan has so much patience; to start the new one takes what it takes."""
        self.swapped.append(app)
        self.live._patience = self.rest

    def call(self, path):
        return asyncio.ensure_future(
            self.live.submit(Call(id="c", values={"path": str(path)}, headers=b"", arrived=time.monotonic()))
        )

    @property
    def states(self):
        return [change["state"] for change in self.live.status()["transitions"]]


def sample_of(stand):
    if isinstance(stand.sample, Exception):
        raise stand.sample
    return stand.sample


@contextlib.asynccontextmanager
async def standing(folder, patience=TIMEOUT):
    (folder / "slow_app.py").write_text(APP)
    zygote = Zygote(
        str(folder / "slow_app.py"),
        died=lambda _: None,
        exited=lambda _, __: None,
        numbers=itertools.count(1),
    )
    stand = None
    try:
        stand = Stand(zygote, await zygote.hello(TIMEOUT))
        stand.live = Live(
            stand.app("coarse"),
            patience=patience,
            sample=lambda _: sample_of(stand),
            swapped=stand.swap,
        )
        await asyncio.wait_for(stand.live.current.start(None), TIMEOUT)
        yield stand
    finally:
        if stand is not None and stand.live is not None:
            await asyncio.wait_for(stand.live.stop(), TIMEOUT)
        await zygote.stop()


async def until(claim):
    end = time.monotonic() + TIMEOUT
    while not claim():
        assert time.monotonic() < end, "it did not come true"
        await asyncio.sleep(0.002)


def test_a_call_ends_under_the_plan_that_it_began_with_which_is_stopped_then(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            old = stand.live.current
            early = stand.call(tmp_path / "go")
            await until((tmp_path / "go.begun").exists)

            change = await stand.change("fine")

            assert (change.state, change.old.split()[0], change.detail) == ("draining", "first+second", "")
            assert change.seconds > 0
            assert stand.swapped == [stand.live.current]
            assert old.in_flight == 1
            assert stand.live.status()["grain"] == "first | second"
            assert [group["name"] for group in stand.live.status()["beside"]] == ["first+second"]
            (tmp_path / "go").touch()
            late = stand.call(tmp_path / "go")
            assert (await early).value == (await late).value == f"{tmp_path / 'go'}!"
            await until(lambda: stand.states == ["done"])
            assert all(not function.replicas for function in old.functions)
            assert stand.live.status()["beside"] == []

    asyncio.run(scenario())


def test_one_change_at_a_time_until_the_old_plan_has_ended(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            early = stand.call(tmp_path / "go")
            await until((tmp_path / "go.begun").exists)
            first = asyncio.ensure_future(stand.change("fine"))
            await asyncio.sleep(0)

            with pytest.raises(RequestError, match="another change is under way") as at_once:
                await stand.change("fine")
            await first
            with pytest.raises(RequestError, match="another change is under way") as draining:
                await stand.change("coarse")

            assert at_once.value.status == draining.value.status == HTTPStatus.CONFLICT
            (tmp_path / "go").touch()
            await early
            await until(lambda: stand.states == ["done"])
            await stand.change("coarse")

    asyncio.run(scenario())


def test_an_operator_waits_for_what_a_controller_changes_and_nobody_else_does(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            early = stand.call(tmp_path / "go")
            await until((tmp_path / "go.begun").exists)
            by_controller = asyncio.ensure_future(stand.change("fine", by=CONTROLLER))
            await asyncio.sleep(0)
            by_operator = asyncio.ensure_future(stand.change("coarse"))
            await by_controller

            with pytest.raises(RequestError, match="another change is under way"):
                await stand.change("coarse", by=CONTROLLER)
            assert not by_operator.done()
            (tmp_path / "go").touch()
            await early

            assert (await by_operator).new.startswith("first+second")
            assert [change.by for change in stand.live.changes] == [CONTROLLER, OPERATOR]

    asyncio.run(scenario())


def test_an_old_plan_whose_calls_do_not_end_is_stopped_after_the_patience(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            stand.rest = 0.5
            endless = stand.call(tmp_path / "never")
            await until((tmp_path / "never.begun").exists)

            await stand.change("fine")

            with pytest.raises(RequestError):
                await endless
            await until(lambda: stand.states == ["done"])

    asyncio.run(scenario())


def test_a_plan_that_takes_too_long_is_given_up(tmp_path):
    async def scenario():
        async with standing(tmp_path, patience=1.0) as stand:
            old = stand.live.current
            stand.sample = {"path": str(tmp_path / "never")}

            with pytest.raises(RequestError, match="the old plan stays: not ready after 1 s") as refused:
                await stand.change("fine")

            assert refused.value.status == HTTPStatus.CONFLICT
            assert stand.live.current is old
            assert stand.states == ["failed"]
            assert not stand.swapped

    asyncio.run(scenario())


def test_a_sample_that_is_no_request_ends_the_change_before_it_began(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            stand.sample = SpecError("no request")

            with pytest.raises(SpecError, match="no request"):
                await stand.change("fine")

            assert stand.states == []
            stand.sample = None
            await stand.change("fine")

    asyncio.run(scenario())


def test_an_app_that_stops_gives_up_the_change_and_takes_no_other(tmp_path):
    async def scenario():
        async with standing(tmp_path) as stand:
            old = stand.live.current
            stand.sample = {"path": str(tmp_path / "never")}
            changing = asyncio.ensure_future(stand.change("fine"))
            await until((tmp_path / "never.begun").exists)
            serving = stand.call(tmp_path / "go")

            stand.live.drain()
            with pytest.raises(asyncio.CancelledError):
                await changing

            assert (stand.live.current, stand.live.unready()) == (old, "the app is shutting down")
            assert stand.states == ["failed"]
            (tmp_path / "go").touch()
            await serving
            with pytest.raises(RequestError, match="shutting down"):
                await stand.change("fine")

    asyncio.run(scenario())
