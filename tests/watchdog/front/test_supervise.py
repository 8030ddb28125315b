import asyncio
import contextlib
import gc
import os
import signal
from http import HTTPStatus
from pathlib import Path

import psutil
import pytest

from regrain.errors import LoadError, RequestError
from regrain.grain import make_plan
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.replica import State
from regrain_watchdog.front.service import App
from regrain_watchdog.front.survey import Found
from regrain_watchdog.front.zygote import Zygote

pytestmark = pytest.mark.process
APPS = Path(__file__).parents[2] / "apps"
TIMEOUT = 60.0
TURNED = """
import time
from regrain import App

app = App("turned")

@app.stage(timeout=60)
def last(seconds: float) -> str:
    return "done"

@app.stage(timeout=TIMEOUT)
def first(seconds: float) -> float:
    time.sleep(seconds)
    return seconds

@app.flow
def run(seconds: list[float]) -> str:
    return last(first.map(seconds))
"""
NO_MODEL = """
from regrain import App

app = App("no-model")

class Model:
    def __init__(self) -> None:
        raise FileNotFoundError("no model.onnx")

    def __call__(self, item: int) -> int:
        return item

model = app.stage()(Model)

@app.flow
def run(item: int) -> int:
    return model(item)
"""

CARDS = """
from regrain import GPU, App

app = App("cards", sample={"x": 1})

@app.stage(gpu=GPU(memory="6Gi", share=0.5))
def a(x: int) -> int:
    return x

@app.stage(gpu=GPU(memory="6Gi", share=0.5))
def b(x: int) -> int:
    return x

@app.stage(gpu=GPU(memory="16Gi", share=0.5))
def c(x: int) -> int:
    return x

@app.flow
def run(x: int) -> int:
    return c(b(a(x)))
"""
SCENARIO = """
[emulated.stages]
a = { model = "resnet50", load_time = "1ms" }
b = { model = "resnet50", load_time = "1ms" }
c = { model = "resnet50", load_time = "1ms" }
"""


@contextlib.asynccontextmanager
async def opened(
    target: Path,
    grain: str = "coarse",
    *,
    replicas: str = "",
    gpus: Gpus | None = None,
    failed=lambda _: None,
):
    """An app whose processes are not started yet."""
    zygote = Zygote(str(target), died=lambda _: None, exited=lambda _, __: None)
    app = None
    try:
        manifest = await zygote.hello(TIMEOUT)
        plan = make_plan(manifest, grain, replicas)
        crew = Crew(manifest, zygote, memory=1 << 26, gpus=gpus)
        app = App(plan, crew, max_queue=100, measure=Measure(), failed=failed)
        yield app
    finally:
        if app is not None:
            await asyncio.wait_for(app.stop(), TIMEOUT)
        await zygote.stop()


async def ask(app: App, **values: object) -> object:
    call = Call(id="test", values=values, headers=b"", arrived=0.0)
    return (await asyncio.wait_for(app.submit(call), TIMEOUT)).value


def replicas(app: App):
    return [replica for function in app.functions for replica in function.replicas]


