import asyncio
import contextlib
import logging
import os
import signal
import time
from http import HTTPStatus
from pathlib import Path

import psutil
import pytest

from regrain.errors import RequestError
from regrain.grain import make_plan
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.service import App
from regrain_watchdog.front.zygote import Zygote

pytestmark = pytest.mark.process
APPS = Path(__file__).parents[2] / "apps"
MAPS = {"numbers": [1, 2, 3], "scale": 2}
MAPS_GRAINS = [
    "coarse",
    "fine",
    "widen+block+mean | square+shift | join",
    "widen | square+shift+join | block+mean",
    "widen+square | shift | block | mean+join",
]
TIMEOUT = 60.0


@contextlib.asynccontextmanager
async def served(
    name: str,
    grain: str = "coarse",
    *,
    replicas: str = "",
    sample: dict[str, object] | None = None,
    memory: int = 1 << 28,
):
    zygote = Zygote(str(APPS / f"{name}.py"), died=lambda _: None, exited=lambda _, __: None)
    app = None
    try:
        manifest = await zygote.hello(TIMEOUT)
        app = App(
            make_plan(manifest, grain, replicas),
            Crew(manifest, zygote, memory=memory),
            max_queue=1000,
            measure=Measure(),
            failed=lambda _: None,
        )
        await asyncio.wait_for(app.start(sample), TIMEOUT)
        yield app
    finally:
        if app is not None:
            await asyncio.wait_for(app.stop(), TIMEOUT)
        await zygote.stop()


def call(**values: object) -> Call:
    return Call(id="test", values=values, headers=b"", arrived=time.monotonic())


async def ask(app: App, **values: object) -> object:
    return (await asyncio.wait_for(app.submit(call(**values)), TIMEOUT)).value


async def ready(app: App) -> None:
    """Wait until every group has a replica that serves; bounded by the caller's own limit."""
    async with asyncio.timeout(TIMEOUT):
        while app.unready():
            await asyncio.sleep(0.005)


def pids(app: App) -> set[int]:
    return {replica.pid for function in app.functions for replica in function.replicas}


def expected(numbers: list[int], scale: int) -> dict[str, object]:
    items = [number * scale for number in numbers for _ in range(2)]
    squares = [item * item for item in items]
    return {
        "shifted": [square + float(scale) for square in squares],
        "squares": squares,
        "mean": float(scale),
        "numbers": numbers,
    }


@pytest.mark.parametrize("grain", MAPS_GRAINS)
def test_every_grain_gives_the_answers_of_plain_python(grain):
    async def scenario():
        async with served("maps", grain, sample=MAPS) as app:
            wanted = [([number] * (number % 4), number) for number in range(12)]

            answers = await asyncio.gather(
                *(ask(app, numbers=numbers, scale=scale) for numbers, scale in wanted)
            )

            assert answers == [expected(numbers, scale) for numbers, scale in wanted]
            assert await ask(app, numbers=[5]) == expected([5], 3)

    asyncio.run(scenario())


def test_units_that_come_back_together_go_on_together_though_replicas_are_idle():
    async def scenario():
        async with served("gathers", "fine", replicas="second=3", sample={"number": 1}) as app:
            await ready(app)

            assert await asyncio.gather(*(ask(app, number=number) for number in range(4))) == [4, 4, 4, 4]

    asyncio.run(scenario())


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_calls_leave_no_memory_and_no_descriptor_behind(grain):
    async def scenario():
        async with served("maps", grain, sample=MAPS) as app:
            process = psutil.Process()
            await ask(app, **MAPS)
            memory, held, descriptors = app.crew.pool.in_use, app.crew.pool.held, process.num_fds()
            theirs = {pid: psutil.Process(pid).num_fds() for pid in pids(app)}

            for start in range(0, 200, 8):
                await asyncio.gather(*(ask(app, numbers=[n] * (n % 9)) for n in range(start, start + 8)))

            assert app.crew.pool.in_use == memory
            assert app.crew.pool.held <= 4 * held
            grown = (
                app.crew.pool.held - held
            ) >> 20  # each segment is two descriptors here, and a mapping's there
            assert process.num_fds() <= descriptors + 3 * grown
            assert {
                pid: psutil.Process(pid).num_fds() <= count + grown for pid, count in theirs.items()
            } == dict.fromkeys(theirs, True)

    asyncio.run(scenario())


def test_a_replica_keeps_one_descriptor_per_segment():
    async def scenario():
        async with served("faults", "act | check+tell") as app:
            pid = app.functions[1].replicas[0].pid
            before = psutil.Process(pid).num_fds()

            for what in ("large", "huge", "fine"):
                await ask(app, what=what)

            segments = len(
                [
                    line
                    for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
                    if "memfd:regrain" in line
                ]
            )
            assert psutil.Process(pid).num_fds() <= before + segments

    asyncio.run(scenario())


