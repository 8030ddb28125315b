"""Replicas that die, hang or cannot load while plans come and go over them: nobody waits for what will never come."""

import asyncio
import os
import signal
from http import HTTPStatus

import pytest

from regrain.errors import RequestError
from regrain_watchdog.front.keeping import keep
from regrain_watchdog.policy import resident

pytestmark = pytest.mark.process
TIMEOUT = 60.0
LIMIT = 110.0
"""Seconds that a whole scenario has, just less than pytest gives a test."""
SHORT = 1.0
"""The patience of tests in which something takes all of it."""
PAIR = """
import os
import pathlib
import signal
import time

from regrain import App

app = App("pair", sample={"text": "sample"})
HERE = pathlib.Path(__file__).parent


def wait_for_the_gate(name, text):
    if text.startswith(name):
        (HERE / "waits").touch()
        while not (HERE / "open").exists():
            time.sleep(0.002)


@app.stage()
def first(text: str) -> str:
    wait_for_the_gate("gate1", text)
    if (HERE / "slow").exists():
        time.sleep(0.01)
    return f"{text} {os.getpid()}"


@app.stage()
class second:
    def __init__(self):
        if (HERE / "deadly").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        while (HERE / "hangs").exists():
            time.sleep(0.002)

    def __call__(self, told: str) -> str:
        if (HERE / "once").exists():
            (HERE / "once").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        wait_for_the_gate("gate2", told)
        return f"{told} {os.getpid()}"


@app.flow
def run(text: str) -> str:
    return second(first(text))
"""


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), LIMIT))


def test_a_request_at_a_guest_that_was_let_go_and_dies_is_answered_by_another(standing, tmp_path):
    async def scenario():
        async with standing(PAIR) as stand:
            (guest,) = stand.pids
            (tmp_path / "hangs").touch()
            await stand.change("fine")
            early = stand.call("gate2")
            await stand.until((tmp_path / "waits").exists)
            (tmp_path / "hangs").unlink()
            await stand.until(lambda: stand.ready(2))
            second = stand.live.current.functions[1]
            assert guest not in [replica.pid for replica in second.replicas]

            os.kill(guest, signal.SIGKILL)
            (tmp_path / "open").touch()

            said, one, other = (await asyncio.wait_for(early, TIMEOUT)).value.split()
            assert (said, int(one)) == ("gate2", guest)
            assert int(other) in stand.pids

    run(scenario)


def test_a_guest_of_a_plan_that_has_left_ends_once_it_is_let_go(standing, tmp_path):
    async def scenario():
        async with standing(PAIR, "coarse", "3") as stand:
            late = stand.call("gate1")
            await stand.until((tmp_path / "waits").exists)
            (tmp_path / "hangs").touch()
            await stand.change("fine", drained=False)
            first, second = stand.live.current.functions
            (own,) = second.replicas
            (surplus,) = set(stand.crew.replicas) - {own, *first.replicas}
            os.kill(own.pid, signal.SIGKILL)
            await stand.until(lambda: surplus in second.replicas)
            (tmp_path / "open").touch()
            await asyncio.wait_for(late, TIMEOUT)
            await stand.until(lambda: surplus.functions == [second])

            (tmp_path / "hangs").unlink()

            await stand.until(lambda: stand.ready(2))
            assert surplus not in stand.crew.replicas

    run(scenario)


def test_a_guest_that_dropped_a_stage_counts_it_as_cold(standing, tmp_path):
    """What ran there before it was dropped tells nothing of it when it is loaded again."""

    async def scenario():
        async with standing(PAIR) as stand:
            (guest,) = stand.crew.replicas
            (tmp_path / "hangs").touch()
            await stand.change("fine")
            early = stand.call("gate2")
            await stand.until((tmp_path / "waits").exists)
            (tmp_path / "hangs").unlink()
            await stand.until(lambda: stand.ready(2))
            (tmp_path / "open").touch()
            await asyncio.wait_for(early, TIMEOUT)

            await stand.until(lambda: guest.has_settled)

            assert guest.resident == {"first"}
            assert guest.warmed == {"first"}

    run(scenario)


def test_where_loading_kills_one_replica_is_lost_and_the_others_serve_on(standing, tmp_path):
    async def scenario():
        async with standing(PAIR, "fine", "first=2,second=1") as stand:
            pids = set(stand.pids)
            (tmp_path / "deadly").touch()

            with pytest.raises(RequestError, match="could not load what it is to keep"):
                await asyncio.wait_for(keep(stand.crew, resident.ALL, TIMEOUT), TIMEOUT)

            assert stand.live.unready() == ""
            assert stand.crew.keeps == resident.PLAN
            await stand.ask()
            await stand.until(lambda: stand.ready(3))
            assert len(pids & set(stand.pids)) == 2

    run(scenario)


def test_a_stage_that_hangs_while_it_is_taken_in_is_given_up(standing, tmp_path):
    async def scenario():
        async with standing(PAIR, "fine") as stand:
            (tmp_path / "hangs").touch()

            with pytest.raises(RequestError, match="could not load what it is to keep"):
                await asyncio.wait_for(keep(stand.crew, resident.ALL, SHORT), TIMEOUT)

            assert stand.crew.keeps == resident.PLAN
            await stand.until(lambda: stand.ready(2))
            await stand.ask()

    run(scenario)


