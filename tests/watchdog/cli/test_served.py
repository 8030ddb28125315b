"""The verbs together, against apps that are really served."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from regrain_watchdog.cli import runfile

pytestmark = pytest.mark.process

APP = """
import numpy as np

from regrain import SLO, App

app = App("{name}", slo=SLO(latency=5.0), sample={{"text": "a sample"}})


@app.stage()
def check(text: str) -> str:
    if text == "fail":
        raise ValueError("it was told to")
    return text


@app.stage()
def shout(text: str, times: int) -> str:
    return text.upper() * times


@app.flow
def main(text: str, times: int = 1) -> str:
    return shout(check(text), times)
"""

HELD = """
from pathlib import Path

from regrain import App

app = App("held")


@app.stage()
def hold(begun: str, done: str) -> str:
    Path(begun).write_text("it is in hand")
    with Path(done).open() as line:
        return line.readline().strip()


@app.flow
def main(begun: str, done: str) -> str:
    return hold(begun, done)
"""

NOISY = """
import sys

from regrain import App

app = App("noisy")


@app.stage()
def shout(text: str) -> str:
    print("shouting", text, flush=True)
    print("shouted", text, file=sys.stderr)
    return text.upper()


@app.flow
def main(text: str) -> str:
    return shout(text)
"""


@dataclass
class Served:
    process: subprocess.Popen[str]
    said: list[str]
    runtime: Path

    def until(self, text: str) -> str:
        """Read what it says until a line holds `text`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if text in line:
                return line
        raise AssertionError(f"it ended without saying {text!r}: {self.said}")

    def deafen(self) -> None:
        """Read no more of it, as a pipe whose other end has died."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.stdout = None

    def end(self) -> int:
        """Read what is left to be said, and return the exit code."""
        assert self.process.stdout is not None
        self.said += self.process.stdout
        return self.process.wait()


@contextlib.contextmanager
def serving(file: Path, runtime: Path, *flags: str, stderr: int = subprocess.STDOUT):
    command = [
        sys.executable,
        "-m",
        "regrain_watchdog.cli",
        "run",
        str(file),
        "--port",
        "0",
        "--metrics-port",
        "0",
    ]
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    with subprocess.Popen(
        [*command, *flags], stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ
    ) as process:
        served = Served(process, [], runtime)
        try:
            yield served
        finally:
            if process.poll() is None:
                process.terminate()
            process.communicate()


def write_app(folder: Path, name: str) -> Path:
    (folder / f"{name}_app.py").write_text(APP.format(name=name))
    return folder / f"{name}_app.py"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """An app called loud, at the finest grain."""
    folder = tmp_path_factory.mktemp("loud")
    with serving(write_app(folder, "loud"), folder, "--grain", "fine") as app:
        app.until("or with: curl")
        yield app


@pytest.fixture
def ask(regrain, served, monkeypatch):
    """Run a command that finds the served app by its run file."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(served.runtime))
    return regrain


def test_it_says_where_it_listens_and_how_to_try_it(served):
    said = "".join(served.said)

    assert served.said[0] == "regrain: starting\n"
    assert "regrain: ready in " in said
    assert ": loud on http://127.0.0.1:" in said
    assert "grain check | shout" in said
    assert "regrain: try it with: regrain invoke --sample" in said
    assert "curl -H 'Content-Type: application/json' -d '{\"text\":\"a sample\"}' http://127.0.0.1:" in said


def test_the_run_file_says_where_everything_is(served):
    running = runfile.find(served.runtime / "regrain", "loud")

    assert running.pid == served.process.pid
    assert requests.get(f"{running.metrics}/metrics", timeout=60).ok
    assert requests.get(f"{running.url}/_/ready", timeout=60).ok


