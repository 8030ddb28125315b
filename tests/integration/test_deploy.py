"""Apps go to `regrain gateway` by `regrain deploy`, are seen there, called, and taken away again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

PATIENCE = 60.0
FAAS_CLI = shutil.which(os.environ.get("FAAS_CLI", ""))
APP = """
from regrain import App

app = App("greeter", sample={{"name": "you"}})


@app.stage()
def greet(name: str) -> str:
    return f"{word} {{name}}"


@app.flow
def greeter(name: str) -> str:
    return greet(name)
"""

BROKEN = """
from regrain import App

app = App("greeter", sample={"name": "you"})


@app.stage()
class Greet:
    def __init__(self):
        raise RuntimeError("there is no model")

    def __call__(self, name: str) -> str:
        return name


@app.flow
def greeter(name: str) -> str:
    return Greet(name)
"""


@dataclass(frozen=True)
class Gateway:
    """A gateway, its folder, and the commands that speak with it."""

    url: str
    state: Path

    def regrain(self, *args: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "REGRAIN_GATEWAY_STATE": str(self.state), "OPENFAAS_URL": self.url}
        command = [sys.executable, "-m", "regrain_watchdog.cli", *args]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False
        )

    def shows(self, pattern: str) -> None:
        """Wait until its functions are listed as a pattern says: the front tells how they do in its own time."""
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, (listed := self.regrain("status", "--platform", "local")).stdout):
            assert time.monotonic() < end, listed.stdout + listed.stderr

    def call(self, name: str) -> str:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(f"{self.url}/function/{name}", json={"name": "Ada"}, timeout=PATIENCE)
        answer.raise_for_status()
        return answer.text


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    state = tmp_path_factory.mktemp("gateway")
    flags = ["--state", str(state), "--port", "0", "--metrics-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "regrain_watchdog.cli", "gateway", *flags],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PIP_NO_INDEX": "1"},
    )
    assert process.stdout is not None
    found = re.search(r"http://\S+?(?=,)", process.stdout.readline())
    assert found is not None
    made = Gateway(found[0], state)
    try:
        made.shows("no functions\n")  # its control plane answers, which a build needs
        yield made
    finally:
        process.terminate()
        code = process.wait(PATIENCE)
        process.stdout.close()
    assert code == 0


@pytest.fixture
def app(tmp_path: Path) -> Callable[[str], str]:
    """Write an app that greets with a word."""

    def write(word: str) -> str:
        (tmp_path / "app.py").write_text(APP.format(word=word))
        return str(tmp_path)

    return write


def test_an_app_is_built_deployed_called_seen_and_removed(gateway, app):
    deployed = gateway.regrain("deploy", app("Hello"))
    assert deployed.returncode == 0, deployed.stderr
    answer = gateway.call("greeter")
    gateway.shows("greeter +ready +1 of 1 +greeter:latest")
    removed = gateway.regrain("remove", "greeter")
    after = gateway.regrain("status", "--platform", "local")

    assert deployed.stdout == f"greeter ready {gateway.url}/function/greeter.openfaas-fn\n"
    assert "app greeter with the stages greet" in deployed.stderr
    assert "greeter ready, 1 of 1 replicas" in deployed.stderr
    assert answer == "Hello Ada"
    assert (removed.stdout, after.stdout) == ("greeter is removed\n", "no functions\n")


def test_a_changed_app_serves_once_the_command_has_ended(gateway, app):
    answers = []
    for word in ("Hello", "Hey", "Ahoy"):
        assert gateway.regrain("deploy", app(word)).returncode == 0
        answers.append(gateway.call("greeter"))
    gateway.regrain("remove", "greeter")

    assert answers == ["Hello Ada", "Hey Ada", "Ahoy Ada"]


def test_a_changed_app_that_does_not_start_leaves_the_one_before(gateway, app, tmp_path):
    gateway.regrain("deploy", app("Hello"))
    (tmp_path / "app.py").write_text(BROKEN)
    deployed = gateway.regrain("deploy", str(tmp_path))
    answer = gateway.call("greeter")
    gateway.regrain("remove", "greeter")

    assert deployed.returncode == 1
    assert "greeter failed: the version before serves, as the new one did not start" in deployed.stderr
    assert "there is no model" in deployed.stderr
    assert answer == "Hello Ada"


def test_by_openfaas_api_an_image_that_is_there_is_deployed(gateway, app, tmp_path):
    gateway.regrain("deploy", app("Hello"))
    password = ["--user", "admin", "--password-file", str(gateway.state / "basic-auth-password")]
    where = ["--platform", "openfaas", *password]
    deployed = gateway.regrain("deploy", app("Hello"), *where, "--image", "greeter:latest", "--name", "other")
    answer = gateway.call("other")
    unknown = gateway.regrain("deploy", app("Hello"), *where, "--image", "nobody/built:it")
    removed = [gateway.regrain("remove", name, *where).returncode for name in ("other", "greeter", "other")]

    assert deployed.returncode == 0, deployed.stderr
    assert answer == "Hello Ada"
    assert unknown.returncode == 1
    assert "image: nobody/built:it was not built here" in unknown.stderr
    assert removed == [0, 0, 1]


def test_an_app_that_cannot_be_built_leaves_nothing(gateway, app, tmp_path):
    (tmp_path / "requirements.txt").write_text("regrain\nno-such-requirement-anywhere==99\n")
    deployed = gateway.regrain("deploy", app("Hello"))

    assert deployed.returncode == 1
    assert "greeter:latest was not built: the requirements could not be installed" in deployed.stderr
    assert gateway.regrain("status", "--platform", "local").stdout == "no functions\n"


def test_a_wrong_password_is_told(gateway, tmp_path):
    (tmp_path / "password").write_text("wrong")
    flags = ["--platform", "openfaas", "--user", "admin", "--password-file", str(tmp_path / "password")]
    outcome = gateway.regrain("status", *flags)

    assert outcome.returncode == 1
    assert outcome.stderr == f"regrain: {gateway.url} refuses this user and password, or asks for one\n"


@pytest.mark.skipif(FAAS_CLI is None, reason="FAAS_CLI names no faas-cli")
def test_the_login_of_faas_cli_is_enough(gateway, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENFAAS_CONFIG", str(tmp_path))
    before = gateway.regrain("status", "--platform", "openfaas")
    subprocess.run(
        [FAAS_CLI, "login", "-g", gateway.url, "--password-stdin"],
        input=(gateway.state / "basic-auth-password").read_text(),
        text=True,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    after = gateway.regrain("status", "--platform", "openfaas")

    assert (before.returncode, after.returncode) == (1, 0)
    assert after.stdout == "no functions\n"