def test_a_replica_that_still_starts_takes_in_what_it_is_to_keep_as_well(standing, tmp_path):
    async def scenario():
        async with standing(PAIR) as stand:
            (tmp_path / "hangs").touch()
            await stand.change("fine")

            keeping = asyncio.ensure_future(keep(stand.crew, resident.ALL, TIMEOUT))
            await stand.until(lambda: stand.crew.keeps == resident.ALL)
            (tmp_path / "hangs").unlink()
            await asyncio.wait_for(keeping, TIMEOUT)

            assert stand.ready(2)
            assert [replica.resident for replica in stand.crew.replicas] == [{"first", "second"}] * 2

    run(scenario)


def test_a_new_replica_that_dies_after_it_has_loaded_is_loaded_again(standing):
    """It is gone before the change has looked at it."""

    async def scenario():
        async with standing(PAIR, "fine") as stand:
            new = stand.app("coarse")
            load, killed = new.load, []

            async def load_and_kill(missing):
                await load(missing)
                if not killed:
                    (replica,) = new.functions[0].own
                    replica.kill("it was to die as soon as it had loaded")
                    killed.append(replica.pid)

            new.load = load_and_kill
            async with stand.live.turn():
                change = await asyncio.wait_for(stand.live.change(new), TIMEOUT)

            assert change.state in {"draining", "done"}
            one, other = await stand.ask()
            assert one == other != killed[0]

    run(scenario)


def test_a_sample_whose_replica_dies_goes_on_at_the_next_one(standing, tmp_path):
    """It waits already when that one has loaded, in a plan that nobody else asks for anything."""

    async def scenario():
        async with standing(PAIR, "fine") as stand:
            (tmp_path / "once").touch()

            change = await stand.change("coarse")

            assert change.state in {"draining", "done"}
            assert not (tmp_path / "once").exists()

    run(scenario)


@pytest.mark.parametrize(
    ("grain", "replicas", "keeps"), [("fine", "second=2", resident.PLAN), ("coarse", "1", resident.ALL)]
)
def test_the_sample_passes_beside_a_queue_that_is_never_empty(standing, tmp_path, grain, replicas, keeps):
    """Where something is started it warms up before the route swaps, else behind it."""

    async def scenario():
        async with standing(PAIR, "fine", keeps=keeps) as stand:
            (tmp_path / "slow").touch()
            async with stand.callers(lambda _: stand.ask(), 50) as callers:
                await callers.more(50)

                await stand.change(grain, replicas)

                assert stand.live.status()["transitions"][0]["state"] == "done"
                assert all(function.learned.sample for function in stand.live.current.functions)

    run(scenario)


def test_a_call_of_the_old_plan_that_never_ends_is_ended_with_the_replica_that_the_new_one_needs(
    standing, tmp_path
):
    async def scenario():
        async with standing(PAIR, "fine", keeps=resident.ALL, patience=SHORT) as stand:
            early = stand.call("gate1")
            await stand.until((tmp_path / "waits").exists)

            await stand.change("coarse", "1")

            with pytest.raises(RequestError, match="the app has changed"):
                await asyncio.wait_for(early, TIMEOUT)
            await stand.ask()

    run(scenario)


def test_calls_of_the_old_plan_that_never_end_hear_of_the_change_whichever_replica_runs_them(
    standing, tmp_path
):
    """One replica goes over to the new plan, and the other ends with the old one."""

    async def scenario():
        async with standing(PAIR, "fine", keeps=resident.ALL, patience=SHORT) as stand:
            early = [stand.call("gate2")]
            await stand.until((tmp_path / "waits").exists)
            early.append(stand.call("gate1"))
            await stand.until(lambda: all(replica.holding for replica in stand.crew.replicas))

            await stand.change("coarse", "1")

            for call in early:
                with pytest.raises(RequestError, match="the app has changed") as refused:
                    await asyncio.wait_for(call, TIMEOUT)
                assert refused.value.status is HTTPStatus.SERVICE_UNAVAILABLE
            await stand.ask()

    run(scenario)


def test_what_waits_for_any_stage_of_a_fluid_group_hears_of_its_crash_loop(standing, tmp_path):
    async def scenario():
        async with standing(PAIR, "~first+second") as stand:
            early = stand.call("gate2")
            await stand.until((tmp_path / "waits").exists)
            (tmp_path / "deadly").touch()

            os.kill(*stand.pids, signal.SIGKILL)  # it is to run once more, behind the first stage

            with pytest.raises(RequestError, match=r"crash-loop: replicas of ~first.second end"):
                await asyncio.wait_for(early, TIMEOUT)

    run(scenario)


def test_an_app_whose_groups_are_served_by_guests_alone_is_ready_and_warns(standing, tmp_path):
    async def scenario():
        async with standing(PAIR) as stand:
            (tmp_path / "deadly").touch()
            await stand.change("fine")

            await stand.until(lambda: stand.live.current.functions[1].is_looping)

            status = stand.live.status()
            assert (stand.live.unready(), status["state"]) == ("", "ready")
            assert [group["state"] for group in status["groups"]] == ["", "crash-loop"]
            assert status["warnings"] == ["replicas of second end as soon as they start; others serve"]
            await stand.ask()

    run(scenario)