def test_a_sample_is_answered_and_the_call_is_named(ask):
    outcome = ask("invoke", "--sample", "-v")

    assert (outcome.code, outcome.out) == (0, "A SAMPLE\n")
    assert outcome.err.startswith("200 in ")
    assert "(call " in outcome.err
    assert {"check", "shout"} <= {line.split()[0] for line in outcome.err.splitlines()[1:]}


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        pytest.param(("hey",), "HEY\n", id="text"),
        pytest.param(("hey", "--timeout", "60s"), "HEY\n", id="a time"),
        pytest.param(('{"text": "hey", "times": 2}',), "HEYHEY\n", id="json"),
        pytest.param(("--param", "text=hey", "--param", "times=3"), "HEYHEYHEY\n", id="parameters"),
        pytest.param(("hey", "--accept", "application/json"), '"HEY"\n', id="as json"),
    ],
)
def test_a_request_is_answered(ask, args, answer):
    outcome = ask("invoke", *args)

    assert (outcome.code, outcome.out) == (0, answer)


def test_a_file_becomes_a_part_of_a_form(ask, tmp_path):
    (tmp_path / "in.txt").write_text("hey")

    outcome = ask("invoke", "--param", f"text=@{tmp_path / 'in.txt'}", "--param", "times=2")

    assert outcome.out == "HEYHEY\n"


def test_the_answer_goes_into_a_file(ask, tmp_path):
    outcome = ask("invoke", "hey", "-o", str(tmp_path / "out"))

    assert outcome.out == ""
    assert outcome.err.endswith(f"wrote 3 bytes to {tmp_path / 'out'}\n")
    assert (tmp_path / "out").read_text() == "HEY"


def test_a_failed_call_is_one_line_and_found_again_by_its_id(ask):
    failed = ask("invoke", "fail")
    call = failed.err.rpartition("(call ")[2].rstrip(")\n")
    listed = ask("slow")
    shown = ask("slow", call)

    assert failed.code == 1
    assert failed.err.startswith("regrain: 500 ")
    assert "check" in failed.err
    assert failed.err.count("\n") == 1
    assert call in listed.out
    assert "failed" in listed.out
    assert shown.out.startswith(f"{call}  500 failed")
    assert "queue of check" in shown.out


def test_an_unknown_call_is_one_line(ask):
    outcome = ask("slow", "no/such?call")

    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert "no miss of call id 'no/such?call' is known" in outcome.err


def test_the_status_is_told_in_words_and_as_json(ask, served):
    words = ask("status")
    found = json.loads(ask("status", "--json").out)

    assert f"pid {served.process.pid}\n" in words.out
    assert "grain    check | shout" in words.out
    assert found["app"] == "loud"
    assert found["pid"] == served.process.pid
    assert [group["stages"] for group in found["groups"]] == [["check"], ["shout"]]


def test_an_address_goes_before_the_run_files(regrain, served, monkeypatch):
    admin = runfile.find(served.runtime / "regrain", "loud").admin

    by_flag = regrain("invoke", "hey", "--url", admin)
    monkeypatch.setenv("REGRAIN_URL", admin)
    by_environment = regrain("status")

    assert by_flag.out == "HEY\n"
    assert by_environment.out.startswith("loud ")


def test_an_address_that_is_no_admin_address_is_refused(ask, served):
    url = runfile.find(served.runtime / "regrain", "loud").url

    outcome = ask("status", "--url", url)

    said = f"regrain: {url} is no admin address of Regrain; --url or REGRAIN_URL is the admin address"
    assert outcome.code == 1
    assert outcome.err.startswith(said)
    assert outcome.err.count("\n") == 1


def test_two_apps_do_not_collide_and_are_told_apart_by_name(ask, served, tmp_path):
    with serving(write_app(tmp_path, "other"), served.runtime) as other:
        other.until("or with: curl")
        unclear = ask("status")
        named = [ask("status", "--app", name).out.split()[0] for name in ("loud", "other")]
        other.process.send_signal(signal.SIGINT)
        code = other.end()

    assert unclear.code == 1
    assert "several apps are running: loud (pid " in unclear.err
    assert named == ["loud", "other"]
    assert code == 0
    assert other.said[-2:] == ["regrain: draining\n", "regrain: stopped\n"]
    assert [app.app for app in runfile.apps(served.runtime / "regrain")] == ["loud"]


