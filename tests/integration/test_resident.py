"""What replicas keep loaded, on a running app: by setting, by command, and where memory is tight."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

APP = """
import os
import pathlib

from regrain import App

app = App("pair", sample={"text": "a"})
HERE = pathlib.Path(__file__).parent


@app.stage(MEMORY)
class first:
    def __init__(self):
        self.ballast = bytearray(b"x") * (32 << 20)

    def __call__(self, text: str) -> list[str]:
        if (HERE / "gated").exists():
            (HERE / "waits").touch()
            while (HERE / "gated").exists():
                pass
        return [text, str(os.getpid())]


@app.stage()
def second(told: list[str]) -> list[str]:
    return [*told, str(os.getpid())]


@app.flow
def flow(text: str) -> list[str]:
    return second(first(text))
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "app.py"
    path.write_text(APP.replace("MEMORY", ""))
    return path


def operate(served, path, **wanted):
    return requests.post(f"{served.admin_url}{path}", json=wanted, timeout=60)


def settled(served):
    return served.status()["transitions"][0]["state"] in ("done", "failed")


def held(served):
    return {
        replica["pid"]: replica["resident"]
        for group in served.status()["groups"]
        for replica in group["replicas"]
    }


def test_replicas_that_keep_all_stages_change_grain_without_a_new_process(serve, until, source):
    served = serve(source, "--resident", "all", "--grain", "fine")
    pids = sorted(served.replicas())
    assert held(served) == {pid: ["first", "second"] for pid in pids}
    assert served.status()["resident"] == "all"

    for grain, replicas in [("coarse", "2"), ("fine", "1")]:
        assert operate(served, "/grain", grain=grain, replicas=replicas).status_code == 200
        _, one, other = served.call(text="a").json()
        assert (one == other) == (grain == "coarse")
        assert sorted(served.replicas()) == pids
        until(lambda: settled(served), "the old plan has ended")


def test_what_is_kept_changes_while_it_serves_and_the_memory_comes_back(serve, until, source):
    served = serve(source, "--grain", "fine")
    assert sorted(held(served).values()) == [["first"], ["second"]]

    kept = operate(served, "/resident", stages="all")
    assert (kept.status_code, kept.json()) == (200, {"resident": "all", "freed": 0})
    assert list(held(served).values()) == [["first", "second"]] * 2
    dropped = operate(served, "/resident", stages="plan").json()

    assert dropped["freed"] > 30 << 20
    assert sorted(held(served).values()) == [["first"], ["second"]]
    assert served.call(text="a").status_code == 200


def test_a_grain_may_be_held_and_left_to_the_controller_again(serve, until, source):
    served = serve(source)

    assert operate(served, "/grain", grain="fine", hold=True).status_code == 200
    assert served.status()["held"] is True
    assert operate(served, "/auto").json() == {"held": False, "controller": False}

    assert served.status()["held"] is False


def test_stages_to_keep_that_there_are_none_of_are_refused_at_the_start(attempt, source):
    refused = attempt(source, "--resident", "third")

    refused.said(
        "resident was 'third'; allowed are 'all', 'plan', or stages with commas between: first, second"
    )
    assert refused.ended() == 2


def test_what_fits_only_once_the_old_plan_has_shrunk_goes_over_smaller_plans(serve, until, source):
    """The stage declares more memory than it takes, so that the way is long and the machine does not notice."""
    declared = psutil.virtual_memory().available >> 20  # what is free may grow until it is twice as much
    source.write_text(APP.replace("MEMORY", f'memory="{declared}Mi"'))
    served = serve(source, "--grain", "fine", "--replicas", "first=2,second=1")

    changed = operate(served, "/grain", grain="coarse", replicas="2")

    assert changed.status_code == 200, changed.text
    until(lambda: settled(served), "the last plan has come into force")
    steps = [(one["to"].split(" (")[0], one["state"]) for one in served.status()["transitions"]]
    assert steps == [("first+second", "done"), ("first+second", "done"), ("first | second", "done")]
    assert len(served.replicas()) == 2
    refused = operate(served, "/grain", grain="fine", replicas="first=9,second=1")
    assert refused.status_code == 409
    assert f"needs {8 * declared} MiB" in refused.json()["detail"]
    assert len(served.replicas()) == 2


