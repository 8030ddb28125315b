"""Versions whose zygote dies, whose memory is short or whose code cannot come back: whoever asks is served."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

APP = """
import os
import pathlib
import signal
import threading
import time

from regrain import App

VERSION = {version!r}
HERE = pathlib.Path(__file__).parent
app = App("versioned", sample={{"text": "sample"}})
{more}


def wait_for_the_gate(name):
    (HERE / (name + "-waits")).touch()
    while not (HERE / (name + "-open")).exists():
        time.sleep(0.002)


@app.stage({options})
class one:
    def __init__(self):
        most = HERE / ("most-" + VERSION)
        if most.exists():
            loads = int(most.read_text()) - 1
            if loads < 0:
                raise ValueError("no more of me")
            most.write_text(str(loads))

    def __call__(self, text: str) -> list[str]:
        if text == "sample" and (HERE / "gated").exists():
            wait_for_the_gate("sample")
        if text == "slow":
            wait_for_the_gate("slow")
        return [text, VERSION]


@app.stage()
class two:
    def __init__(self):
        if (HERE / "deadly").exists():
            os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, told: list[str]) -> list[str]:
        return told


@app.flow
def flow(text: str) -> list[str]:
    return two(one(text))
"""
THREAD = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
"""What makes a module that must not be forked."""
MANY = 6
"""Replicas of which there are more than fit beside each other."""


@pytest.fixture
def write(tmp_path):
    """Write a version of the app to disk; returns its path."""

    def _write(version, options="", more=""):
        path = tmp_path / "app.py"
        path.write_text(APP.format(version=version, options=options, more=more))
        return path

    return _write


@pytest.fixture
def large():
    """Say of a stage that it needs so much memory that MANY replicas of it never fit here, whatever is free.

    One more fits wherever a sixth of the memory is free.
    """
    return f'memory="{(psutil.virtual_memory().total // MANY >> 20) + 1}Mi"'


def operate(served, path, **wanted):
    return requests.post(f"{served.admin_url}{path}", json=wanted, timeout=60)


def last(served):
    changes = served.status()["transitions"]
    return changes[0]["state"] if changes else ""


def version(served):
    answer = served.call(text="b")
    assert answer.status_code == 200, answer.text
    return answer.json()[1]


def others(served):
    """What replicas said that were started from other code than that of their version."""
    told = "on disk is not the version that is served; run `regrain update`"
    return [line for line in list(served.lines) if told in line]


@pytest.fixture
def rolled_back(serve, until, write):
    """Serve version "old" again after "new", which is on disk still."""

    def _rolled_back():
        served = serve(write("old"))
        write("new")
        for path in ("/update", "/rollback"):
            assert operate(served, path).status_code == 200
            until(lambda: last(served) == "done", "the change has ended")
        assert version(served) == "old"
        return served

    return _rolled_back


def test_an_update_in_steps_whose_last_one_fails_leaves_what_came_before_it(serve, write, large, tmp_path):
    served = serve(write("old", large), "--grain", "coarse", "--replicas", str(MANY))
    (tmp_path / "most-new").write_text("1")
    write("new", large)

    refused = operate(served, "/update")

    assert refused.status_code == 409, refused.text
    assert "no more of me" in refused.json()["detail"]
    assert [version(served) for _ in range(3)] == ["new"] * 3
    assert len(served.replicas()) == 1
    (tmp_path / "most-new").unlink()
    assert operate(served, "/scale", group="one", replicas=2).status_code == 200
    assert version(served) == "new"


def test_sigterm_between_the_steps_of_an_update_loses_no_request(serve, until, write, large, tmp_path):
    settings = {"replicas": str(MANY), "healthcheck_interval": "1s"}
    served = serve(write("old", large), "--grain", "coarse", **settings)
    write("new", large)
    (tmp_path / "gated").touch()
    waits = tmp_path / "slow-waits"

    with ThreadPoolExecutor(5) as pool:
        changing = pool.submit(operate, served, "/update")
        until((tmp_path / "sample-waits").exists, "the new version warms up")
        calls = [pool.submit(served.call, text="slow")]
        until(waits.exists, "a call of the old version runs")
        waits.unlink()
        (tmp_path / "sample-open").touch()
        until(lambda: last(served) == "draining", "the new version is in force with one replica")
        calls += [pool.submit(served.call, text="slow") for _ in range(3)]
        until(waits.exists, "a call of the new version runs")
        until(lambda: served.metric("http_requests_in_flight") == 4, "all calls have come")
        served.signal()
        until(changing.done, "the update is given up")
        (tmp_path / "slow-open").touch()

        assert [call.result().json() for call in calls] == [["slow", "old"], *[["slow", "new"]] * 3]
        assert changing.result().status_code == 503
    assert served.ended() == 0


def test_a_version_that_was_rolled_back_to_serves_on_when_its_zygote_dies(rolled_back, until, run_cli):
    served = rolled_back()
    (replica,) = served.replicas()

    os.kill(psutil.Process(replica).ppid(), signal.SIGKILL)

    until(lambda: served.status()["warnings"], "a warning")
    (warning,) = served.status()["warnings"]
    assert "replicas that end are not replaced until `regrain update`" in warning
    assert "has changed since it was loaded" in warning
    assert version(served) == "old"
    assert served.replicas() == [replica]
    healed = run_cli("update")
    assert healed.returncode == 0, healed.stderr
    assert version(served) == "new"
    assert served.status()["warnings"] == []
    until(lambda: last(served) == "done", "the old version has ended")
    (replica,) = served.replicas()
    os.kill(replica, signal.SIGKILL)
    until(lambda: served.replicas() not in ([], [replica]), "another one takes its place")
    assert version(served) == "new"


def test_a_zygote_that_dies_while_its_version_is_rolled_back_to_is_started_again(
    serve, until, write, tmp_path
):
    served = serve(write("old"))
    zygote = served.zygote()
    write("new")
    assert operate(served, "/update").status_code == 200
    until(lambda: last(served) == "done", "the old version has ended")
    write("old")
    (tmp_path / "gated").touch()

    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(operate, served, "/rollback")
        until((tmp_path / "sample-waits").exists, "the old version warms up")
        os.kill(zygote, signal.SIGKILL)
        served.said("it was of no version in force")
        (tmp_path / "sample-open").touch()
        assert changing.result().status_code == 200

    until(lambda: last(served) == "done", "the new version has ended")
    assert version(served) == "old"
    (replica,) = served.replicas()
    os.kill(replica, signal.SIGKILL)
    until(lambda: served.replicas() not in ([], [replica]), "another one takes its place")
    assert version(served) == "old"


def test_a_version_that_can_only_be_started_afresh_never_runs_other_code(serve, until, write):
    served = serve(write("old", more=THREAD))
    write("new", more=THREAD)
    assert operate(served, "/update").status_code == 200
    until(lambda: last(served) == "done", "the old version has ended")

    refused = operate(served, "/rollback")

    assert refused.status_code == 409, refused.text
    assert version(served) == "new"
    served.said("did not come into force")  # behind what its replicas said
    before = len(others(served))
    write("newer", more=THREAD)
    (replica,) = served.replicas()
    os.kill(replica, signal.SIGKILL)
    until(lambda: len(others(served)) > before, "what is to replace it finds other code")
    write("new", more=THREAD)
    until(lambda: served.replicas() not in ([], [replica]), "what is served is on disk again")
    assert version(served) == "new"


def test_an_app_is_ready_and_warns_while_only_a_guest_serves_a_group(serve, until, write, tmp_path):
    served = serve(write("old"), "--grain", "coarse")
    (tmp_path / "deadly").touch()
    assert operate(served, "/grain", grain="fine").status_code == 200

    def warns():
        status = served.status()
        return status if status["warnings"] else None

    status = until(warns, "a warning")

    assert status["state"] == "ready"
    assert status["warnings"] == ["replicas of two end as soon as they start; others serve"]
    assert served.get("/_/ready").status_code == 200
    assert version(served) == "old"
