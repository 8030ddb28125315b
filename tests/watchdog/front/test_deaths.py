import asyncio
import contextlib
import os
import signal
import time
from http import HTTPStatus
from pathlib import Path

import pytest

from regrain.errors import RequestError
from regrain.grain import make_plan
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.service import App
from regrain_watchdog.front.standing import gauges
from regrain_watchdog.front.supervise import Care
from regrain_watchdog.front.zygote import Zygote

pytestmark = pytest.mark.process
MORTAL = Path(__file__).parents[2] / "apps" / "mortal.py"
TIMEOUT = 60.0


@contextlib.asynccontextmanager
async def mortal(name: str = "app", *, replicas: str = "", max_queue: int = 100, **care: float):
    zygote = Zygote(f"{MORTAL}:{name}", died=lambda _: None, exited=lambda _, __: None)
    app = None
    try:
        manifest = await zygote.hello(TIMEOUT)
        app = App(
            make_plan(manifest, "coarse", replicas),
            Crew(manifest, zygote, memory=1 << 26, care=Care(**care)),
            max_queue=max_queue,
            measure=Measure(),
            failed=lambda _: None,
        )
        await asyncio.wait_for(app.start({"what": "fine"}), TIMEOUT)
        yield app
    finally:
        if app is not None:
            await asyncio.wait_for(app.stop(), TIMEOUT)
        await zygote.stop()


def call(what: str, **urgency: float) -> Call:
    now = time.monotonic()
    if "seconds" in urgency:
        urgency = urgency | {"deadline": now + urgency.pop("seconds"), "firm": True}
    return Call(id="test", values={"what": what}, headers=b"", arrived=now, **urgency)


async def ask(app: App, what: str, **urgency: float) -> object:
    return (await asyncio.wait_for(app.submit(call(what, **urgency)), TIMEOUT)).value


async def refused(app: App, what: str, **urgency: float) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await ask(app, what, **urgency)
    return caught.value


async def until(claim) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not claim():
            await asyncio.sleep(0.005)


def counted(app: App, name: str) -> float:
    return sum(
        sample.value for metric in app.measure.collect() for sample in metric.samples if sample.name == name
    )


@pytest.mark.parametrize("replicas", ["1", "2"])
def test_good_requests_beside_a_poisoned_one_are_all_answered(replicas):
    async def scenario():
        async with mortal(replicas=replicas) as app:
            whats = [f"good {number}" for number in range(30)]

            good = [asyncio.create_task(ask(app, what)) for what in whats]
            error = await refused(app, "die")

            assert await asyncio.gather(*good) == whats
            assert error.status is HTTPStatus.BAD_GATEWAY
            assert (error.stage, "poison" in error.detail) == ("risky", True)
            assert counted(app, "regrain_poison_total") == 1
            assert counted(app, "regrain_replica_deaths_total") == 2
            assert gauges(app.functions, app.crew.pool).looping == {"risky": 0}

    asyncio.run(scenario())


def test_a_request_whose_replica_is_killed_is_answered_by_another(tmp_path):
    async def scenario():
        async with mortal() as app:
            answer = await ask(app, f"first {tmp_path / 'been'}")

            assert answer == f"first {tmp_path / 'been'}"
            assert counted(app, "regrain_retries_total") == 1
            assert app.crew.pool.in_use == 0

    asyncio.run(scenario())


def test_many_poisoned_requests_among_good_ones_make_no_crash_loop():
    async def scenario():
        async with mortal() as app:
            tasks = []
            for number in range(40):
                what = "die" if number % 5 == 4 else f"good {number}"
                tasks.append(asyncio.create_task(app.submit(call(what))))
                await asyncio.sleep(0)

            ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), TIMEOUT)

            for number, result in enumerate(ended):
                assert isinstance(result, RequestError) is (number % 5 == 4), result
            assert counted(app, "regrain_poison_total") == 8
            assert not app.functions[0].is_looping
            await until(lambda: not app.unready())

    asyncio.run(scenario())


def test_a_stage_that_may_not_run_twice_does_not(tmp_path):
    path = tmp_path / "runs"

    async def scenario():
        async with mortal("once") as app:
            error = await refused(app, f"note {path}")

            assert (error.status, error.stage) == (HTTPStatus.BAD_GATEWAY, "pay")
            assert "may not run twice" in error.detail
            assert path.read_text() == "ran\n"
            assert await ask(app, "fine") == "fine"

    asyncio.run(scenario())


@pytest.mark.parametrize("act", ["garbage", "close"])
def test_a_replica_that_spoils_its_socket_costs_its_own_request_alone(act):
    async def scenario():
        async with mortal() as app:
            error = await refused(app, act)

            assert error.status is HTTPStatus.BAD_GATEWAY
            assert await ask(app, "fine") == "fine"

    asyncio.run(scenario())


