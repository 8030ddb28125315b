"""Apps that share a GPU: who gets how much of it, and what the end of one or of the arbiter means to the rest."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import requests

REGRAIN = [sys.executable, "-m", "regrain_watchdog.cli"]
APP = """
from regrain import GPU, App

app = App("{name}", sample={{"text": "a"}})


@app.stage(gpu=GPU(memory="1Gi"))
def work(text: str) -> str:
    return text + "!"


@app.flow
def flow(text: str) -> str:
    return work(text)
"""
SCENARIO = """
[emulated]
jitter = 0.0

[emulated.stages.work]
model = "alexnet"
scale = 5.0
load_time = "1ms"
"""


class Arbiters:
    """Arbiters of a process of their own, as `regrain gpu serve` starts them."""

    def __init__(self, folder):
        self.folder = folder
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [*REGRAIN, "gpu", "serve", "--gpus", "emulated:v100", "--folder", str(self.folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert "80 SMs, 16 GiB" in self.process.stdout.readline()

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        assert self.process.wait(60) == (0 if number == signal.SIGTERM else -number)
        self.process.stdout.close()
        self.process = None

    def run(self, *args):
        ran = subprocess.run(
            [*REGRAIN, "gpu", *args, "--folder", str(self.folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.stdout if ran.returncode == 0 else ran.stderr


@pytest.fixture
def arbiters(tmp_path):
    made = Arbiters(tmp_path / "gpus")
    made.start()
    yield made
    if made.process is not None:
        made.end()


@pytest.fixture
def written(tmp_path):
    """Return a function that writes an app of one stage, and gives its path and the flags to run it on shared GPUs."""
    (tmp_path / "scenario.toml").write_text(SCENARIO)

    def write(name):
        (tmp_path / f"{name}.py").write_text(APP.format(name=name))
        shared = ("--gpus", "emulated:v100", "--gpu-folder", str(tmp_path / "gpus"))
        return tmp_path / f"{name}.py", *shared, "--scenario", str(tmp_path / "scenario.toml")

    return write


@pytest.fixture
def app(serve, written, arbiters):
    return lambda name, *flags: serve(*written(name), *flags)


class Callers:
    """Threads that call apps for as long as the block lasts, each its own, one call after the other."""

    def __init__(self, *served, each=4):
        self.answers = {one.app: [] for one in served}
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(one,)) for one in served for _ in range(each)
        ]

    def _call(self, served):
        while not self._ended.is_set():
            answer = requests.post(served.url, json={"text": "a"}, timeout=60)
            self.answers[served.app].append(answer.status_code)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join()


def device(served):
    return served.status()["gpus"][0]


def used(served):
    return {one["name"]: one["sm_seconds"] for one in device(served)["usage"]}


@pytest.mark.timeout(300)
def test_functions_that_are_always_busy_get_sm_seconds_by_weight(app, until):
    """Two replicas each, so that one waits whenever the other's lease ends: a weight is among those that wait.

    Who does not run for a while does not wait either, so it is held to some four seconds of which nobody was kept.
    """
    served = [
        app(name, "--replicas", "2", "--gpu-shares", f"work weight={weight}")
        for name, weight in (("three", 3), ("one", 1), ("uno", 1))
    ]

    def go_by_weight():
        before = after = used(served[0])
        while sum(after.values()) < sum(before.values()) + 4 * 80:
            after = used(served[0])
        found = {name: seconds - before[name] for name, seconds in after.items()}
        parts = {name: seconds / sum(found.values()) for name, seconds in found.items()}
        return (
            parts["three/work"] == pytest.approx(0.6, abs=0.1)
            and parts["one/work"] == pytest.approx(0.2, abs=0.07)
            and parts["uno/work"] == pytest.approx(0.2, abs=0.07)
        )

    with Callers(*served) as callers:
        until(lambda: len(used(served[0])) == 3 and min(used(served[0]).values()) > 20, "all are busy")
        until(go_by_weight, "SM-seconds go by weight")
    assert {status for answers in callers.answers.values() for status in answers} == {200}


def test_a_holder_that_is_killed_costs_the_others_nothing(app, until):
    victim, other = app("victim"), app("other")
    (pid,) = victim.replicas()
    with Callers(victim, other, each=2) as callers:
        until(lambda: callers.answers["victim"], "it has had leases")
        os.kill(pid, signal.SIGKILL)
        done = len(callers.answers["other"])
        until(lambda: len(callers.answers["other"]) > done + 10, "the other goes on")
        until(lambda: victim.replicas() not in ([], [pid]), "another replica serves")
        done = len(callers.answers["victim"])
        until(lambda: len(callers.answers["victim"]) > done + 4, "its calls are answered again")

    assert {status for answers in callers.answers.values() for status in answers} == {200}
    until(lambda: len(device(other)["members"]) == 2, "the books hold the new replica alone")
    until(
        lambda: (device(other)["free_sms"], device(other)["free_memory"]) == (80, 14 << 30), "nothing leaks"
    )


def test_without_an_arbiter_nobody_runs_and_with_the_next_one_all_go_on(app, arbiters, until):
    served = [app("first"), app("second")]
    epoch = device(served[0])["epoch"]
    with Callers(*served, each=2) as callers:
        until(lambda: all(callers.answers.values()), "both have had leases")
        arbiters.end(signal.SIGKILL)  # some lease is held: four callers keep the card busy
        late = requests.post(
            served[0].url, json={"text": "a"}, headers={"X-Regrain-Deadline-Ms": "4000"}, timeout=60
        )
        done = {name: len(answers) for name, answers in callers.answers.items()}
        arbiters.start()
        until(
            lambda: all(len(callers.answers[name]) > count + 4 for name, count in done.items()), "both go on"
        )

    assert late.status_code == 504
    assert {status for answers in callers.answers.values() for status in answers} == {200}
    until(lambda: device(served[0])["epoch"] > epoch, "the books are of the new arbiter")
    until(lambda: len(device(served[0])["members"]) == 2, "each replica has registered again, once")


def test_two_apps_share_a_gpu_and_their_shares_are_changed_while_they_run(app, arbiters):
    first, second = app("first"), app("second")

    assert [served.call(text="a").text for served in (first, second)] == ["a!", "a!"]
    told = arbiters.run("status").splitlines()
    clients = [line.split() for line in told if "first/work" in line]
    assert len(clients) == 2  # its books, and its client
    client = next(words[0] for words in clients if words[0].isdigit())
    assert arbiters.run("share", client, "--weight", "3") == ""
    assert "3" in [line.split()[3] for line in arbiters.run("status").splitlines() if line.startswith(client)]
    assert "no client 99" in arbiters.run("share", "99", "--weight", "3")


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(("--gpu-shares", "work floor=0.5"), id="a floor"),
        pytest.param(("--replicas", "16"), id="memory"),
    ],
)
def test_what_has_no_room_beside_other_apps_is_refused_naming_who_holds_what(app, attempt, written, flags):
    first = app("first", "--gpu-shares", "work floor=0.6")
    (pid,) = first.replicas()

    second = attempt(*written("second"), *flags)

    assert second.ended() == 2
    assert "the GPUs have no room for work beside what runs" in second.output
    assert "there are left: GPU 0 (v100) 15360 MiB and 0.4 of its SMs" in second.output
    assert f"held: GPU 0: first/work (process {pid}) 1024 MiB and 0.6 of the SMs" in second.output
    assert first.call(text="a").status_code == 200


def test_a_second_arbiter_for_a_gpu_is_refused(arbiters):
    second = subprocess.run(
        [*REGRAIN, "gpu", "serve", "--gpus", "emulated:v100", "--folder", str(arbiters.folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert second.returncode == 1
    assert "another arbiter (process" in second.stderr
