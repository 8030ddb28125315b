"""Groups on other pods: three processes of one app, each with one group."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import requests

from regrain_watchdog.front.remote import wire
from regrain_watchdog.front.remote.assignee import ASSIGN, RELEASE, WHY

STAGES = ("spread", "turn", "total")
SECRET = "a-secret-of-the-pods"
PATIENCE = 60.0


def sums(count):
    return [number * 2.0 * 5000 for number in range(count)]


@pytest.fixture
def pods(attempt, key, until, free_ports):
    """Start pods of the app, which hear each other and have a group each; by default three.

    A pod that waits longer than it may for another one that stands still starts that one's group, too: once more then.
    """

    def begin(homes, app):
        urls = [f"http://127.0.0.1:{port}" for port in free_ports]
        for own, port in zip(homes, free_ports, strict=False):
            elsewhere = {
                stage: [url for url, home in zip(urls, homes, strict=False) if home == stage]
                for stage in STAGES
                if stage != own
            }
            remote = ",".join(f"{stage}={' '.join(where)}" for stage, where in elsewhere.items() if where)
            flags = ["--grain", "spread | turn | total", "--port", str(port), "--remote-key-file", str(key)]
            yield attempt(app, *flags, *(["--remote", remote] if remote else []))

    def start(homes=STAGES, app="relay.py"):
        while True:
            started = list(begin(homes, app))
            ready = [one.ready() for one in started]
            until(lambda ready=ready: all(map(hears, ready)), "each pod hears the others")
            if [staffed(pod) for pod in ready] == [{own} for own in homes]:
                return ready
            for one in started:
                one.destroy()

    return start


def hears(pod):
    """Whether all pods that it knows answer it."""
    return all(peer["answers"] for group in pod.status()["groups"] for peer in group["pods"])


def staffed(pod):
    """The groups that a pod has replicas of."""
    return {group["name"] for group in pod.status()["groups"] if group["replicas"]}


def test_three_pods_with_a_group_each_answer_as_one_does(pods, serve):
    alone = serve("relay.py", "--grain", "coarse")

    three = pods()

    assert [staffed(pod) for pod in three] == [{stage} for stage in STAGES]
    for count in (0, 1, 9):
        expected = alone.call(count=count).json()["sums"]
        assert expected == sums(count)
        assert [pod.call(count=count).json()["sums"] for pod in three] == [expected] * 3
    for pod in three:
        assert pod.stop() == 0, pod.output


def test_many_requests_at_once_are_all_answered_rightly(pods):
    three = pods()

    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda one: three[one % 3].call(count=one % 7), range(150)))

    assert [answer.status_code for answer in told] == [200] * 150
    assert [answer.json()["sums"] for answer in told] == [sums(one % 7) for one in range(150)]
    assert [staffed(pod) for pod in three] == [{stage} for stage in STAGES]


def signed(pod, key, body=b"", *, path=wire.PREFIX, method="GET", version="", epoch=0, **headers):
    secret = key.read_text()
    version = version or requests.get(f"{pod.admin_url}/manifest", timeout=PATIENCE).json()["digest"]
    signature = wire.signature(secret, method, path, body, version=version, epoch=epoch)
    fields = {wire.VERSION: version, wire.EPOCH: str(epoch), wire.SIGNATURE: signature, **headers}
    return requests.request(method, f"{pod.url}{path}", data=body, headers=fields, timeout=PATIENCE)


def test_what_is_not_signed_or_of_another_version_is_refused(serve, key):
    pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key))

    assert signed(pod, key).status_code == 200
    assert signed(pod, key, **{wire.SIGNATURE: "0" * 64}).status_code == 401
    assert signed(pod, key, **{wire.EPOCH: "1"}).status_code == 401
    assert requests.get(f"{pod.url}{wire.PREFIX}", timeout=PATIENCE).status_code == 401
    other = signed(pod, key, version="another")
    assert other.status_code == 409
    assert "another" in other.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff\xff\xff\xffgarbage", 400),
        (b"\x01\x00\x00\x00\xc1", 400),
        (wire.Loading(None).sealed(wire.Ask("no grain at all", "turn", [])), 400),
        (wire.Loading(None).sealed(wire.Ask("spread | turn | total", "nothing", [])), 409),
        (wire.Loading(None).sealed(wire.Ask("spread | turn | total", "turn", [])), 200),
        (
            wire.Loading(None).sealed(
                wire.Ask("spread | turn | total", "turn", [wire.Guest("a", 0, 0, False, 5, b"\x80", [])])
            ),
            400,
        ),
    ],
)
def test_a_frame_that_is_none_is_refused(serve, key, body, status):
    pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key))

    told = signed(pod, key, body, path=f"{wire.PREFIX}/turn", method="POST")

    assert told.status_code == status, told.text
    assert pod.call(count=2).json()["sums"] == sums(2)


def test_a_pod_that_dies_in_the_middle_of_requests_costs_none_of_them(pods, tmp_path, until):
    front, *others = pods(("spread", "turn", "total"))
    gate = Path(tmp_path, "gate")
    gate.mkdir()
    (gate / "shut").touch()

    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(front.call, count=3, gate=str(gate)) for _ in range(4)]
        until(lambda: len(list(gate.iterdir())) > 1, "the last stage runs")
        others[1].process.kill()
        (gate / "shut").unlink()
        told = [one.result() for one in held]

    assert [answer.status_code for answer in told] == [200] * 4, [answer.text for answer in told]
    assert {answer.json()["front"] for answer in told}.isdisjoint({others[1].process.pid})
    assert staffed(front) == {"spread", "total"}
    assert front.call(count=4).json()["sums"] == sums(4)


def test_what_another_pod_can_run_is_not_run_here(pods, tmp_path, until):
    front, _, one, other = pods(("spread", "turn", "total", "total"))
    gate = Path(tmp_path, "gate")
    gate.mkdir()
    (gate / "shut").touch()

    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(front.call, count=3, gate=str(gate)) for _ in range(6)]
        until(lambda: len(list(gate.iterdir())) > 2, "the last stage runs on both pods")
        other.process.kill()
        (gate / "shut").unlink()
        told = [answer.result() for answer in held]

    assert [answer.status_code for answer in told] == [200] * 6, [answer.text for answer in told]
    assert staffed(front) == {"spread"}
    assert staffed(one) == {"total"}


def test_a_pod_of_another_version_gets_nothing(pods, tmp_path, serve, key):
    app = Path(__file__).parent / "apps" / "relay.py"
    changed = tmp_path / "relay.py"
    changed.write_text(app.read_text().replace("item[::-1] * 2", "item[::-1] * 3"))
    other = serve(changed, "--grain", "fine", "--remote-key-file", str(key))

    pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key), "--remote", f"turn={other.url}")

    assert staffed(pod) == set(STAGES)
    assert pod.call(count=3).json()["sums"] == sums(3)


def test_what_a_pod_has_not_loaded_is_run_here(serve, key):
    other = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key))
    remote = f"turn={other.url},total={other.url}"
    pod = serve(
        "relay.py", "--grain", "spread | turn+total", "--remote-key-file", str(key), "--remote", remote
    )

    assert staffed(pod) == {"spread", "turn+total"}
    pod.said("does not run turn\\+total for us: 409 .*loaded")
    assert [pod.call(count=3).json()["sums"] for _ in range(20)] == [sums(3)] * 20
    assert len(other.replicas()) == 3


@pytest.mark.parametrize("grain", ["spread+turn+total", "spread+turn | total"])
def test_a_pod_of_another_grain_runs_any_group(serve, key, grain, until):
    other = serve("relay.py", "--grain", grain, "--remote-key-file", str(key))
    remote = f"turn={other.url},total={other.url}"
    pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key), "--remote", remote)
    before = other.replicas()

    for count in (1, 5):
        told = pod.call(count=count).json()
        assert (told["sums"], told["front"]) == (sums(count), other.zygote())

    assert staffed(pod) == {"spread"}
    assert other.replicas() == before
    assert other.call(count=2).json()["sums"] == sums(2)


def test_a_change_of_grain_by_hand_keeps_to_the_pods(serve, key, run_cli):
    other = serve("relay.py", "--grain", "coarse", "--remote-key-file", str(key))
    remote = f"turn={other.url},total={other.url}"
    pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key), "--remote", remote)

    done = run_cli("grain", "set", "spread | turn+total", "--url", pod.admin_url)

    assert done.returncode == 0, done.stderr
    assert staffed(pod) == {"spread"}
    assert pod.call(count=4).json()["sums"] == sums(4)


def test_what_may_not_run_twice_is_not_tried_again(pods, tmp_path, until):
    app = Path(__file__).parent / "apps" / "relay.py"
    once = tmp_path / "relay.py"
    text = app.read_text()
    assert text.count("@app.stage()\ndef total") == 1
    once.write_text(text.replace("@app.stage()\ndef total", "@app.stage(idempotent=False)\ndef total"))
    front, _, one, other = pods(("spread", "turn", "total", "total"), app=once)
    gate = Path(tmp_path, "gate")
    gate.mkdir()
    (gate / "shut").touch()

    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(front.call, count=3, gate=str(gate)) for _ in range(2)]
        until(lambda: len(list(gate.iterdir())) > 2, "the last stage runs on both pods")
        other.process.kill()
        (gate / "shut").unlink()
        told = [answer.result() for answer in held]

    assert sorted(answer.status_code for answer in told) == [200, 502], [answer.text for answer in told]
    (lost,) = [answer for answer in told if answer.status_code == 502]
    assert "may not run twice" in lost.json()["detail"]
    assert staffed(one) == {"total"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--remote", "turn=http://127.0.0.1:1"], "--remote-key-file"),
        (["--remote", "nothing=http://127.0.0.1:1"], "'nothing'"),
        (["--remote", "turn=ftp://127.0.0.1"], "http://HOST:PORT"),
        (["--remote", "turn"], "names no pod"),
    ],
)
def test_settings_that_make_no_sense_are_refused(attempt, key, flags, said):
    keyed = [] if said == "--remote-key-file" else ["--remote-key-file", str(key)]

    served = attempt("relay.py", *flags, *keyed)

    assert served.ended() == 2
    assert said in " ".join(served.output.split())


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


def assigned(pod, key):
    return signed(pod, key, path=ASSIGN).json()


def epoch_of(pods, key, grain="spread | turn | total"):
    """The epoch that all pods have in force, of a grain and one version, all before it being over; else 0."""
    told = ("epoch", "oldest", "grain", "version", "ending")
    found = {tuple(one[name] for name in told) for one in (assigned(pod, key) for pod in pods)}
    (epoch, oldest, in_force, _, ending), *others = found
    return epoch if (epoch, grain, 0) == (oldest, in_force, ending) and not others else 0


class Callers:
    """Ask pods in turn until told to end; `wrong` keeps what was not as it should be."""

    def __init__(self, pods, count=4):
        self.pods, self.wrong, self.right, self._end = pods, [], 0, False
        self._threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(count)]

    def _ask(self, turn):
        while not self._end:
            answer = self.pods[turn % len(self.pods)].call(count=turn % 5)
            if answer.status_code != 200 or answer.json()["sums"] != sums(turn % 5):
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
def module(tmp_path):
    """A copy of the app that a test may change."""
    copy = tmp_path / "relay.py"
    copy.write_text((Path(__file__).parent / "apps" / "relay.py").read_text())
    return copy


def test_an_update_does_not_wait_for_a_pod_that_answers_late_and_has_another_version(
    pods, module, run_cli, until
):
    """Its sample is on the way already when the group starts here."""
    front, late, _ = pods(app=module)
    module.write_text(module.read_text().replace("* 2", "* 3"))
    late.process.send_signal(signal.SIGSTOP)

    with ThreadPoolExecutor(1) as pool:
        updating = pool.submit(run_cli, "update", "--url", front.admin_url)
        until(lambda: front.status()["transitions"], "the update begins")
        until(lambda: front.status()["transitions"][0]["state"] != "loading", "the sample is on its way")
        late.process.send_signal(signal.SIGCONT)
        done = updating.result()

    assert done.returncode == 0, done.stderr
    assert front.call(count=3).json()["sums"] == [total * 1.5 for total in sums(3)]


@pytest.fixture
def three(attempt, key, module):
    started = [attempt(module, "--grain", "coarse", "--remote-key-file", str(key)) for _ in range(3)]
    return [pod.ready() for pod in started]


def test_a_controller_spreads_groups_over_pods_and_changes_the_grain_without_a_failure(
    three, control, key, until
):
    control(three, "spread | turn | total")
    first = until(lambda: epoch_of(three, key), "an epoch is in force", PATIENCE)
    until(lambda: sorted(len(staffed(pod)) for pod in three) == [1, 1, 1], "each has one group", PATIENCE)

    grains = ("spread+turn | total", "spread | turn+total", "spread | turn | total")
    with Callers(three) as callers:
        for after, grain in enumerate(grains, first):
            control.wish(grain)
            in_force = partial(epoch_of, three, key, grain)
            until(lambda after=after, epoch=in_force: epoch() > after, f"{grain} is in force", PATIENCE)
            enough = callers.right + 20
            until(lambda enough=enough: callers.right > enough, "it serves on", PATIENCE)

    assert callers.wrong == []


def test_pods_serve_on_without_their_controller_and_the_next_one_begins_where_they_are(
    three, control, key, until
):
    killed = control(three, "spread | turn | total")
    until(lambda: epoch_of(three, key), "an epoch is in force", PATIENCE)

    killed.kill()
    killed.wait(PATIENCE)
    first = until(lambda: epoch_of(three, key), "what it told last is in force", PATIENCE)
    with Callers(three) as callers:
        until(lambda: callers.right > 20, "they serve on", PATIENCE)
        assert epoch_of(three, key) == first
        control(three, "spread+turn | total")
        grain = "spread+turn | total"
        until(lambda: epoch_of(three, key, grain) > first, "another epoch is in force", PATIENCE)

    assert callers.wrong == []
    assert {one["by"] for pod in three for one in pod.status()["transitions"]} == {"controller of the pods"}


def test_a_pod_that_ends_gives_its_groups_to_those_that_stay(three, control, key, until):
    control(three, "spread | turn | total")
    first = until(lambda: epoch_of(three, key), "an epoch is in force", PATIENCE)

    gone, *others = three
    gone.process.kill()
    with Callers(others) as callers:
        until(lambda: epoch_of(others, key) > first, "the others have all groups", PATIENCE)

    assert callers.wrong == []


def test_a_stale_assignment_is_refused(three, control, key, until):
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


def test_no_request_crosses_versions_while_pods_are_updated_one_after_the_other(
    three, module, control, run_cli, until
):
    key = module.with_name("secret")
    text = module.read_text()
    control(three, "spread | turn | total")
    until(lambda: epoch_of(three, key), "an epoch is in force", PATIENCE)
    module.write_text(text.replace("float(number)", "float(number + 100)").replace("* 2", "* 3"))
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
