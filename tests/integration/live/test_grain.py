"""An app whose plan changes under load: no request fails, none is answered wrongly, nothing is left behind."""

import contextlib
import importlib.util
import json
import os
import random
import signal
import socket
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import psutil
import pytest

from regrain import GrpcClient
from regrain_watchdog.cli.course import Course
from regrain_watchdog.cli.loading import look
from regrain_watchdog.load.client import Target
from regrain_watchdog.load.spend import Meter
from regrain_watchdog.policy.cost import HOUR, Prices

APPS = Path(__file__).parents[1] / "apps"
PATIENCE = 60.0
"""Seconds that a caller waits for an answer."""
GRAINS = {
    "fine": "cut | turn | read | total | join",
    "coarse": "cut+turn+read+total+join",
    "middle": "cut | turn+read | total+join",
}


def widths(seed, count):
    spec = importlib.util.spec_from_file_location("live_widths", APPS / "widths.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return json.loads(json.dumps(module.page(seed, count)))


@pytest.fixture(scope="module")
def regrain(operate):
    return lambda served, grain, replicas="": operate(served, "/grain", grain=grain, replicas=replicas)


def descriptors(served):
    """How many descriptors of shared memory and processes the front holds."""
    links = []
    for path in Path(f"/proc/{served.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(path.readlink()))
    return sum("memfd:" in link or "pidfd" in link for link in links)


def kinds_of_requests(served, client):
    """Ask good and bad things; return what was answered otherwise than it should be."""
    wanted = {pair: widths(*pair) for pair in [(1, 0), (2, 1), (3, 7), (4, 30)]}

    def ask(session, rng):
        kind = rng.random()
        if kind > 0.8:
            answer = client.invoke(seed=3, count=7)
            return "" if answer == wanted[3, 7] else "wrong answer over gRPC"
        if kind < 0.1:
            response = session.post(served.url, json={"seed": 1, "wrong": 2}, timeout=PATIENCE)
            return "" if response.status_code == 400 else f"{response.status_code} for a bad request"
        if kind < 0.2:
            ready = session.get(f"{served.url}/_/ready", timeout=PATIENCE)
            return "" if ready.status_code == 200 else f"not ready: {ready.text}"
        seed, count = rng.choice(list(wanted))
        options = {"json": {"seed": seed, "count": count}}
        if kind < 0.4:
            options = {"files": {"seed": (None, str(seed)), "count": (None, str(count))}}
        response = session.post(served.url, timeout=PATIENCE, **options)
        if response.status_code != 200:
            return response.text
        return "" if response.json() == wanted[seed, count] else f"wrong answer for {seed, count}"

    return ask


def test_twenty_changes_of_grain_under_load_fail_no_request(
    serve, until, *, asking, regrain, settled, grpc_address
):
    served = serve("widths.py", "--grain", "fine")
    grains = [list(GRAINS)[place % 3] for place in range(1, 21)]
    spelled = {"middle": GRAINS["middle"]}

    address = grpc_address(served)
    with GrpcClient(address, timeout=PATIENCE) as client, asking(kinds_of_requests(served, client)) as load:
        for grain in grains:
            changed = regrain(served, spelled.get(grain, grain))
            assert changed.status_code == 200, changed.text
            assert served.status()["grain"] == GRAINS[grain]
            until(lambda: settled(served), "the old plan has ended")
        until(lambda: load.answered > 500, "a load worth the name", patience=60)

    assert load.wrong == []
    assert [one["state"] for one in served.status()["transitions"]] == ["done"] * 20
    until(
        lambda: len(served.processes()) == 2 + GRAINS[grains[-1]].count("|") + 1, "the last grain's replicas"
    )


def test_a_plan_that_has_ended_leaves_no_descriptor_and_no_process(serve, until, regrain, settled):
    served = serve("widths.py")

    def held():
        assert served.call(seed=4, count=30).status_code == 200
        return descriptors(served), len(served.processes())

    counts = []
    for _ in range(3):
        for grain in ("fine", "coarse"):
            assert regrain(served, grain).status_code == 200
            until(lambda: settled(served), "the old plan has ended")
        until(lambda: len(served.processes()) == 3, "a front, a zygote and a replica")
        counts.append(held())

    assert counts[0] == counts[1] == counts[2]


def test_a_change_while_replicas_are_killed_fails_no_request(serve, until, asking, regrain, settled):
    served = serve("widths.py", "--grain", "fine", "--replicas", "2")
    rng = random.Random(3)

    def ask(session, _):
        response = session.post(served.url, json={"seed": 3, "count": 7}, timeout=PATIENCE)
        return "" if response.status_code == 200 else response.text

    with asking(ask, callers=2) as load:
        for grain in ("coarse", "fine", "coarse"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(until(served.replicas, "a replica serves")), signal.SIGKILL)
            changed = regrain(served, grain)
            assert changed.status_code == 200, changed.text
            until(lambda: settled(served), "the old plan has ended")

    assert load.wrong == []
    assert served.call(seed=3, count=7).json() == widths(3, 7)


@pytest.mark.parametrize(
    ("path", "wanted", "said"),
    [
        pytest.param("/grain", {"grain": "cut+join | turn"}, "read, total left out", id="left out"),
        pytest.param("/grain", {"grain": "cat | dog"}, "there is no stage 'cat'", id="unknown stage"),
        pytest.param(
            "/grain", {"grain": "cut+join | turn+read+total"}, "left and entered again", id="illegal"
        ),
        pytest.param("/grain", {"grain": "fine", "replicas": "cut=0"}, "replicas must be 1 to", id="none"),
        pytest.param("/grain", {"grian": "fine"}, "grian", id="unknown field"),
        pytest.param("/scale", {"group": "cut", "replicas": 0}, "1 to 256 replicas, 0 were", id="to 0"),
        pytest.param("/scale", {"group": "cut", "replicas": 257}, "257 were asked for", id="above"),
        pytest.param("/scale", {"group": "cat", "replicas": 1}, "no group or stage 'cat'", id="no group"),
        pytest.param("/rollback", {}, "no earlier version", id="nothing to go back to"),
        pytest.param("/resident", {"stages": "cat"}, "stages with commas between: cut, ", id="keep no stage"),
        pytest.param("/resident", {}, "stages", id="keep what"),
        pytest.param("/auto", {"grain": "fine"}, "grain", id="auto takes nothing"),
    ],
)
def test_what_is_none_of_the_app_s_is_refused(standing, path, wanted, said, operate):
    answer = operate(standing, path, **wanted)

    assert answer.status_code == 400
    assert said in answer.json()["detail"]
    assert standing.status()["transitions"] == []


@pytest.fixture(scope="module")
def standing(module_serve):
    return module_serve("widths.py")


def test_scaling_a_group_leaves_the_others_and_lasts_over_an_update(serve, until, operate, settled):
    served = serve("widths.py", "--grain", "fine", "--replicas", "turn=2")

    assert operate(served, "/scale", group="read", replicas=3).status_code == 200
    until(lambda: settled(served), "the old plan has ended")
    assert operate(served, "/update").status_code == 200

    counts = {group["name"]: len(group["replicas"]) for group in served.status()["groups"]}
    assert counts == {"cut": 1, "turn": 2, "read": 3, "total": 1, "join": 1}
    until(lambda: settled(served), "the old plan has ended")


FRAGILE = """
from pathlib import Path

from regrain import App

app = App("fragile", sample={"text": "a"})
MODEL = Path(__file__).parent / "model"


@app.stage()
class first:
    def __init__(self):
        self.model = MODEL.read_text()

    def __call__(self, text: str) -> str:
        if self.model == "bad":
            raise ValueError("the model is bad")
        return text + self.model


@app.stage(MEMORY)
def second(text: str) -> str:
    return text + "!"


@app.flow
def flow(text: str) -> str:
    return second(first(text))
"""


@pytest.fixture
def gated(serve, tmp_path):
    """An app whose next replica loads for as long as nothing is written to its model."""
    (tmp_path / "app.py").write_text(FRAGILE.replace("MEMORY", ""))
    (tmp_path / "model").write_text("good")
    served = serve(tmp_path / "app.py", "--grain", "fine")
    (tmp_path / "model").unlink()
    os.mkfifo(tmp_path / "model")
    return served


def test_of_two_changes_at_once_the_second_is_refused(gated, until, tmp_path, regrain, settled):
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(regrain, gated, "coarse") for _ in range(2)]
        refused = next(as_completed(asked, PATIENCE)).result()
        (tmp_path / "model").write_text("new")

    assert refused.status_code == 409
    assert "another change is under way" in refused.json()["detail"]
    assert sorted(answer.result().status_code for answer in asked) == [200, 409]
    until(lambda: settled(gated), "the old plan has ended")


def test_who_asked_for_a_change_may_go_before_it_is_in_force(gated, until, tmp_path, settled):
    host = gated.admin_url.removeprefix("http://")
    head = f"POST /grain HTTP/1.1\r\nHost: {host}\r\nContent-Length: 19\r\n\r\n"
    with socket.create_connection(host.split(":"), PATIENCE) as who:
        who.sendall(head.encode() + b'{"grain": "coarse"}')
        until(lambda: gated.status()["transitions"], "the change is under way")
    assert gated.status()["grain"] == "first | second"

    (tmp_path / "model").write_text("new")

    until(lambda: gated.status()["grain"] == "first+second", "the change is in force")
    until(lambda: settled(gated), "the old plan has ended")


def test_what_a_plan_reserves_while_it_loads_is_paid_for_beside_the_old_one(
    gated, until, tmp_path, settled, *, regrain
):
    meter = Meter(Prices(core=HOUR, memory=0.0), None, None)
    asked = Course("fragile", Target.of(gated.url), gated.admin_url, [], [], None, meter)
    with ThreadPoolExecutor(1) as pool:
        look(asked, 0.0)
        change = pool.submit(regrain, gated, "coarse")
        until(
            lambda: [one for one in gated.status()["beside"] if one["replicas"]],
            "a replica of the new plan loads",
        )
        look(asked, 0.0)
        (tmp_path / "model").write_text("new")
        assert change.result().status_code == 200
    until(lambda: settled(gated), "the old plan has ended")
    look(asked, 0.0)

    assert gated.status()["beside"] == []
    assert meter.rates == [pytest.approx(2.0), pytest.approx(3.0), pytest.approx(1.0)]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        pytest.param(None, "No such file", id="a model that vanished"),
        pytest.param("bad", "the app's own sample failed", id="a sample that fails"),
    ],
)
def test_a_plan_that_does_not_become_ready_leaves_the_old_one_serving(
    serve, until, tmp_path, model, said, *, regrain
):
    (tmp_path / "app.py").write_text(FRAGILE.replace("MEMORY", ""))
    (tmp_path / "model").write_text("good")
    served = serve(tmp_path / "app.py", "--grain", "fine")
    (tmp_path / "model").unlink()
    if model:
        (tmp_path / "model").write_text(model)

    refused = regrain(served, "coarse")

    assert refused.status_code == 409
    assert "the old plan stays: " in refused.json()["detail"]
    assert said in refused.json()["detail"]
    assert served.status()["grain"] == "first | second"
    assert served.call(text="a").text == "agood!"
    (change,) = served.status()["transitions"]
    assert (change["state"], change["by"], said in change["detail"]) == ("failed", "operator", True)
    until(lambda: len(served.processes()) == 4, "a front, a zygote and the replicas that there were")
    (tmp_path / "model").write_text("new")
    assert regrain(served, "coarse").status_code == 200
    assert served.call(text="a").text == "anew!"


