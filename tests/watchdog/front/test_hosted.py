"""Apps beside each other in one process, each over processes of its own."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from regrain.errors import LoadError
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.hosted import Hosted
from regrain_watchdog.front.zygote import Birth

pytestmark = pytest.mark.process
PATIENCE = 30.0
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


def written(folder: Path, name: str) -> str:
    path = folder / f"{name}.py"
    path.write_text(APP.format(name=name))
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
