"""Replicas that stand in for a group which has none of its own: whom they may stand in for, and how they are let go."""

import asyncio
import os
import signal

import pytest

from regrain_watchdog.front import supervise

pytestmark = pytest.mark.process
TIMEOUT = 60.0
LIMIT = 110.0
"""Seconds that a whole scenario has, just less than pytest gives a test."""
ALONE = """
import os
import pathlib
import time

from regrain import App

app = App("alone", sample={"text": "sample"})
HERE = pathlib.Path(__file__).parent


@app.stage()
class alone:
    def __init__(self):
        while (HERE / "hangs").exists():
            time.sleep(0.002)

    def __call__(self, text: str) -> str:
        if text == "gate":
            (HERE / "waits").touch()
            while not (HERE / "open").exists():
                time.sleep(0.002)
        return f"{text} {os.getpid()}"


@app.flow
def run(text: str) -> str:
    return alone(text)
"""
BEFORE = """
@app.stage()
def before(text: str) -> str:
    return text


@app.flow
"""
PAIR = ALONE.replace("@app.flow\n", BEFORE).replace("alone(text)", "alone(before(text))")
TRIO = """
import pathlib
import time

from regrain import App

app = App("trio", sample={"text": "sample"})
HERE = pathlib.Path(__file__).parent


@app.stage()
def first(text: str) -> str:
    return text


@app.stage()
class second:
    def __init__(self):
        while (HERE / "hangs").exists():
            time.sleep(0.002)

    def __call__(self, text: str) -> str:
        return text


@app.stage()
def third(text: str) -> str:
    return text


@app.flow
def run(text: str) -> str:
    return third(second(first(text)))
"""


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), LIMIT))


async def stood_in(stand, folder):
    """Kill the one replica of a plan while the one before it ends; return what stands in for it, with a call there."""
    (folder / "hangs").touch()
    stand.live.current.linger(on=True)
    await stand.change("coarse", "1", drained=False)
    (function,) = stand.live.current.functions
    (own,) = function.replicas
    (guest,) = set(stand.crew.replicas) - {own}
    os.kill(own.pid, signal.SIGKILL)
    await stand.until(lambda: guest in function.replicas)
    call = stand.call("gate")
    await stand.until((folder / "waits").exists)
    return guest, call


async def relieved(stand, folder, guest):
    """Have the plan's own replica take the place of its guest."""
    (function,) = stand.live.current.functions
    (folder / "hangs").unlink()
    await stand.until(lambda: guest not in function.replicas)


async def forgotten(stand):
    """Let the plan before this one end."""
    stand.live.apps[0].linger(on=False)
    await stand.drained()


async def answered(call, folder):
    """Let a call go on; return which process answers it."""
    (folder / "open").touch()
    return int((await asyncio.wait_for(call, TIMEOUT)).value.split()[1])


def test_a_guest_that_is_let_go_ends_once_it_has_finished_what_it_holds(standing, tmp_path, monkeypatch):
    monkeypatch.setattr(supervise, "STOP_TIMEOUT", 0.0)

    async def scenario():
        async with standing(ALONE, replicas="2") as stand:
            guest, call = await stood_in(stand, tmp_path)
            await forgotten(stand)

            await relieved(stand, tmp_path, guest)

            assert await answered(call, tmp_path) == guest.pid
            await stand.until(lambda: guest not in stand.crew.replicas)
            assert await stand.ask() != (guest.pid,)

    run(scenario)


def test_a_guest_whose_own_plan_ends_last_finishes_what_it_holds(standing, tmp_path, monkeypatch):
    monkeypatch.setattr(supervise, "STOP_TIMEOUT", 0.0)

    async def scenario():
        async with standing(ALONE, replicas="2") as stand:
            guest, call = await stood_in(stand, tmp_path)
            await relieved(stand, tmp_path, guest)

            await forgotten(stand)

            assert await answered(call, tmp_path) == guest.pid
            await stand.until(lambda: guest not in stand.crew.replicas)

    run(scenario)


def test_what_a_guest_held_that_was_let_go_and_died_is_run_again(standing, tmp_path):
    async def scenario():
        async with standing(ALONE, replicas="2") as stand:
            guest, call = await stood_in(stand, tmp_path)
            await forgotten(stand)
            await relieved(stand, tmp_path, guest)

            os.kill(guest.pid, signal.SIGKILL)

            assert await answered(call, tmp_path) != guest.pid

    run(scenario)


def test_a_fluid_group_takes_no_guest_that_lacks_one_of_its_stages(standing, tmp_path):
    async def scenario():
        async with standing(TRIO, "~first+second | third", keeps="first") as stand:
            first, _, third = stand.live.current.functions
            (own,), (other,) = first.replicas, third.replicas
            (tmp_path / "hangs").touch()

            os.kill(own.pid, signal.SIGKILL)
            await stand.until(lambda: own not in stand.crew.replicas and len(first.own) == 1)
            call = stand.call("a")

            assert other.functions == [third]
            (tmp_path / "hangs").unlink()
            assert (await asyncio.wait_for(call, TIMEOUT)).value == "a"
            assert other in stand.crew.replicas

    run(scenario)


def test_what_a_replica_of_a_fluid_group_held_is_run_by_an_idle_one_before_another_has_started(
    standing, tmp_path
):
    async def scenario():
        async with standing(PAIR, "~before+alone", replicas="2") as stand:
            (tmp_path / "hangs").touch()
            call = stand.call("gate")
            await stand.until((tmp_path / "waits").exists)
            (busy,) = [one for one in stand.crew.replicas if one.holding]

            os.kill(busy.pid, signal.SIGKILL)

            assert await answered(call, tmp_path) != busy.pid
            (tmp_path / "hangs").unlink()

    run(scenario)
