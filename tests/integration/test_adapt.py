"""`regrain run --adapt`: the plan follows the load, and serving depends on the controller for nothing."""

import contextlib
import json
import os
import signal
import threading
from pathlib import Path

import psutil
import pytest
import requests

from regrain_watchdog.cli.describe import describe
from regrain_watchdog.policy.profile import Point, Profile, StageProfile, dumps

pytestmark = pytest.mark.process
APPS = Path(__file__).parent / "apps"
ADAPTS = ("--adapt", "--adapt-period", "1s", "--cores", "8")


class Callers:
    """Callers that ask one after another; the statuses that they met, and answers that were wrong."""

    def __init__(self, served, count):
        self.statuses = {}
        self.wrong = []
        self._url = served.url
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _call(self):
        with requests.Session() as session:
            while not self._end.is_set():
                answer = session.post(self._url, json={"items": [1, 2, 3]}, timeout=60)
                self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
                if answer.status_code == 200 and answer.json() != 12:
                    self.wrong.append(answer.text)


def mind(served):
    """The controller's process, or None."""
    for process in psutil.Process(served.process.pid).children():
        with contextlib.suppress(psutil.Error):
            if "regrain_watchdog.control" in process.cmdline():
                return process
    return None


def why(served):
    return requests.get(f"{served.admin_url}/why", timeout=60).json()


def logged(log):
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def decisions_of_the_next(log):
    """What another controller than the first has decided, but that a change was under way."""
    made = [entry["decision"] for entry in logged(log) if entry["kind"] == "decision"]
    begins = [place for place, one in enumerate(made) if one["number"] == 1]
    return [one for one in made[begins[1] :] if one["reason"] != "BUSY"] if begins[1:] else []


def replicas(served):
    return sum(len(group["replicas"]) for group in served.status()["groups"])


def expecting(run_cli):
    """A question for what `status --why` prints, once the last decision is one that looked at the load."""

    def printed():
        told = run_cli("status", "--why")
        assert told.returncode == 0, told.stderr
        return "requests/s expected" in told.stdout and told.stdout

    return printed