FAULTS = [
    pytest.param("raise", HTTPStatus.INTERNAL_SERVER_ERROR, "act", "no such luck", id="raises"),
    pytest.param("exit", HTTPStatus.BAD_GATEWAY, "act", "died", id="exits"),
    pytest.param("leave", HTTPStatus.BAD_GATEWAY, "act", "died", id="raises SystemExit"),
    pytest.param("hang", HTTPStatus.GATEWAY_TIMEOUT, "act", "ran over its timeout of", id="hangs"),
    pytest.param("set answer", HTTPStatus.INTERNAL_SERVER_ERROR, "act", "set", id="unsupported answer"),
    pytest.param(
        "short", HTTPStatus.INTERNAL_SERVER_ERROR, "check", "0 results for 1 inputs", id="wrong length"
    ),
]


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_a_stage_that_fails_is_named_and_the_app_serves_on(grain, monkeypatch, with_time):
    async def scenario():
        async with served("faults", grain, sample={"what": "fine"}) as app:
            for fault in FAULTS:
                what, status, stage, text = fault.values
                before = pids(app)

                with pytest.raises(RequestError, match=text) as caught:
                    await ask(app, what=what)

                assert (caught.value.status, caught.value.stage) == (status, stage), what
                await ready(app)
                assert await ask(app, what="again") == "again"
                assert (pids(app) == before) is (status is HTTPStatus.INTERNAL_SERVER_ERROR), what

    def timed(seconds):
        monkeypatch.setenv("FAULTS_TIMEOUT", str(seconds))
        asyncio.run(scenario())

    with_time(timed, 0.4)


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_a_value_that_cannot_travel_fails_naming_stage_and_type_at_any_grain(grain):
    async def scenario():
        async with served("faults", grain) as app:
            with pytest.raises(RequestError, match="set") as caught:
                await ask(app, what="set")

            assert (caught.value.status, caught.value.stage) == (HTTPStatus.INTERNAL_SERVER_ERROR, "act")

    asyncio.run(scenario())


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_an_early_answer_ends_the_call_with_its_status_and_headers(grain):
    async def scenario():
        async with served("faults", grain) as app:
            reply = await asyncio.wait_for(app.submit(call(what="answer")), TIMEOUT)

            assert (reply.value, reply.status, reply.headers) == ({"early": True}, 203, {"x-why": "asked"})

    asyncio.run(scenario())


def test_results_that_find_no_room_are_503_and_the_replica_lives():
    async def scenario():
        async with served("faults", "fine", memory=16 << 20) as app:
            before = pids(app)

            with pytest.raises(RequestError) as caught:
                await ask(app, what="huge")

            assert caught.value.status is HTTPStatus.SERVICE_UNAVAILABLE
            assert caught.value.stage == "act"
            assert await ask(app, what="large") == f"{8 << 18} bytes"
            assert pids(app) == before

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["threaded", "session"])
def test_a_module_that_must_not_be_forked_runs_in_fresh_interpreters(name, caplog):
    async def scenario():
        async with served(name, sample={"number": 1}) as app:
            answer = await ask(app, number=21)

            assert answer == {"threaded": 42, "session": 22}[name]
            [pid] = pids(app)
            assert "replica" in psutil.Process(pid).cmdline()

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert "fresh interpreters" in caplog.text


def test_the_stages_of_a_call_that_was_cancelled_see_it(tmp_path):
    note = tmp_path / "note"

    async def said(word: str) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not note.exists() or note.read_text() != word:
                await asyncio.sleep(0.005)

    async def scenario():
        async with served("waits") as app:
            task = asyncio.create_task(app.submit(call(path=str(note))))
            await said("waiting")

            task.cancel()

            await said("cancelled")
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(TIMEOUT):
                while app.crew.pool.in_use or any(app.crew.cancels[:]):
                    await asyncio.sleep(0.005)
            assert app.in_flight == 0

    asyncio.run(scenario())


def test_a_replica_that_is_killed_costs_its_calls_alone():
    async def scenario():
        async with served("maps", "fine", replicas="square=2", sample=MAPS) as app:
            [first, _] = next(function for function in app.functions if function.name == "square").replicas

            os.kill(first.pid, signal.SIGKILL)
            answers = await asyncio.gather(*(ask(app, **MAPS) for _ in range(20)), return_exceptions=True)

            assert any(answer == expected(**MAPS) for answer in answers)
            assert {answer.status for answer in answers if isinstance(answer, RequestError)} <= {
                HTTPStatus.BAD_GATEWAY
            }
            await ready(app)
            assert await ask(app, **MAPS) == expected(**MAPS)

    asyncio.run(scenario())


def test_stopping_lets_what_is_at_a_replica_finish_and_refuses_the_rest():
    async def scenario():
        async with served("maps", "fine", sample=MAPS) as app:
            tasks = [asyncio.create_task(ask(app, **MAPS)) for _ in range(4)]
            await asyncio.sleep(0)

            await asyncio.wait_for(app.stop(), TIMEOUT)

            for answer in await asyncio.gather(*tasks, return_exceptions=True):
                assert answer == expected(**MAPS) or answer.status is HTTPStatus.SERVICE_UNAVAILABLE
            with pytest.raises(RequestError, match="shutting down"):
                await ask(app, **MAPS)

    asyncio.run(scenario())
