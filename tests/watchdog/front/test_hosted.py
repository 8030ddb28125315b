"""Apps beside each other in one process, each over processes of its own."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from regrain.errors import LoadError, RequestError
from regrain_watchdog.front import hosted as hosting
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.hosted import Hosted
from regrain_watchdog.front.zygote import Birth

pytestmark = pytest.mark.process
PATIENCE = 60.0
APP = """
import os
from regrain import App
print("imported", {name!r}, flush=True)
app = App({name!r})

@app.stage()
def tell(word: str) -> list[str]:
    return [{name!r}, word, os.environ.get("WORD", ""), os.environ.get("LEAD", "")]

@app.flow
def flow(word: str) -> list[str]:
    return tell(word)
"""
DEADLY = """
import gc, pathlib, signal, sys

def die(phase, info):
    "Once, at the first collection behind the word that the module is imported."
    deadly = pathlib.Path(__file__).parent / "deadly"
    if sys._getframe(1).f_globals["__name__"] == "regrain_runtime.zygote" and deadly.exists():
        deadly.unlink()
        os.kill(os.getpid(), signal.SIGKILL)

gc.callbacks.append(die)
"""

SLOW = """
import pathlib, time

def hold():
    "The first to be imported from here on waits; those after it do not."
    here = pathlib.Path(__file__).parent
    if (here / "hold").exists():
        (here / "hold").rename(here / "held")
        while (here / "held").exists():
            time.sleep(0.002)

hold()
"""
MAPS = """
from regrain import App
app = App("maps")

@app.stage()
def twice(number: int) -> int:
    return 2 * number

@app.flow
def flow(numbers: list[int]) -> list[int]:
    return twice.map(numbers)
