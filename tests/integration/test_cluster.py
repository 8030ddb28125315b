"""`regrain controller --adapt`: the plan of all pods together follows their load."""

import functools
import json
import os
import subprocess
import sys
import threading

import pytest
import requests

from regrain_watchdog.front.remote import wire
from regrain_watchdog.front.remote.assignee import ASSIGN, WATCH

pytestmark = pytest.mark.timeout(500)  # a decision takes ten seconds of load, and some tests wait for two
PATIENCE = 120.0
SECRET = "a-secret-of-the-pods"


@pytest.fixture
def three(attempt, key):
    """Pods of one core each."""
    flags = ("--grain", "fine", "--cores", "1", "--remote-key-file", str(key))
    return [pod.ready() for pod in [attempt("busy.py", *flags) for _ in range(3)]]


@pytest.fixture
def control(key, tmp_path):
    """Run a controller that adapts pods' plan; it writes down what it decides."""
    running = []

    def start(pods):
        where = [text for pod in pods for text in ("--pods", pod.url)]
        how = ["--adapt", "--adapt-period", "1s", "--predictor", "analytic", "--grain", "fine"]
        log = tmp_path / f"decisions{len(running)}"
        flags = [*where, "--remote-key-file", str(key), *how, "--decision-log", str(log)]
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "regrain_watchdog.cli", "controller", *flags],
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdout=subprocess.DEVNULL,
            )
        )
        return running[-1], log

    yield start
    for one in running:
        one.kill()
        one.wait(PATIENCE)


@functools.cache
def version_of(admin_url):
    return requests.get(f"{admin_url}/manifest", timeout=PATIENCE).json()["digest"]


def signed(pod, path):
    version = version_of(pod.admin_url)
    signature = wire.signature(SECRET, "GET", path, b"", version=version, epoch=0)
    fields = {wire.VERSION: version, wire.EPOCH: "0", wire.SIGNATURE: signature}
    return requests.get(f"{pod.url}{path}", headers=fields, timeout=PATIENCE)


def in_force(pods):
    """The assignment that all pods have in force; None while they differ, or have none."""
    found = [signed(pod, ASSIGN).json()["assignment"] for pod in pods]
    return found[0] if all(one == found[0] for one in found) else None


def doublers(pods):
    """How many pods have the stage that takes longest, by what was decided; 0 before anything was."""
    given = in_force(pods)
    if given is None or not given["groups"]:
        return 0
    return max(len(homes) for group, homes in given["homes"].items() if "double" in group.split("+"))


def decisions(log):
    """What a controller has written down so far."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    logged = [json.loads(line) for line in lines if line.endswith("\n")]
    return [one["decision"] for one in logged if one["kind"] == "decision"]


def explained(pod):
    return requests.get(f"{pod.admin_url}/why", timeout=PATIENCE).json()


class Callers:
    """Callers that ask pods in turn, each one request after the other."""

    def __init__(self, pods, count):
        self.statuses, self.wrong = {}, []
        self._pods, self._end = pods, threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(turn,)) for turn in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _call(self, turn):
        with requests.Session() as session:
            while not self._end.is_set():
                turn += 1
                url = self._pods[turn % len(self._pods)].url
                answer = session.post(url, json={"items": [1, 2, 3]}, timeout=PATIENCE)
                self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
                if answer.status_code == 200 and answer.json() != 12:
                    self.wrong.append(answer.text)


def test_a_load_that_rises_gets_another_assignment_and_no_request_fails(three, control, until):
    _, log = control(three)
    first = until(lambda: in_force(three), "an assignment is in force", PATIENCE)
    assert [sorted(first["homes"]), first["groups"]] == [["add", "double", "spread"], []]
    assert sorted(len(homes) for homes in first["homes"].values()) == [1, 1, 1]

    with Callers(three, 8) as callers:
        until(lambda: doublers(three) > 1, "what takes longest is on more pods", PATIENCE)

    assert set(callers.statuses) <= {200, 503, 504}  # what cannot be in time is refused, as in one pod
    assert callers.statuses[200] > 0
    assert not callers.wrong
    taken = [one for one in decisions(log) if one["plan"]]
    assert taken
    assert all(one["sentence"] for one in taken)


def test_each_pod_tells_why_the_plan_of_all_of_them_rules(three, control, run_cli, until):
    assert "nobody but operators" in run_cli("status", "--why", "--url", three[0].admin_url).stderr
    _, log = control(three)
    with Callers(three, 2):
        until(lambda: [one for one in decisions(log) if one["candidates"]], "something is decided", PATIENCE)

        for pod in three:
            until(
                lambda pod=pod: explained(pod).get("decision") in decisions(log), "it knows of one", PATIENCE
            )
            told = run_cli("status", "--why", "--url", pod.admin_url)
            assert told.returncode == 0, told.stderr
            assert "in force" in told.stdout
            assert pod.status()["adapting"]["number"] > 0
            assert pod.metric("regrain_adapting") == 1.0


def test_the_next_controller_goes_on_from_what_was_decided_last(three, control, until):
    killed, _ = control(three)
    until(lambda: in_force(three), "an assignment is in force", PATIENCE)
    with Callers(three, 8) as callers:
        until(lambda: doublers(three) > 1, "what takes longest is on more pods", PATIENCE)
        killed.kill()
        killed.wait(PATIENCE)
        served = callers.statuses[200]
        until(lambda: callers.statuses[200] > served + 20, "pods serve on", PATIENCE)
        _, log = control(three)
        found = []

        def decides():
            found.append(signed(three[0], ASSIGN).json()["assignment"]["groups"])
            return decisions(log)

        until(decides, "the next one decides, too", PATIENCE)

    assert all(found)  # a grain alone, as at first, has none
    assert set(callers.statuses) <= {200, 503, 504}
    assert not callers.wrong


def test_a_pod_that_adapts_itself_says_so(attempt, key):
    pod = attempt("busy.py", "--adapt", "--remote-key-file", str(key)).ready()

    told = signed(pod, WATCH)

    assert told.status_code == 409
    assert "--adapt" in told.json()["detail"]
