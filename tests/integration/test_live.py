"""An app that changes under load: no request fails, none is answered wrongly, and nothing is left behind."""

import contextlib
import importlib.util
import json
import os
import random
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import psutil
import pytest
import requests

from regrain import GrpcClient

APPS = Path(__file__).parent / "apps"
PATIENCE = 60.0
"""Seconds that a caller waits for an answer."""
GRAINS = {
    "fine": "cut | turn | read | total | join",
    "coarse": "cut+turn+read+total+join",
    "middle": "cut | turn+read | total+join",
}
VERSIONED = """
import time

from regrain import App

VERSION = {version!r}
app = App("versioned", sample={{"text": "a"}})


@app.stage()
def one(text: str) -> list[str]:
    return [text, VERSION]


@app.stage()
def two(told: list[str]) -> list[str]:
    time.sleep(0.002)
    return [*told, VERSION]


@app.flow
def flow({parameters}) -> list[str]:
    return two(one(text))
"""


def widths(seed, count):
    spec = importlib.util.spec_from_file_location("live_widths", APPS / "widths.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return json.loads(json.dumps(module.page(seed, count)))


class Load:
    """Callers that ask one after another, until told to end; what they met that was not as it should be is kept."""

    def __init__(self, ask, callers=4):
        self.answered = 0
        self.wrong = []
        self._ask = ask
        self._end = threading.Event()
        self._pool = ThreadPoolExecutor(callers)
        self._running = [self._pool.submit(self._call, seed) for seed in range(callers)]

    def _call(self, seed):
        rng = random.Random(seed)
        with requests.Session() as session:
            while not self._end.is_set():
                try:
                    wrong = self._ask(session, rng)
                except (requests.RequestException, ValueError) as error:
                    wrong = repr(error)
                if wrong:
                    self.wrong.append(wrong)
                self.answered += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end.set()
        self._pool.shutdown()
        for one in self._running:
            one.result()


def operate(served, path, **wanted):
    return requests.post(f"{served.admin_url}{path}", json=wanted, timeout=PATIENCE)


def regrain(served, grain, replicas=""):
    return operate(served, "/grain", grain=grain, replicas=replicas)


def settled(served):
    return served.status()["transitions"][0]["state"] in ("done", "failed")


def descriptors(served):
    """How many descriptors of shared memory and processes the front holds."""
    links = []
    for path in Path(f"/proc/{served.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(path.readlink()))
    return sum("memfd:" in link or "pidfd" in link for link in links)


def grpc_address(served):
    return f"127.0.0.1:{served.status()['ports']['grpc']}"


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


def test_twenty_changes_of_grain_under_load_fail_no_request(serve, until):
    served = serve("widths.py", "--grain", "fine")
    grains = [list(GRAINS)[place % 3] for place in range(1, 21)]
    spelled = {"middle": GRAINS["middle"]}

    address = grpc_address(served)
    with GrpcClient(address, timeout=PATIENCE) as client, Load(kinds_of_requests(served, client)) as load:
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


def test_a_plan_that_has_ended_leaves_no_descriptor_and_no_process(serve, until):
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


def test_a_change_while_replicas_are_killed_fails_no_request(serve, until):
    served = serve("widths.py", "--grain", "fine", "--replicas", "2")
    rng = random.Random(3)

    def ask(session, _):
        response = session.post(served.url, json={"seed": 3, "count": 7}, timeout=PATIENCE)
        return "" if response.status_code == 200 else response.text

    with Load(ask, callers=2) as load:
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
def test_what_is_none_of_the_app_s_is_refused(standing, path, wanted, said):
    answer = operate(standing, path, **wanted)

    assert answer.status_code == 400
    assert said in answer.json()["detail"]
    assert standing.status()["transitions"] == []


@pytest.fixture(scope="module")
def standing(module_serve):
    return module_serve("widths.py")


def test_scaling_a_group_leaves_the_others_and_lasts_over_an_update(serve, until):
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


def test_of_two_changes_at_once_the_second_is_refused(gated, until, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(regrain, gated, "coarse") for _ in range(2)]
        refused = next(as_completed(asked, PATIENCE)).result()
        (tmp_path / "model").write_text("new")

    assert refused.status_code == 409
    assert "another change is under way" in refused.json()["detail"]
    assert sorted(answer.result().status_code for answer in asked) == [200, 409]
    until(lambda: settled(gated), "the old plan has ended")


def test_who_asked_for_a_change_may_go_before_it_is_in_force(gated, until, tmp_path):
    host = gated.admin_url.removeprefix("http://")
    head = f"POST /grain HTTP/1.1\r\nHost: {host}\r\nContent-Length: 19\r\n\r\n"
    with socket.create_connection(host.split(":"), PATIENCE) as who:
        who.sendall(head.encode() + b'{"grain": "coarse"}')
        until(lambda: gated.status()["transitions"], "the change is under way")
    assert gated.status()["grain"] == "first | second"

    (tmp_path / "model").write_text("new")

    until(lambda: gated.status()["grain"] == "first+second", "the change is in force")
    until(lambda: settled(gated), "the old plan has ended")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        pytest.param(None, "No such file", id="a model that vanished"),
        pytest.param("bad", "the app's own sample failed", id="a sample that fails"),
    ],
)
def test_a_plan_that_does_not_become_ready_leaves_the_old_one_serving(serve, until, tmp_path, model, said):
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