"""


def written(folder: Path, name: str, more: str = "") -> str:
    path = folder / f"{name}.py"
    path.write_text(APP.format(name=name) + more)
    return str(path)


async def told(hosted: Hosted, word: str) -> list[str]:
    reply = await hosted.live.submit(Call(id="1", values={"word": word}, headers=b"", arrived=0.0))
    return reply.value


async def started(hosted: Hosted) -> Hosted:
    await hosted.load(await hosted.hello())
    await hosted.start()
    return hosted


async def ended(hosted: Hosted) -> None:
    await hosted.drain()
    await hosted.live.stop()
    await hosted.close()


def lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_two_apps_serve_beside_each_other_each_as_it_was_born(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    environment = {name: os.environ[name] for name in ("PATH",)} | {"WORD": "own"}
    birth = Birth(
        interpreter=sys.executable, prefix=("env", "LEAD=before"), environment=environment, output=writing
    )

    async def scenario() -> tuple[list[str], list[str], list[str]]:
        async with asyncio.timeout(PATIENCE):
            first = await started(Hosted(Config(), written(tmp_path, "first"), birth=birth))
            second = await started(Hosted(Config(), written(tmp_path, "second")))
            answers = await told(first, "a"), await told(second, "b")
            await ended(first)
            after = await told(second, "c")
            await ended(second)
            return (*answers, after)

    answers = asyncio.run(scenario())
    os.close(writing)
    with os.fdopen(reading) as output:
        said = output.read()

    assert answers == (
        ["first", "a", "own", "before"],
        ["second", "b", "", ""],
        ["second", "c", "", ""],
    )
    assert said == "imported first\n"


def test_a_list_has_as_many_items_as_the_settings_allow_under_every_plan(tmp_path: Path) -> None:
    path = tmp_path / "maps.py"
    path.write_text(MAPS)

    async def doubled(hosted: Hosted, *numbers: int) -> list[int]:
        values = {"numbers": list(numbers)}
        return (await hosted.live.submit(Call(id="1", values=values, headers=b"", arrived=0.0))).value

    async def bounded(hosted: Hosted) -> None:
        assert await doubled(hosted, 3, 4) == [6, 8]
        with pytest.raises(RequestError, match="3 items, over 2"):
            await doubled(hosted, 3, 4, 5)

    async def scenario() -> None:
        hosted = await started(Hosted(Config(max_items=2), str(path)))
        await bounded(hosted)
        await hosted.changes.scale("twice", 2)
        await bounded(hosted)
        await ended(hosted)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


def test_an_app_that_does_not_load_lets_go_of_its_processes(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("1 / 0\n")

    async def scenario() -> None:
        hosted = Hosted(Config(), str(path))
        try:
            await hosted.hello()
        finally:
            await hosted.close()

    with pytest.raises(LoadError, match="ZeroDivisionError"):
        asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


def test_a_zygote_that_dies_as_it_is_taken_on_is_replaced(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        before = {child.pid for child in psutil.Process().children()}
        hosted = await started(Hosted(Config(), written(tmp_path, "first", DEADLY)))
        (replica,) = hosted.live.current.crew.replicas
        (tmp_path / "deadly").touch()
        before |= {psutil.Process(replica.pid).ppid()}
        os.kill(psutil.Process(replica.pid).ppid(), signal.SIGKILL)
        while not (others := {child for child in psutil.Process().children() if child.pid not in before}):
            await asyncio.sleep(0.01)
        end = time.monotonic() + PATIENCE
        while any(map(lives, others)) and time.monotonic() < end:
            time.sleep(0.01)  # the loop stands still: it finds the word and the death at once
        assert not any(map(lives, others))
        os.kill(replica.pid, signal.SIGKILL)
        answer = await told(hosted, "a")
        await ended(hosted)
        return answer

    answer = asyncio.run(asyncio.wait_for(scenario(), PATIENCE))

    assert answer == ["first", "a", "", ""]
    assert not (tmp_path / "deadly").exists()


@pytest.mark.parametrize("more", ["", "# of another version\n"], ids=["same", "other"])
def test_a_zygote_that_is_born_again_while_an_update_brings_another_is_not_needed(
    tmp_path: Path, more: str
) -> None:
    async def scenario() -> None:
        hosted = await started(Hosted(Config(), written(tmp_path, "first", SLOW)))
        (replica,) = hosted.live.current.crew.replicas
        (tmp_path / "hold").touch()
        os.kill(psutil.Process(replica.pid).ppid(), signal.SIGKILL)
        while not (tmp_path / "held").exists():
            await asyncio.sleep(0.002)

        written(tmp_path, "first", SLOW + more)
        await hosted.changes.update()
        updated = hosted.changes.release
        (tmp_path / "held").unlink()
        await hosted._rebirth

        assert hosted.changes.release is updated
        assert hosted.live.trouble == ""
        (replica,) = hosted.live.current.crew.replicas
        os.kill(replica.pid, signal.SIGKILL)
        assert await told(hosted, "a") == ["first", "a", "", ""]
        (heir,) = set(hosted.live.current.crew.replicas) - {replica}
        assert psutil.Process(heir.pid).ppid() == updated.zygote._process.pid
        await ended(hosted)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


def test_a_zygote_that_cannot_be_started_again_is_told_of(
    tmp_path: Path, monkeypatch, without_descriptors
) -> None:
    monkeypatch.setattr(hosting, "PAUSES", (0.01, 0.01))

    async def scenario() -> str:
        hosted = await started(Hosted(Config(), written(tmp_path, "first")))
        (replica,) = hosted.live.current.crew.replicas
        zygote = psutil.Process(replica.pid).ppid()
        with without_descriptors():
            os.kill(zygote, signal.SIGKILL)
            while not hosted.live.trouble:
                await asyncio.sleep(0.01)
        await ended(hosted)
        return hosted.live.trouble

    trouble = asyncio.run(asyncio.wait_for(scenario(), PATIENCE))

    assert "are not replaced until `regrain update`" in trouble
    assert "cannot be started: [Errno 24] Too many open files" in trouble