def test_a_plan_for_which_there_is_no_memory_is_refused_with_both_numbers(serve, tmp_path, regrain):
    free = psutil.virtual_memory().total >> 20
    (tmp_path / "app.py").write_text(FRAGILE.replace("MEMORY", f'memory="{free}Mi"'))
    (tmp_path / "model").write_text("good")
    served = serve(tmp_path / "app.py")

    refused = regrain(served, "fine", "2")

    assert refused.status_code == 409
    assert f"the new one needs {2 * free} MiB, " in refused.json()["detail"]
    assert served.status()["grain"] == "first+second"


def test_the_verbs_change_an_app(serve, until, run_cli, settled):
    served = serve("widths.py")

    done = run_cli("grain", "set", "fine", "--replicas", "turn=2")
    until(lambda: settled(served), "the old plan has ended")
    shown = run_cli("grain", "show")
    scaled = run_cli("scale", "read=2")
    until(lambda: settled(served), "the old plan has ended")
    updated = run_cli("update")
    until(lambda: settled(served), "the old plan has ended")
    back = run_cli("rollback")
    until(lambda: settled(served), "the old plan has ended")
    wrong = run_cli("grain", "set", "cat | dog")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("in force after ")
    assert shown.stdout.splitlines()[0] == GRAINS["fine"]
    assert "done" in shown.stdout
    assert [one.returncode for one in (scaled, updated, back)] == [0, 0, 0]
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "there is no stage 'cat'" in wrong.stderr
    counts = {group["name"]: len(group["replicas"]) for group in served.status()["groups"]}
    assert counts == {"cut": 1, "turn": 2, "read": 2, "total": 1, "join": 1}
