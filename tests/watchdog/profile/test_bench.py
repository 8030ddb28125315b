"""The process that measures, as whoever asks it sees it."""

import asyncio
import contextlib
import os
import signal

import psutil
import pytest

from regrain.wire import measuring
from regrain.wire.codec import pack_inline
from regrain_watchdog.profile.bench import Bench, BenchError, RefusedError

pytestmark = pytest.mark.process
APP = """
import multiprocessing
import os
import signal
import sys

from regrain import App

app = App("ends")
runs = []


@app.stage()
def run(text: str) -> str:
    print("on", text, file=sys.stderr, flush=True)
    runs.append(text)
    if text == "leave":
        child = multiprocessing.Process(target=signal.pause)
        child.start()
        print(child.pid, file=sys.stderr, flush=True)
        os._exit(3)
    if text == "end" or runs.count("later") > 2:
        os._exit(3)
    return text


@app.flow
def flow(text: str) -> str:
    return run(text)
"""
WALK = measuring.Walk((measuring.Request({"text": pack_inline("on")}),))
LATER = measuring.Request({"text": pack_inline("later")})
LEAVE = measuring.Walk((measuring.Request({"text": pack_inline("leave")}),))
END = measuring.Walk((measuring.Request({"text": pack_inline("end")}),))


@pytest.fixture
def module(tmp_path):
    (tmp_path / "ends.py").write_text(APP)
    return str(tmp_path / "ends.py")


def run(work):
    return asyncio.run(asyncio.wait_for(work, 100.0))


def test_it_answers_what_it_is_asked_and_ends_with_the_block(module):
    async def work():
        async with Bench(module) as bench:
            loaded = await bench.ask(measuring.Load("run", 1.0), measuring.Loaded)
            walked = await bench.ask(WALK, measuring.Walked)
            return bench.ready.pid, loaded, walked

    pid, loaded, walked = run(work())

    assert loaded.seconds >= 0
    assert walked.units == {"run": (1,)}
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_refusal_says_why_and_it_goes_on(module):
    async def work():
        async with Bench(module) as bench:
            with pytest.raises(RefusedError, match="no stage is called 'sing'"):
                await bench.ask(measuring.Load("sing", 1.0), measuring.Loaded)
            return await bench.ask(measuring.Load("run", 1.0), measuring.Loaded)

    assert isinstance(run(work()), measuring.Loaded)


def test_a_stage_that_ends_the_process_is_told_with_its_last_words(module):
    async def work():
        async with Bench(module) as bench:
            await bench.ask(measuring.Load("run", 1.0), measuring.Loaded)
            await bench.ask(END, measuring.Walked)

    with pytest.raises(BenchError, match=r"^stage run: the process that measures .*ends\.py ended: on end"):
        run(work())


def test_what_a_stage_has_started_that_ends_the_process_ends_with_it(module):
    async def work():
        async with Bench(module) as bench:
            await bench.ask(measuring.Load("run", 1.0), measuring.Loaded)
            await bench.ask(LEAVE, measuring.Walked)

    with pytest.raises(BenchError) as caught:
        run(work())

    child = int(str(caught.value).rpartition(" ")[2])
    with contextlib.suppress(psutil.NoSuchProcess):
        assert psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_stage_that_ends_the_process_while_the_whole_flow_is_timed_is_named(module):
    async def work():
        async with Bench(module) as bench:
            await bench.ask(measuring.Load("run", 1.0), measuring.Loaded)
            await bench.ask(measuring.Walk((LATER,)), measuring.Walked)
            await bench.ask(measuring.Chain(0, 10.0, 0.01), measuring.Timed)

    with pytest.raises(BenchError, match=r"^stage run: the process that measures .*ends\.py ended: on later"):
        run(work())


def test_a_process_that_is_killed_is_told(module):
    async def work():
        async with Bench(module) as bench:
            os.kill(bench.ready.pid, signal.SIGKILL)
            await bench.ask(WALK, measuring.Walked)

    with pytest.raises(BenchError, match="ended"):
        run(work())


def test_a_module_that_is_no_app_is_told_in_its_own_words(tmp_path):
    (tmp_path / "wrong.py").write_text("x = 1\n")

    async def work():
        async with Bench(str(tmp_path / "wrong.py")):
            pass

    with pytest.raises(BenchError, match="holds neither an App nor handle"):
        run(work())