def test_a_plan_for_which_there_is_no_memory_is_refused_with_both_numbers(serve, tmp_path):
    free = psutil.virtual_memory().total >> 20
    (tmp_path / "app.py").write_text(FRAGILE.replace("MEMORY", f'memory="{free}Mi"'))
    (tmp_path / "model").write_text("good")
    served = serve(tmp_path / "app.py")

    refused = regrain(served, "fine", "2")

    assert refused.status_code == 409
    assert f"the new one needs {2 * free} MiB, " in refused.json()["detail"]
    assert served.status()["grain"] == "first+second"


def write(path, version, parameters="text: str"):
    path.write_text(VERSIONED.format(version=version, parameters=parameters))


def test_new_code_under_load_fails_no_request_and_no_request_crosses_versions(serve, until, tmp_path):
    write(tmp_path / "app.py", "v0")
    served = serve(tmp_path / "app.py", "--grain", "fine")
    seen = set()

    def ask(session, rng):
        if rng.random() < 0.5:
            _, one, two = client.invoke(text="a")
        else:
            response = session.post(served.url, json={"text": "a"}, timeout=PATIENCE)
            if response.status_code != 200:
                return response.text
            _, one, two = response.json()
        seen.add(one)
        return "" if one == two else f"crossed from {one} to {two}"

    with GrpcClient(grpc_address(served), timeout=PATIENCE) as client, Load(ask) as load:
        until(lambda: "v0" in seen, "the first version is asked")
        for number in range(1, 6):
            write(tmp_path / "app.py", f"v{number}")
            assert operate(served, "/update").status_code == 200
            assert served.call(text="a").json() == ["a", f"v{number}", f"v{number}"]
            until(lambda: settled(served), "the old version has ended")
            until(lambda version=f"v{number}": version in seen, "the new one is asked")
        assert operate(served, "/rollback").status_code == 200
        assert served.call(text="a").json() == ["a", "v4", "v4"]

    assert load.wrong == []
    assert seen == {f"v{number}" for number in range(6)}
    until(lambda: len(served.processes()) == 1 + 2 + 2, "a front, two zygotes, two replicas")


def test_code_that_does_not_load_leaves_the_old_version(serve, until, tmp_path):
    write(tmp_path / "app.py", "old")
    served = serve(tmp_path / "app.py")
    (tmp_path / "app.py").write_text("def broken(:\n")

    refused = operate(served, "/update")

    assert refused.status_code == 409
    assert "the old version stays: " in refused.json()["detail"]
    assert "SyntaxError" in refused.json()["detail"]
    assert served.call(text="a").json() == ["a", "old", "old"]
    until(lambda: len(served.processes()) == 3, "a front, a zygote and a replica")


def test_a_version_with_other_parameters_is_described_and_checked_as_such_and_rolled_back(
    serve, until, tmp_path
):
    write(tmp_path / "app.py", "old")
    served = serve(tmp_path / "app.py")
    before = served.get("/_/openapi.json").json()
    write(tmp_path / "app.py", "new", "text: str, more: int")
    (tmp_path / "app.py").write_text(
        (tmp_path / "app.py").read_text().replace('{"text": "a"}', '{"text": "a", "more": 1}')
    )

    assert operate(served, "/update").status_code == 200

    assert "more" in served.get("/_/openapi.json").text
    assert served.call(text="a").status_code == 400
    assert served.call(text="a", more=1).json() == ["a", "new", "new"]
    until(lambda: settled(served), "the old version has ended")
    assert operate(served, "/rollback").status_code == 200
    assert served.get("/_/openapi.json").json() == before
    assert served.call(text="a").json() == ["a", "old", "old"]
    assert served.call(text="a", more=1).status_code == 400
    until(lambda: settled(served), "the newer version has ended")


def test_a_request_whose_body_is_slow_is_taken_by_the_version_in_force_at_its_end(serve, tmp_path):
    write(tmp_path / "app.py", "old")
    served = serve(tmp_path / "app.py", body_timeout="300s")
    body = b'{"text": "a"}'
    head = (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )

    with served.connect() as slow:
        slow.sendall(head.encode() + body[:5])
        write(tmp_path / "app.py", "new")
        assert operate(served, "/update").status_code == 200
        slow.sendall(body[5:])
        answer = b"".join(iter(lambda: slow.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'["a","new","new"]')


def test_sigterm_during_a_change_ends_everything_and_loses_no_request(serve, until, tmp_path):
    held = tmp_path / "held"
    held.touch()
    waits = f"while text != 'b' and Path({str(held)!r}).exists():\n        time.sleep(0.01)\n    "
    text = (
        VERSIONED.format(version="v", parameters="text: str")
        .replace("import time", "import time\nfrom pathlib import Path")
        .replace("return [text, VERSION]", f"{waits}return [text, VERSION]")
    )
    (tmp_path / "app.py").write_text(text.replace('{"text": "a"}', '{"text": "b"}'))
    served = serve(tmp_path / "app.py", healthcheck_interval="0.3s", drain_timeout="300s")
    (tmp_path / "app.py").write_text(text)  # its sample is held

    with ThreadPoolExecutor(2) as pool:
        changing = pool.submit(operate, served, "/update")
        until(
            lambda: (served.status()["transitions"] or [{}])[0].get("state") == "warming", "the sample runs"
        )
        calling = pool.submit(served.call, text="c")
        until(lambda: served.metric("http_requests_in_flight") == 1, "a call is under way")
        served.signal()

        assert changing.result().status_code == 503
        held.unlink()
        assert calling.result().json() == ["c", "v", "v"]
    assert served.ended() == 0


def test_the_verbs_change_an_app(serve, until, run_cli):
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