def test_a_replica_that_stands_still_is_ended_and_what_waited_is_served(with_time):
    async def scenario(seconds):
        async with mortal(hang_timeout=seconds) as app:
            [before] = [replica.pid for replica in app.functions[0].replicas]
            stopped = asyncio.create_task(refused(app, "stop"))
            await until(lambda: app.functions[0].replicas[0].holding)

            answers = await asyncio.gather(*(ask(app, f"good {number}") for number in range(5)))

            assert answers == [f"good {number}" for number in range(5)]
            error = await stopped
            assert (error.status, error.stage) == (HTTPStatus.GATEWAY_TIMEOUT, "risky")
            assert f"not moved for {seconds:g} s" in error.detail
            assert before not in [replica.pid for replica in app.functions[0].replicas]

    with_time(lambda seconds: asyncio.run(scenario(seconds)), 0.5)


def test_a_replica_that_fills_its_memory_fails_its_request_and_nobody_else():
    async def scenario():
        async with mortal(memory=1 << 30) as app:
            error = await refused(app, f"fill {2 << 30}")

            assert error.status in (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY)
            assert await ask(app, "fill 1000") == "1000"

    asyncio.run(scenario())


def test_a_crash_loop_is_told_and_tried_further_until_it_ends(tmp_path, monkeypatch):
    gate = tmp_path / "gate"
    monkeypatch.setenv("MORTAL_GATE", str(gate))

    async def scenario():
        async with mortal("frail") as app:
            gate.touch()
            os.kill(app.functions[0].replicas[0].pid, signal.SIGKILL)
            waited = asyncio.create_task(refused(app, "fine"))
            await until(lambda: app.functions[0].is_looping)

            error = await refused(app, "fine")
            assert error.status is HTTPStatus.SERVICE_UNAVAILABLE
            assert int(error.headers["Retry-After"]) >= 1
            assert (await waited).status is HTTPStatus.SERVICE_UNAVAILABLE
            assert app.unready() == "crash-loop: replicas of model end as soon as they start"
            assert (app.state(), gauges(app.functions, app.crew.pool).looping) == ("crash-loop", {"model": 1})

            gate.unlink()
            await until(lambda: app.functions[0].is_serving)
            assert await ask(app, "fine") == "fine"
            assert (app.unready(), app.state()) == ("", "ready")

    asyncio.run(scenario())


def test_a_firm_deadline_that_passes_is_answered_at_once_while_the_stage_runs_on(tmp_path):
    gate = tmp_path / "gate"

    async def scenario():
        async with mortal() as app:
            error = await refused(app, f"gate {gate}", seconds=0.2)

            assert (error.status, error.stage) == (HTTPStatus.GATEWAY_TIMEOUT, "risky")
            assert "late" in error.detail
            gate.touch()

    asyncio.run(scenario())


def test_what_waits_behind_a_long_run_past_its_firm_deadline_is_never_run(tmp_path, with_time):
    """It is let in, as nobody knows yet how long the run before it takes."""

    async def scenario(seconds):
        path, gate = tmp_path / f"runs {seconds}", tmp_path / f"gate {seconds}"
        async with mortal() as app:
            long = asyncio.create_task(ask(app, f"gate {gate}"))
            await until(lambda: app.functions[0].replicas[0].holding)

            error = await refused(app, f"note {path}", seconds=seconds)

            gate.touch()
            await long
            assert error.status is HTTPStatus.GATEWAY_TIMEOUT
            assert await ask(app, "fine") == "fine"
            assert not path.exists()

    with_time(lambda seconds: asyncio.run(scenario(seconds)), 0.5)


def test_of_a_full_queue_the_least_urgent_makes_room_and_the_caller_is_told_when_to_come_again(tmp_path):
    gate = tmp_path / "gate"

    async def scenario():
        async with mortal(max_queue=3) as app:
            long = asyncio.create_task(ask(app, f"gate {gate}"))
            await until(lambda: app.functions[0].replicas[0].holding)
            tasks = [
                asyncio.create_task(app.submit(call(f"{priority}", priority=priority)))
                for priority in (5, 9, 5)
            ]
            await asyncio.sleep(0)

            same = await refused(app, "same", priority=9)
            urgent = asyncio.create_task(ask(app, "urgent", priority=0))
            await asyncio.wait({tasks[1]}, timeout=TIMEOUT)
            gate.touch()
            assert await urgent == "urgent"

            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert [isinstance(result, RequestError) for result in ended] == [False, True, False]
            for error in (same, ended[1]):
                assert error.status is HTTPStatus.SERVICE_UNAVAILABLE
                assert int(error.headers["Retry-After"]) >= 1
            await long

    asyncio.run(scenario())


def test_callers_that_left_take_no_place_in_the_queue(tmp_path):
    gate = tmp_path / "gate"

    async def scenario():
        async with mortal(max_queue=3) as app:
            long = asyncio.create_task(ask(app, f"gate {gate}"))
            await until(lambda: app.functions[0].replicas[0].holding)
            left = [asyncio.create_task(app.submit(call("gone"))) for _ in range(3)]
            await asyncio.sleep(0)
            assert len(app.functions[0]) == 3

            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

            assert len(app.functions[0]) == 0
            asked = [asyncio.create_task(ask(app, f"{n}")) for n in range(3)]
            await until(lambda: len(app.functions[0]) == 3)
            gate.touch()
            assert await asyncio.gather(*asked) == ["0", "1", "2"]
            await long

    asyncio.run(scenario())
