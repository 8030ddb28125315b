"""Pods that a controller tells which groups to run: grains, versions and pods change, and no request fails."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from regrain_watchdog.front.remote.assignee import ASSIGN, RELEASE, WHY

SECRET = "a-secret-of-the-pods"
PATIENCE = 60.0


@pytest.fixture
def control(key, tmp_path):
    """Run a controller for pods; it follows the file that `plan` writes."""
    plan = tmp_path / "plan.toml"
    running = []

    def start(pods, grain):
        wish(grain)
        where = [text for pod in pods for text in ("--pods", pod.url)]
        flags = [*where, "--remote-key-file", str(key), "--plan", str(plan)]
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "regrain_watchdog.cli", "controller", *flags],
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdout=subprocess.DEVNULL,
            )
        )
        return running[-1]

    def wish(grain):
        fresh = tmp_path / "plan.new"
        fresh.write_text(f'grain = "{grain}"\n')
        fresh.rename(plan)

    start.wish = wish
    yield start
    for one in running:
        one.kill()
        one.wait(PATIENCE)


@pytest.fixture(scope="module")
def assigned(signed):
    return lambda pod, key: signed(pod, key, path=ASSIGN).json()


@pytest.fixture(scope="module")
def epoch_of(assigned):
    """The epoch that all pods have in force, of a grain and one version, all before it being over; else 0."""

    def of(pods, key, grain="spread | turn | total"):
        told = ("epoch", "oldest", "grain", "version", "ending")
        found = {tuple(one[name] for name in told) for one in (assigned(pod, key) for pod in pods)}
        (epoch, oldest, in_force, _, ending), *others = found
        return epoch if (epoch, grain, 0) == (oldest, in_force, ending) and not others else 0

    return of


class Callers:
    """Ask pods in turn until told to end; `wrong` keeps what was not as it should be."""

    def __init__(self, pods, sums, count=4):
        self.pods, self.sums, self.wrong, self.right, self._end = pods, sums, [], 0, False
        self._threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(count)]

    def _ask(self, turn):
        while not self._end:
            answer = self.pods[turn % len(self.pods)].call(count=turn % 5)
            if answer.status_code != 200 or answer.json()["sums"] != self.sums(turn % 5):
                self.wrong.append((answer.status_code, answer.text))
            self.right += 1
            turn += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end = True
        for thread in self._threads:
            thread.join(PATIENCE)


@pytest.fixture
def three(attempt, key, relay):
    started = [attempt(relay, "--grain", "coarse", "--remote-key-file", str(key)) for _ in range(3)]
    return [pod.ready() for pod in started]


def test_a_controller_spreads_groups_over_pods_and_changes_the_grain_without_a_failure(
    three, control, key, until, *, sums, staffed, epoch_of
):
    control(three, "spread | turn | total")
    first = until(lambda: epoch_of(three, key), "an epoch is in force", PATIENCE)
    until(lambda: sorted(len(staffed(pod)) for pod in three) == [1, 1, 1], "each has one group", PATIENCE)

    grains = ("spread+turn | total", "spread | turn+total", "spread | turn | total")
    with Callers(three, sums) as callers:
        for after, grain in enumerate(grains, first):
            control.wish(grain)
            in_force = partial(epoch_of, three, key, grain)
            until(lambda after=after, epoch=in_force: epoch() > after, f"{grain} is in force", PATIENCE)
            enough = callers.right + 20
            until(lambda enough=enough: callers.right > enough, "it serves on", PATIENCE)

    assert callers.wrong == []


def test_pods_serve_on_without_their_controller_and_the_next_one_begins_where_they_are(
    three, control, key, until, *, sums, epoch_of
):
    killed = control(three, "spread | turn | total")
    until(lambda: epoch_of(three, key), "an epoch is in force", PATIENCE)

    killed.kill()
    killed.wait(PATIENCE)
    first = until(lambda: epoch_of(three, key), "what it told last is in force", PATIENCE)
    with Callers(three, sums) as callers:
        until(lambda: callers.right > 20, "they serve on", PATIENCE)
        assert epoch_of(three, key) == first
        control(three, "spread+turn | total")
        grain = "spread+turn | total"
        until(lambda: epoch_of(three, key, grain) > first, "another epoch is in force", PATIENCE)

    assert callers.wrong == []
    assert {one["by"] for pod in three for one in pod.status()["transitions"]} == {"controller of the pods"}


def test_a_pod_that_ends_gives_its_groups_to_those_that_stay(three, control, key, until, *, sums, epoch_of):
    control(three, "spread | turn | total")
    first = until(lambda: epoch_of(three, key), "an epoch is in force", PATIENCE)

    gone, *others = three
    gone.process.kill()
    with Callers(others, sums) as callers:
        until(lambda: epoch_of(others, key) > first, "the others have all groups", PATIENCE)

    assert callers.wrong == []


def test_a_stale_assignment_is_refused(three, control, key, until, *, sums, signed, assigned, epoch_of):
    controller = control(three, "spread | turn | total")
    until(lambda: epoch_of(three, key), "an epoch is in force", PATIENCE)
    controller.send_signal(signal.SIGTERM)
    assert controller.wait(PATIENCE) == 0
    first = until(lambda: epoch_of(three, key), "what it told last is in force", PATIENCE)
    pod = three[0]
    version = assigned(pod, key)["version"]
    wanted = {
        "version": version,
        "grain": "coarse",
        "homes": {"spread+turn+total": [pod.url]},
        "replicas": {},
    }

    def assign(epoch, **changed):
        body = json.dumps({"assignment": {**wanted, "epoch": epoch, **changed}, "pod": pod.url}).encode()
        return signed(pod, key, body, path=ASSIGN, method="POST")

    stale = assign(first - 1)
    assert (stale.status_code, "is over" in stale.json()["detail"]) == (409, True)
    assert assign(first + 1, version="another").status_code == 409
    assert assign(first + 1, grain="no | grain").status_code == 400
    assert assign("x").status_code == 400
    assert signed(pod, key, b'{"decision": 1}', path=WHY, method="POST").status_code == 400
    assert assigned(pod, key)["epoch"] == first

    assert assign(first + 1, grain="spread+turn+total").status_code == 200
    assert assigned(pod, key)["epoch"] == first + 1
    body = json.dumps({"epoch": first + 1}).encode()
    assert signed(pod, key, body, path=RELEASE, method="POST").json()["oldest"] == first + 1
    assert signed(pod, key, epoch=first).status_code == 409
    assert pod.call(count=3).json()["sums"] == sums(3)


def test_a_grain_is_not_held_in_a_pod_that_a_controller_assigns_its_groups(
    serve, key, run_cli, signed, assigned
):
    pod = serve("relay.py", "--grain", "coarse", "--remote-key-file", str(key))
    where = ("--url", pod.admin_url)
    wanted = {"version": assigned(pod, key)["version"], "replicas": {}}

    def assign(epoch, *groups):
        homes = {group: [pod.url] for group in groups}
        told = {**wanted, "epoch": epoch, "grain": " | ".join(groups), "homes": homes}
        body = json.dumps({"assignment": told, "pod": pod.url}).encode()
        return signed(pod, key, body, path=ASSIGN, method="POST")

    before = run_cli("grain", "set", "fine", "--hold", *where)
    shown = run_cli("grain", "show", *where)
    taken = assign(1, "spread", "turn+total")
    signed(pod, key, b'{"epoch": 1}', path=RELEASE, method="POST")
    refused = run_cli("grain", "set", "coarse", "--hold", *where)
    kept = run_cli("grain", "show", *where)
    by_hand = run_cli("grain", "set", "coarse", *where)
    auto = run_cli("grain", "auto", *where)

    assert (before.returncode, shown.stdout.splitlines()[0]) == (0, "spread | turn | total, held")
    assert taken.status_code == 200
    assert (refused.returncode, "hold a plan there, by --plan" in refused.stderr) == (1, True)
    assert kept.stdout.splitlines()[0] == "spread | turn+total"
    assert (by_hand.returncode, by_hand.stderr.count("note: a controller assigns this pod")) == (0, 1)
    assert auto.stdout == "the controller chooses the grain again\n"
    assert assign(2, "spread+turn", "total").status_code == 200


def test_no_request_crosses_versions_while_pods_are_updated_one_after_the_other(
    three, relay, control, run_cli, until, *, sums, epoch_of
):
    key = relay.with_name("secret")
    text = relay.read_text()
    control(three, "spread | turn | total")
    until(lambda: epoch_of(three, key), "an epoch is in force", PATIENCE)
    relay.write_text(text.replace("float(number)", "float(number + 100)").replace("* 2", "* 3"))
    new = [(number + 100) * 3.0 * 5000 for number in range(9)]
    wrong, versions, stop = [], set(), threading.Event()

    def ask(turn):
        while not stop.is_set():
            answer, count = three[turn % 3].call(count=turn % 5 + 1), turn % 5 + 1
            if answer.status_code != 200 or answer.json()["sums"] not in (sums(count), new[:count]):
                wrong.append((answer.status_code, answer.text))
            else:
                versions.add(answer.json()["sums"] == new[:count])
            turn += 1

    def updated(pod):
        done = run_cli("update", "--url", pod.admin_url)
        assert done.returncode == 0 or "wait for it to end" in done.stderr, done.stderr
        return done.returncode == 0

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, turn) for turn in range(4)]
        try:
            until(lambda: wrong or versions == {False}, "the old version answers", PATIENCE)
            for pod in three:  # one that does as the controller says is asked again
                until(lambda pod=pod: updated(pod), "it has the new version", PATIENCE)
            until(lambda: epoch_of(three, key), "an epoch of the new version is in force", PATIENCE)
            until(lambda: wrong or True in versions, "the new version answers", PATIENCE)
        finally:
            stop.set()
        for one in asking:
            one.result()

    assert wrong == []
    assert versions == {False, True}
    assert [pod.call(count=3).json()["sums"] for pod in three] == [new[:3]] * 3