@pytest.mark.parametrize("stderr", [subprocess.DEVNULL, subprocess.STDOUT], ids=["stdout", "both"])
def test_what_was_accepted_is_answered_though_nobody_reads_what_is_said_any_more(tmp_path, stderr):
    (tmp_path / "held_app.py").write_text(HELD)
    begun, done = tmp_path / "begun", tmp_path / "done"
    os.mkfifo(begun)
    os.mkfifo(done)
    with (
        serving(tmp_path / "held_app.py", tmp_path, stderr=stderr) as app,
        ThreadPoolExecutor(1) as caller,
        done.open("r+b", buffering=0) as line,
    ):
        app.until("try it with: curl")
        (running,) = runfile.apps(tmp_path / "regrain")
        asked = {"begun": str(begun), "done": str(done)}
        answer = caller.submit(requests.post, running.url, json=asked, timeout=60)
        begun.read_text()
        app.deafen()

        app.process.terminate()
        while runfile.apps(tmp_path / "regrain"):  # it is gone from the moment that it drains
            assert not answer.done()
        line.write(b"done\n")

        assert (answer.result().status_code, answer.result().text) == (200, "done")
        assert app.process.wait(60) == 0


def test_stages_may_print_though_nobody_reads_it_any_more(tmp_path):
    (tmp_path / "noisy_app.py").write_text(NOISY)
    with serving(tmp_path / "noisy_app.py", tmp_path) as app:
        app.until("try it with: curl")
        (running,) = runfile.apps(tmp_path / "regrain")
        app.deafen()

        answers = [requests.post(running.url, json={"text": "so"}, timeout=60) for _ in range(2)]

        assert [(answer.status_code, answer.text) for answer in answers] == [(200, "SO")] * 2
        app.process.terminate()
        assert app.process.wait(60) == 0


def test_logs_and_states_are_json_where_that_is_asked_for(tmp_path):
    with serving(write_app(tmp_path, "quiet"), tmp_path, "--log-format", "json") as app:
        app.until("or with: curl")
        app.process.terminate()
        app.end()

    events = [json.loads(line)["event"] for line in app.said]
    assert events[0] == "regrain: starting"
    assert events[-2:] == ["regrain: draining", "regrain: stopped"]


def test_a_start_that_fails_ends_with_its_reason(tmp_path):
    (tmp_path / "bad.py").write_text("raise ValueError('no good')\n")

    with serving(tmp_path / "bad.py", tmp_path) as app:
        line = app.until("no good")
        code = app.end()

    assert code == 1
    assert line.startswith("regrain: ")
    slow = "regrain: still importing the module\n"  # which it may be, on a busy machine
    assert [said for said in app.said if said != slow] == ["regrain: starting\n", line]


def test_a_taken_port_is_bad_input(served, tmp_path):
    port = runfile.find(served.runtime / "regrain", "loud").url.rpartition(":")[2].rstrip("/")

    with serving(write_app(tmp_path, "late"), tmp_path, "--port", port) as app:
        app.until(port)
        code = app.end()

    assert code == 2


def test_a_change_of_the_source_is_put_in_force_and_a_broken_one_is_not(ask, tmp_path, monkeypatch):
    file = write_app(tmp_path, "edited")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with serving(file, tmp_path, "--reload") as app:
        app.until("or with: curl")

        file.write_text(APP.format(name="edited").replace("upper", "lower"))
        app.until("edited_app.py changed, loading it")
        app.until("in force after ")
        assert ask("invoke", "HEY").out == "hey\n"

        file.write_text("def (\n")
        app.until("edited_app.py changed, the app stays as it was: ")
        assert ask("invoke", "HEY").out == "hey\n"

        app.process.terminate()
        code = app.end()

    assert code == 0
    assert runfile.apps(tmp_path / "regrain") == []