def test_a_zygote_that_dies_while_its_version_warms_up_is_started_again(serve, until, source):
    served = serve(source)
    old = served.zygote()
    gate, waits = source.parent / "gated", source.parent / "waits"
    gate.touch()

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(operate, served, "/update")
        until(waits.exists, "the sample of the new version runs")
        (new,) = (one for one in psutil.Process(served.process.pid).children() if one.pid != old)
        new.kill()
        gate.unlink()
        assert asked.result().status_code == 200, asked.result().text

    until(lambda: settled(served), "the version is in force")
    (replica,) = served.replicas()
    os.kill(replica, signal.SIGKILL)
    until(lambda: served.replicas() not in ([], [replica]), "a replica of the new zygote")
    assert served.call(text="a").status_code == 200


def test_sigterm_while_replicas_take_stages_in_ends_everything_and_loses_no_request(serve, until, source):
    source.write_text(
        source.read_text().replace(
            'bytearray(b"x") * (32 << 20)',
            'bytearray(b"x") * (32 << 20)\n        (HERE / "loads").touch()\n'
            "        while (HERE / 'held').exists():\n            pass",
        )
    )
    served = serve(source, "--grain", "fine")
    (source.parent / "loads").unlink()
    (source.parent / "held").touch()

    with ThreadPoolExecutor(2) as pool:
        kept = pool.submit(operate, served, "/resident", stages="all")
        until((source.parent / "loads").exists, "a replica takes a stage in")
        refused = operate(served, "/grain", grain="coarse")
        asked = pool.submit(served.call, text="a")
        until(
            lambda: served.metric("http_requests_in_flight") == 1 or asked.done(), "the request is accepted"
        )
        served.signal()
        (source.parent / "held").unlink()
        assert asked.result().json()[0] == "a"
        assert kept.result().status_code in (200, 503)

    assert refused.status_code == 409
    assert served.ended() == 0


CARDS = """
import pathlib

from regrain import GPU, App

app = App("cards", sample={"text": "a"})


@app.stage(gpu=GPU(memory="1Gi"))
def first(text: str) -> str:
    return text


@app.stage(gpu=GPU(memory="2Gi"))
class second:
    def __init__(self):
        if (pathlib.Path(__file__).parent / "gone").exists():
            raise FileNotFoundError("no model")

    def __call__(self, text: str) -> str:
        return text


@app.flow
def flow(text: str) -> str:
    return second(first(text))
"""
SCENARIO = """
[emulated.stages.first]
model = "alexnet"
load_time = "1ms"

[emulated.stages.second]
model = "alexnet"
load_time = "1ms"
"""


def test_memory_of_a_gpu_for_a_stage_that_could_not_be_loaded_is_booked_no_more(serve, until, tmp_path):
    (tmp_path / "app.py").write_text(CARDS)
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    scenario = ("--gpus", "emulated:v100", "--scenario", str(tmp_path / "scenario.toml"))
    served = serve(tmp_path / "app.py", *scenario, "--grain", "fine")

    def booked():
        return {one["name"]: one["share"]["memory"] >> 30 for one in served.status()["gpus"][0]["members"]}

    assert booked() == {"cards/first": 1, "cards/second": 2}
    (tmp_path / "gone").touch()

    kept = operate(served, "/resident", stages="all")

    assert kept.status_code == 409, kept.text
    until(lambda: booked() == {"cards/first": 1, "cards/second": 2}, "only what it has is booked")
    assert served.call(text="a").text == "a"