@pytest.mark.timeout(300)
def test_a_load_that_rises_gets_another_plan_and_no_request_fails(serve, until, run_cli, tmp_path):
    log = tmp_path / "decisions.jsonl"
    served = serve("busy.py", *ADAPTS, "--decision-log", str(log))

    with Callers(served, 4) as callers:
        until(
            lambda: served.metric("regrain_plans_total", outcome="adopted") >= 1,
            "another plan is in force",
            60.0,
        )
        until(lambda: replicas(served) > 1, "it has more replicas")
        told = until(expecting(run_cli), "it is told what is expected to arrive", 60.0)
        until(
            lambda: {entry["kind"] for entry in logged(log)} == {"decision", "observed"},
            "what came of a decision is logged",
            60.0,
        )

    assert "bodies " in told
    assert set(callers.statuses) <= {200, 503, 504}
    assert callers.statuses[200] > 0
    assert not callers.wrong
    assert "in force" in told
    taken = [
        entry["decision"]
        for entry in logged(log)
        if entry["kind"] == "decision" and entry["decision"]["plan"]
    ]
    assert taken[0]["reason"] in ("MEETS", "HITS")
    assert served.metric("regrain_adapting") == 1
    assert {one["by"] for one in served.status()["transitions"]} == {"controller"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("predictor", ["verified", "simulated", "learned"])
def test_a_decision_is_taken_by_any_predictor_and_is_explained(serve, until, run_cli, measured, predictor):
    served = serve("busy.py", *ADAPTS, "--predictor", predictor, "--profile", measured(APPS / "busy.py"))

    with Callers(served, 4) as callers:
        until(
            lambda: why(served).get("decision", {}).get("candidates"),
            "plans are held against each other",
            240.0,
        )

    assert set(callers.statuses) <= {200, 503, 504}
    assert not callers.wrong
    decision = why(served)["decision"]
    assert decision["failures"] == 0
    assert all(0.0 <= one["hit_rate"] <= 1.0 for one in decision["candidates"])
    told = run_cli("status", "--why")
    assert told.returncode == 0, told.stderr
    assert "in force" in told.stdout
    assert "cannot be had" not in served.output


def test_stages_that_nobody_measured_are_planned_for_on_the_cores_that_each_declares(serve, until, tmp_path):
    text = (APPS / "busy.py").read_text().replace("@app.stage()\ndef double", "@app.stage(cpu=4)\ndef double")
    (tmp_path / "app.py").write_text(text)
    served = serve(tmp_path / "app.py", *ADAPTS, "--grain", "coarse", "--predictor", "analytic")

    with Callers(served, 2) as callers:
        until(lambda: why(served).get("decision"), "something is decided", 60.0)
        decision = until(
            lambda: (found := why(served)["decision"])["reason"] not in ("NONE", "FAILED") and found,
            "there are plans",
            60.0,
        )

    assert set(callers.statuses) <= {200, 503, 504}
    assert "was measured with" not in served.output
    assert decision["failures"] == 0


BREAKING = """
import sys


class Breaking:
    def find_spec(self, name, *_):
        if name == "regrain_watchdog.control.process":
            sys.meta_path.remove(self)
            from regrain_watchdog.policy.predict.analytic import Analytic

            def predict(*_, **__):
                raise RuntimeError("the theory is gone")

            Analytic.predict = predict


sys.meta_path.insert(0, Breaking())
"""


@pytest.fixture
def broken_theory(tmp_path, monkeypatch):
    """In the controller's process queueing theory raises when it is asked."""
    (tmp_path / "sitecustomize.py").write_text(BREAKING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("broken_theory")
def test_a_predictor_that_raises_leaves_the_plan_and_is_counted_and_said_once(serve, until, measured):
    served = serve("busy.py", *ADAPTS, "--predictor", "analytic", "--profile", measured(APPS / "busy.py"))
    plan = served.status()["groups"]

    with Callers(served, 2) as callers:
        decision = until(
            lambda: (
                (found := why(served).get("decision", {"reason": ""}))["reason"] == "FAILED"
                and found["failures"] >= 2
                and found
            ),
            "it has failed twice",
            240.0,
        )

    assert set(callers.statuses) <= {200, 503, 504}
    assert not callers.wrong
    assert decision["detail"] == "RuntimeError: the theory is gone"
    served.said("the theory is gone")
    assert served.output.count("the theory is gone") == 1
    assert [group["name"] for group in served.status()["groups"]] == [group["name"] for group in plan]
    assert served.metric("regrain_plans_total") == 0
    assert served.metric("regrain_controller_ends_total") == 0


def test_the_controllers_end_leaves_the_plan_and_another_one_is_started(serve, until):
    served = serve("busy.py", *ADAPTS)
    first = until(lambda: mind(served), "the controller is started")
    plan = served.status()["groups"]

    first.kill()

    until(lambda: served.metric("regrain_controller_ends_total") == 1, "its end is counted", 60.0)
    assert served.call(items=[1]).json() == 2
    second = until(lambda: mind(served), "another one is started")
    assert second.pid != first.pid
    assert [group["name"] for group in served.status()["groups"]] == [group["name"] for group in plan]
    served.said("the controller is started again")


def test_a_controller_that_is_killed_under_load_is_followed_by_one_that_knows_it(serve, until, tmp_path):
    log = tmp_path / "decisions.jsonl"
    served = serve("busy.py", *ADAPTS, "--decision-log", str(log))

    with Callers(served, 2) as callers:
        until(lambda: why(served).get("decision", {}).get("rate"), "the load is known", 60.0)
        mind(served).kill()
        first = until(lambda: decisions_of_the_next(log), "the next one decides", 60.0)[0]

    assert first["rate"] > 0
    assert first["reason"] != "UNKNOWN"
    assert served.metric("regrain_controller_ends_total") == 1
    assert set(callers.statuses) <= {200, 503, 504}
    assert not callers.wrong


def test_a_controller_that_hangs_holds_nothing_up(serve, until):
    served = serve("busy.py", *ADAPTS)
    process = until(lambda: mind(served), "the controller is started")
    until(lambda: served.metric("regrain_adapting") == 1, "it answers")

    process.send_signal(signal.SIGSTOP)

    with Callers(served, 2) as callers:
        until(
            lambda: served.metric("regrain_controller_reports_dropped_total") >= 2,
            "reports are dropped",
            60.0,
        )
    assert set(callers.statuses) <= {200, 503, 504}
    assert not callers.wrong
    number = why(served).get("decision", {"number": 0})["number"]
    process.send_signal(signal.SIGCONT)
    until(lambda: why(served).get("decision", {"number": 0})["number"] > number, "it decides again", 60.0)
    assert mind(served).pid == process.pid


def test_an_operator_who_holds_the_plan_is_left_alone(serve, until):
    served = serve("busy.py", *ADAPTS)
    held = requests.post(f"{served.admin_url}/grain", json={"grain": "fine", "hold": True}, timeout=60)
    assert held.status_code == 200, held.text

    with Callers(served, 4):
        until(
            lambda: why(served).get("decision", {}).get("reason") == "HELD",
            "it is told that it is held",
            60.0,
        )

    assert served.status()["grain"] == "spread | double | add"
    assert served.metric("regrain_plans_total") == 0


def test_a_variable_asks_for_it_as_the_flag_does(serve, until, attempt):
    served = serve("busy.py", adapt="on", adapt_period="1s", cores="8", predictor="analytic")

    until(lambda: served.metric("regrain_adapting") == 1, "the controller answers", 60.0)
    assert served.status()["adapting"]["predictor"] == "analytic"

    refused = attempt("busy.py", adapt="maybe")
    assert refused.ended() == 2
    assert "REGRAIN_ADAPT (--adapt): was 'maybe', allowed are on, off" in refused.output


def test_an_app_without_an_objective_cannot_be_adapted(attempt, tmp_path):
    app = tmp_path / "plain.py"
    app.write_text(
        'from regrain import App\napp = App("plain")\n@app.stage()\ndef one(x: int) -> int:\n    return x\n'
        "@app.flow\ndef flow(x: int) -> int:\n    return one(x)\n"
    )

    refused = attempt(app, "--adapt")

    assert refused.ended() == 2
    assert "the app has no objective to adapt to" in refused.output
    assert "App(slo=SLO(latency=0.3)) or --slo 300ms" in refused.output


def test_a_decision_log_that_cannot_be_written_is_refused_at_the_start(attempt, tmp_path):
    refused = attempt("busy.py", "--adapt", "--decision-log", str(tmp_path / "gone" / "log"))

    assert refused.ended() == 2
    assert "REGRAIN_DECISION_LOG (--decision-log): " in refused.output
    assert "gone/log cannot be written: No such file or directory" in refused.output


@pytest.fixture
def measured(tmp_path):
    """A profile by which each stage of an app takes 10 ms on one or on four cores."""

    def write(module):
        manifest = describe(str(module))
        points = tuple(Point(1, 0.0, cores, 0.01) for cores in (1.0, 4.0))
        stages = {stage.name: StageProfile(digest=stage.digest, points=points) for stage in manifest.stages}
        path = tmp_path / "measured.json"
        path.write_bytes(dumps(Profile(app=manifest.app, stages=stages)))
        return str(path)

    return write


def test_an_objective_that_no_plan_can_meet_is_said_once_with_the_least_there_is(serve, until, measured):
    served = serve("busy.py", *ADAPTS, "--slo", "5ms", "--profile", measured(APPS / "busy.py"))

    with Callers(served, 1):
        until(lambda: why(served).get("decision", {}).get("reason") == "NONE", "no plan was found", 60.0)
        number = why(served)["decision"]["number"]
        until(lambda: why(served)["decision"]["number"] > number, "it looks again", 60.0)

    served.said("no plan could be found")
    assert served.output.count("no plan can answer within 0.005 s: the lightest request takes 0.03") == 1
    assert served.output.count("no plan could be found, the plan stays as it is") == 1
    assert served.status()["grain"] == "spread+double+add"


def test_a_node_that_is_too_small_for_any_plan_is_said_once(serve, until, measured, tmp_path):
    wide = tmp_path / "wide.py"
    wide.write_text((APPS / "busy.py").read_text().replace("@app.stage()", "@app.stage(cpu=4)", 1))
    served = serve(wide, *ADAPTS[:3], "--cores", "2", "--profile", measured(wide))

    with Callers(served, 1) as callers:
        until(lambda: why(served).get("decision", {}).get("reason") == "NONE", "no plan was found", 60.0)
        number = why(served)["decision"]["number"]
        until(lambda: why(served)["decision"]["number"] > number, "it looks again", 60.0)

    served.said("no plan could be found")
    told = served.output.count("stage spread needs 4 cores, the node has 2")
    assert told == 2  # at the start, and when asked
    assert set(callers.statuses) <= {200, 503, 504}
    assert callers.statuses[200] > 0


def test_a_profile_of_other_code_is_refused_by_name(attempt, tmp_path):
    profile = tmp_path / "other.json"
    profile.write_text('{"app": "busy", "stages": {"spread": {"digest": "x", "points": [[1, 0, 1, 0.01]]}}}')

    refused = attempt("busy.py", "--adapt", "--profile", str(profile))

    assert refused.ended() == 2
    assert "lacks double, add and knows other code of spread" in refused.output