def lives(pid: int) -> bool:
    """Whether there is such a process, and not merely its exit code that nobody has asked for yet."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def until(claim) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not claim():
            await asyncio.sleep(0.005)


def test_every_group_gets_its_replicas_and_each_is_warm_when_the_app_is():
    async def scenario():
        async with opened(
            APPS / "maps.py", "widen+square | block+mean | shift+join", replicas="block=2"
        ) as app:
            assert "no warm replica yet of" in app.unready()

            await asyncio.wait_for(app.start({"numbers": [1], "scale": 2}), TIMEOUT)

            assert [len(function.replicas) for function in app.functions] == [1, 2, 1]
            assert {replica.state for replica in replicas(app)} == {State.READY}
            assert app.unready() == ""
            assert all(replica.load_seconds for replica in replicas(app))

    asyncio.run(scenario())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_replica_that_dies_is_replaced_by_a_warm_one(number):
    async def scenario():
        async with opened(APPS / "maps.py") as app:
            await asyncio.wait_for(app.start({"numbers": [1], "scale": 2}), TIMEOUT)
            [old] = replicas(app)

            os.kill(old.pid, number)
            await until(lambda: old.state is State.DEAD and not app.unready())

            [new] = replicas(app)
            assert new.pid != old.pid
            assert new.state is State.READY
            assert (await ask(app, numbers=[2], scale=1))["squares"] == [4, 4]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("name", "values"), [("maps", {"numbers": [1], "scale": 2}), ("threaded", {"number": 1})]
)
def test_a_replica_for_which_there_are_no_descriptors_starts_once_there_are(
    name, values, caplog, without_descriptors
):
    async def scenario():
        async with opened(APPS / f"{name}.py") as app:
            await asyncio.wait_for(app.start(values), TIMEOUT)
            [old] = replicas(app)

            with without_descriptors():
                os.kill(old.pid, signal.SIGKILL)
                await until(lambda: "cannot be started now" in caplog.text)

            await until(lambda: not app.unready())
            [new] = replicas(app)
            assert new.pid != old.pid

    asyncio.run(scenario())


def test_a_place_on_a_gpu_that_a_plan_has_found_is_not_lost_to_a_start_that_failed(
    tmp_path, caplog, without_descriptors
):
    (tmp_path / "cards.py").write_text(CARDS)
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    cards = [Found(uuid="", name="v100", sms=80, memory=16 << 30)] * 2
    gpus = Gpus("cards", cards, folder="", backend="emulated", scenario=str(tmp_path / "scenario.toml"))

    async def scenario():
        await gpus.start()
        try:
            async with opened(tmp_path / "cards.py", "fine", gpus=gpus) as app:
                gpus.check_room(make_plan(app.crew.manifest, "fine"))
                with without_descriptors():
                    starting = asyncio.create_task(app.start({"x": 1}))
                    await until(lambda: "cannot be started now" in caplog.text)
                await until(lambda: len(replicas(app)) == 3)

                assert [gpus.device(replica.number) for replica in replicas(app)] == [1, 1, 0]
                await asyncio.wait_for(starting, TIMEOUT)
        finally:
            gpus.stop()

    asyncio.run(scenario())


def test_a_timeout_is_of_one_call_and_of_the_stage_that_runs(tmp_path, with_time):
    """The stages are declared in another order than they run, and the map takes longer than one call may."""
    path = tmp_path / "turned.py"

    async def scenario(timeout):
        path.write_text(TURNED.replace("TIMEOUT", f"{timeout:g}"))
        async with opened(path) as app:
            await asyncio.wait_for(app.start(None), TIMEOUT)

            assert await ask(app, seconds=[timeout / 2] * 4) == "done"
            with pytest.raises(RequestError, match=rf"ran over its timeout of {timeout:g} s") as caught:
                await ask(app, seconds=[120.0])

            assert "stage 'first'" in caught.value.detail
            assert (caught.value.status, caught.value.stage) == (HTTPStatus.GATEWAY_TIMEOUT, "first")

    with_time(lambda seconds: asyncio.run(scenario(seconds)), 0.3)


def test_a_model_that_cannot_be_loaded_fails_the_start_with_its_reason(tmp_path):
    path = tmp_path / "no_model.py"
    path.write_text(NO_MODEL)

    async def scenario():
        failure: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

        def fail(error: Exception) -> None:
            if not failure.done():
                failure.set_result(error)

        async with opened(path, failed=fail) as app:
            starting = asyncio.create_task(app.start(None))
            error = await asyncio.wait_for(failure, TIMEOUT)
            starting.cancel()

        assert isinstance(error, LoadError)
        assert str(error) == "stage 'model' could not be loaded: FileNotFoundError: no model.onnx"

    asyncio.run(scenario())


def test_stopping_ends_every_process_and_gives_every_descriptor_back():
    async def scenario():
        gc.collect()
        process = psutil.Process()
        before = process.num_fds()

        async with opened(APPS / "maps.py", "fine") as app:
            await asyncio.wait_for(app.start({"numbers": [1], "scale": 2}), TIMEOUT)
            pids = [replica.pid for replica in replicas(app)]
            for replica in replicas(app)[:2]:
                os.kill(replica.pid, signal.SIGKILL)
            await until(
                lambda: not {replica.pid for replica in replicas(app)} & set(pids[:2]) and not app.unready()
            )
            app.crew.cancels.close()  # its owner may need it until the last call is over

        assert not any(map(lives, pids))
        assert process.num_fds() <= before

    asyncio.run(scenario())


def test_a_replica_that_does_not_stop_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr("regrain_watchdog.front.supervise.STOP_TIMEOUT", 0.3)
    path = tmp_path / "stuck.py"
    path.write_text(TURNED.replace("TIMEOUT", "120"))

    async def scenario():
        async with opened(path) as app:
            await asyncio.wait_for(app.start(None), TIMEOUT)
            stuck = asyncio.create_task(ask(app, seconds=[60.0]))
            await until(lambda: replicas(app)[0].running()[0] == 0)
            [replica] = replicas(app)

            await asyncio.wait_for(app.stop(), TIMEOUT)

            with pytest.raises(RequestError) as caught:
                await stuck
            assert caught.value.status is HTTPStatus.BAD_GATEWAY
        assert not lives(replica.pid)

    asyncio.run(scenario())


def test_an_app_outlives_its_zygote_and_starts_replicas_from_the_next():
    async def scenario():
        died = asyncio.Event()
        target = str(APPS / "maps.py")
        first = Zygote(target, died=lambda _: died.set(), exited=lambda _, __: None)
        second = Zygote(target, died=lambda _: None, exited=lambda _, __: None)
        manifest = await first.hello(TIMEOUT)
        await second.hello(TIMEOUT)
        plan = make_plan(manifest, "coarse", "2")
        crew = Crew(manifest, first, memory=1 << 26)
        app = App(plan, crew, max_queue=100, measure=Measure(), failed=lambda _: None)
        await asyncio.wait_for(app.start({"numbers": [1], "scale": 2}), TIMEOUT)

        os.kill(first._process.pid, signal.SIGKILL)
        await asyncio.wait_for(died.wait(), TIMEOUT)
        old, _ = replicas(app)
        os.kill(old.pid, signal.SIGKILL)
        await until(lambda: old.state is State.DEAD)
        assert (await ask(app, numbers=[2], scale=1))["squares"] == [4, 4]
        app.crew.use_zygote(second)
        await until(lambda: [replica.state for replica in replicas(app)] == [State.READY] * 2)

        assert old not in replicas(app)
        await asyncio.wait_for(app.stop(), TIMEOUT)
        await first.stop()
        await second.stop()

    asyncio.run(scenario())
