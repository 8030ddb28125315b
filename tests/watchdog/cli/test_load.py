"""`regrain load` against an app that is really served."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from regrain_watchdog.simulate.scenario import offered, read

pytestmark = pytest.mark.process

APP = Path(__file__).parents[3] / "examples" / "hello" / "app.py"
SCENARIO = """
seed = 5
duration = "1s"
[apps.hello]
module = "app.py"
load = [
    {kind = "poisson", rate = 40, seconds = 0.5},
    {kind = "onoff", rate = 80, on = 0.1, off = 0.1, seconds = 0.5},
]
sizes = {kind = "fixed", value = 40}
body = '{"name": "$filler"}'
"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """Serve the app, with an objective that a busy machine meets; return the directory of its run file and the URL."""
    folder = tmp_path_factory.mktemp("run")
    command = [
        sys.executable,
        "-m",
        "regrain_watchdog.cli",
        "run",
        str(APP),
        "--slo",
        "60s",
        "--port",
        "0",
        "--metrics-port",
        "0",
    ]
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        ready = next(line for line in process.stdout if "ready in" in line)
        yield folder, ready.partition(" on ")[2].partition(",")[0]
        process.send_signal(signal.SIGTERM)
        process.stdout.read()


@pytest.fixture
def load(runtime, tmp_path):
    """Run `regrain load` in a process of its own, with a report; return that, the exit code and what it said."""

    def load(*args: str, url: bool = False) -> tuple[dict[str, object], int, str]:
        file = tmp_path / "report.json"
        command = [
            sys.executable,
            "-m",
            "regrain_watchdog.cli",
            "load",
            *((runtime[1],) if url else ()),
            *args,
        ]
        environ = {**os.environ, "XDG_RUNTIME_DIR": str(runtime[0])}
        done = subprocess.run(
            [*command, "-o", str(file)], env=environ, capture_output=True, text=True, check=False
        )
        return (
            json.loads(file.read_text()) if file.exists() else {},
            done.returncode,
            done.stdout + done.stderr,
        )

    return load


def test_a_running_app_gets_its_sample_and_the_report_says_how_it_did(load) -> None:
    report, code, said = load("--sample", "--rate", "100", "--duration", "1s", "--seed", "3")

    (app,) = report["apps"]
    assert code == 0
    assert (app["app"], app["slo"], app["attainment"]) == ("hello", 60.0, 0.99)
    assert app["outcomes"]["hit"] + app["outcomes"]["late"] == app["offered"] > 60
    assert app["cost"]["total"] > 0
    assert [grain for _, grain in app["grains"]] == ["greet"]
    assert "hit rate" in said


def test_equal_seeds_offer_equal_loads(load) -> None:
    one, other = (load("--sample", "--rate", "60", "--duration", "1s", "--seed", "3")[0] for _ in range(2))
    third = load("--sample", "--rate", "60", "--duration", "1s", "--seed", "4")[0]

    assert one["apps"][0]["offered"] == other["apps"][0]["offered"]
    assert one["apps"][0]["offered"] != third["apps"][0]["offered"]


def test_a_scenario_is_run_as_it_would_be_simulated(load, tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    report, code, _ = load("--scenario", str(tmp_path / "scenario.toml"))

    assert code == 0
    assert report["seed"] == 5
    assert report["apps"][0]["offered"] == len(offered(read(tmp_path / "scenario.toml"), "hello").arrivals)
    assert report["apps"][0]["outcomes"]["malformed"] == 0


def test_several_apps_are_loaded_at_once(load, runtime, tmp_path: Path) -> None:
    app = SCENARIO.partition("[apps.hello]")[2]
    tables = "".join(f'[apps.{name}]\nurl = "{runtime[1]}"{app}' for name in ("one", "other"))
    (tmp_path / "scenario.toml").write_text('duration = "1s"\n' + tables)

    report, code, _ = load("--scenario", str(tmp_path / "scenario.toml"))

    assert code == 0
    assert [app["app"] for app in report["apps"]] == ["one", "other"]
    assert report["apps"][0]["offered"] != report["apps"][1]["offered"]
    assert min(app["outcomes"]["hit"] + app["outcomes"]["late"] for app in report["apps"]) > 10


def test_where_other_verbs_ask_says_nothing_of_several_apps(
    load, runtime, tmp_path: Path, monkeypatch
) -> None:
    app = SCENARIO.partition("[apps.hello]")[2]
    tables = "".join(f'[apps.{name}]\nurl = "{runtime[1]}"{app}' for name in ("one", "other"))
    (tmp_path / "scenario.toml").write_text('duration = "1s"\n' + tables)
    monkeypatch.setenv("REGRAIN_URL", "http://127.0.0.1:1")

    report, code, _ = load("--scenario", str(tmp_path / "scenario.toml"))
    _, refused, said = load("--scenario", str(tmp_path / "scenario.toml"), "--url", "http://127.0.0.1:1")

    assert code == 0
    assert [app["app"] for app in report["apps"]] == ["one", "other"]
    assert (refused, "give each its url" in said) == (2, True)


def test_an_app_that_never_answers_leaves_the_others_their_report(load, runtime, tmp_path: Path) -> None:
    app = SCENARIO.partition("[apps.hello]")[2]
    urls = {"one": runtime[1], "other": "http://127.0.0.1:1/"}
    tables = "".join(f'[apps.{name}]\nurl = "{url}"{app}' for name, url in urls.items())
    (tmp_path / "scenario.toml").write_text('duration = "1s"\n' + tables)

    report, code, said = load("--scenario", str(tmp_path / "scenario.toml"))

    one, other = report["apps"]
    assert code == 0
    assert one["hit_rate"] > 0
    assert (other["hit_rate"], other["outcomes"]["failed"]) == (0.0, other["offered"])
    assert f"note: other: none of {other['offered']} requests to 127.0.0.1:1 was answered: " in said
    assert "note: other: no objective is known, so that any answer is a hit" in said
    assert "note: one: none of" not in said


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_by_every_name_of_this_machine_s_own_the_app_has_its_objective(load, runtime, name: str) -> None:
    url = runtime[1].replace("127.0.0.1", name)

    report, code, said = load(url, "--sample", "--rate", "50", "--duration", "1s")

    assert code == 0
    assert report["apps"][0]["slo"] == 60.0
    assert "no objective is known" not in said


def test_a_url_is_enough_and_what_the_app_refuses_does_not_count(load) -> None:
    report, code, said = load("--body", '{"nome": "x"}', "--rate", "50", "--duration", "1s", url=True)

    (app,) = report["apps"]
    assert code == 0
    assert app["hit_rate"] is None
    assert app["outcomes"]["malformed"] > 20
    assert "requests were answered 400: there is no parameter 'nome'; the app takes name (str)" in said


def test_an_objective_that_is_not_met_fails_if_asked_to(load) -> None:
    report, code, said = load(
        "--sample", "--rate", "50", "--duration", "1s", "--slo", "1us", "--fail-under", "0.5"
    )

    assert code == 1
    assert report["apps"][0]["hit_rate"] == 0.0
    assert "hello: hit rate 0.0 %, asked for 50.0 %" in said


def test_ctrl_c_reports_what_was_done_until_then(runtime, interruptible, tmp_path: Path) -> None:
    """A line of progress comes after ten seconds, so what says that it runs is the app's own count."""
    file = tmp_path / "report.json"
    command = [*interruptible, "load", runtime[1], "--sample", "--rate", "200"]
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(runtime[0])}
    run_file = json.loads(next((runtime[0] / "regrain").glob("*.json")).read_text())

    def served() -> int:
        return int(requests.get(run_file["admin"] + "/status", timeout=60).json()["load"]["requests"])

    before = served()
    with subprocess.Popen(
        [*command, "--duration", "5m", "-o", str(file)], env=environ, stdout=subprocess.PIPE
    ) as process:
        end = time.monotonic() + 60
        while served() < before + 20:
            assert time.monotonic() < end
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    report = json.loads(file.read_text())
    assert process.returncode == 130
    assert report["interrupted"]
    assert 0 < report["apps"][0]["offered"] < 200 * 300


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        pytest.param(
            (), 2, "say what to send: --body, --param name=value, --sample alone, or a --scenario", id="none"
        ),
        pytest.param(("--sample", "--body", "x"), 2, "say what to send", id="two"),
        pytest.param(("ftp://x", "--body", "x"), 2, "the URL must be like http://127.0.0.1:8080/", id="url"),
        pytest.param(("http://127.0.0..1:8080/", "--body", "x"), 2, "is no URL", id="host"),
        pytest.param(("--sample", "--seed", str(1 << 64)), 2, "is not in the range", id="seed"),
        pytest.param(
            ("http://127.0.0.1:1", "--body", "x", "--duration", "0.2s"), 1, "was answered: ", id="nobody"
        ),
        pytest.param(
            ("http://127.0.0.1:1", "--sample"), 2, "no app of this user runs there: give --url", id="sample"
        ),
        pytest.param(("--sample", "--rate", "-1"), 2, "rate must be requests a second, 0 or more", id="rate"),
        pytest.param(
            ("--sample", "--duration", "0"), 2, "--duration must be more than 0 seconds", id="no time"
        ),
        pytest.param(
            ("--sample", "--duration", "x"), 2, "--duration must be seconds or a duration", id="duration"
        ),
        pytest.param(
            ("--sample", "--timeout", "x"), 2, "--timeout must be seconds or a duration", id="timeout"
        ),
        pytest.param(
            ("--sample", "--timeout", "0"), 2, "--timeout must be more than 0 seconds", id="no patience"
        ),
        pytest.param(("--sample", "--slo", "0s"), 2, "--slo must be more than 0 seconds", id="no latency"),
        pytest.param(("--sample", "--slo", "x"), 2, "--slo must be seconds or a duration", id="slo"),
        pytest.param(("--sample", "--app", "other"), 1, "no running app is called 'other'", id="app"),
        pytest.param(("--scenario", "none.toml"), 2, "none.toml cannot be read", id="scenario"),
        pytest.param(
            ("--scenario", "s.toml", "--rate", "3"), 2, "what is sent when: leave out --rate", id="both"
        ),
        pytest.param(("--sample", "-o", "r.doc"), 2, "a report is written as", id="ending"),
    ],
)
def test_what_is_wrong_is_one_line(runtime, args: tuple[str, ...], code: int, said: str) -> None:
    command = [sys.executable, "-m", "regrain_watchdog.cli", "load", *args]
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(runtime[0])}

    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert said in done.stderr
