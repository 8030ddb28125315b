"""The unmodified faas-cli against the control plane alone; FAAS_CLI names the binary."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from regrain_watchdog.gateway.credentials import Credentials
from regrain_watchdog.gateway.journal import Journal, Line
from regrain_watchdog.gateway.spec import Standing

FAAS_CLI = shutil.which(os.environ.get("FAAS_CLI", ""))
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(FAAS_CLI is None, reason="FAAS_CLI does not name the faas-cli binary"),
]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def control(start, free_ports: list[int]):
    return start(address=f"127.0.0.1:{free_ports[0]}")


@pytest.fixture
def environment(control, tmp_path: Path) -> dict[str, str]:
    return {
        **{name: text for name, text in os.environ.items() if not name.startswith("OPENFAAS_")},
        "OPENFAAS_CONFIG": str(tmp_path / "config"),
        "OPENFAAS_URL": f"http://{control.address}",
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Run faas-cli against the control plane; its output is stdout and stderr."""

    def faas(*arguments: str, stdin: str = "", code: int = 0) -> str:
        done = subprocess.run(
            [str(FAAS_CLI), *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
            env=environment,
            cwd=tmp_path,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    return faas


@pytest.fixture
def faas(run: Run, control) -> Run:
    """The same, logged in."""
    password = Credentials.load(control.settings.folder).password
    assert "credentials saved for admin" in run("login", "--password-stdin", stdin=password)
    return run


@pytest.fixture
def hello(faas: Run) -> Iterator[None]:
    faas("deploy", "--image", "hello", "--name", "hello")
    return


def test_who_is_not_logged_in_gets_nothing(run: Run) -> None:
    assert "password is incorrect" in run("login", "--password-stdin", stdin="wrong", code=1)
    assert "unauthorized" in run("list", code=1).lower()


def test_version_tells_the_provider_s(faas: Run) -> None:
    told = faas("version", "--warn-update=false")

    assert re.search(r"name:\s+regrain", told)
    assert re.search(r"orchestration:\s+processes", told)


def test_a_function_is_deployed_listed_described_and_removed(faas: Run, control, front) -> None:
    deployed = faas("deploy", "--image", "hello:latest", "--name", "hello", "--label", "a=b", "--env", "c=d")
    assert "Deployed. 202 Accepted." in deployed
    front.standings = [
        Standing(name="hello", namespace="openfaas-fn", state="ready", replicas=1, available=1, invocations=7)
    ]

    assert re.search(r"hello\s+7\s+1", faas("list"))
    assert re.search(r"hello\s+hello:latest\s+7\s+1\s+\S+", faas("list", "-v"))
    described = faas("describe", "hello")
    for line in (r"Status:\s+Ready", r"Invocations:\s+7", r"Image:\s+hello:latest", "a: b", "c: d"):
        assert re.search(line, described), described
    assert "Deployed. 202 Accepted." in faas("deploy", "--image", "hello", "--name", "hello")
    assert "ready" in faas("ready", "hello")

    assert "Removing old function." in faas("remove", "hello")
    assert "No existing function to remove" in faas("remove", "hello", code=1)
    assert "No such function" in faas("describe", "hello", code=1)


def test_a_deployment_that_cannot_be_is_told(faas: Run) -> None:
    assert "was not built here" in faas("deploy", "--image", "other", "--name", "hello", code=1)
    assert "there is no nope" in faas(
        "deploy", "--image", "hello", "--name", "hello", "--secret", "nope", code=1
    )


def test_secrets(faas: Run, control) -> None:
    file = control.settings.secrets / "openfaas-fn" / "key"

    assert "Created: 202 Accepted" in faas("secret", "create", "key", "--from-literal", "one")
    assert re.search(r"^key\s*$", faas("secret", "list"), re.MULTILINE)
    assert "already exists" in faas("secret", "create", "key", "--from-literal", "two")
    assert file.read_bytes() == b"one"
    faas("secret", "create", "key", "--from-literal", "three", "--replace")
    assert file.read_bytes() == b"three"
    assert "Updated: 202 Accepted" in faas("secret", "update", "key", "--from-literal", "four")
    assert file.read_bytes() == b"four"
    assert "202 Accepted" in faas("deploy", "--image", "hello", "--name", "hello", "--secret", "key")
    assert "is named by hello" in faas("secret", "remove", "key", code=1)
    faas("remove", "hello")
    assert "Removed" in faas("secret", "remove", "key")
    assert not file.exists()
    faas("secret", "remove", "key", code=1)


def test_namespaces(faas: Run) -> None:
    assert "Namespace Created: red" in faas("namespace", "create", "red", "--label", "a=b")
    assert re.search(r"openfaas-fn\s+.*red", faas("namespace", "list"), re.DOTALL)
    assert "a: b" in faas("namespace", "get", "red")
    assert "Namespace Updated: red" in faas("namespace", "update", "red", "--label", "a=c")
    assert "202 Accepted" in faas("deploy", "--image", "hello", "--name", "hello", "-n", "red")
    assert re.search(r"hello\s+0\s+1", faas("list", "-n", "red"))
    assert "hello" not in faas("list")
    assert "remove them first" in faas("namespace", "delete", "red", code=1)
    faas("remove", "hello", "-n", "red")
    assert "Namespace Removed: red" in faas("namespace", "delete", "red")


def write(journal: Journal, number: int) -> None:
    journal.write(
        Line(
            name="hello",
            namespace="openfaas-fn",
            instance="1",
            timestamp=datetime(2026, 1, 1, 0, 0, number, tzinfo=UTC),
            text=f"line {number}",
        )
    )


@pytest.mark.usefixtures("hello")
def test_logs(faas: Run, control) -> None:
    journal = Journal(control.settings.log("openfaas-fn", "hello"))
    for number in range(3):
        write(journal, number)
    journal.close()

    assert re.findall("line .", faas("logs", "hello", "--lines=2", "--tail=false")) == ["line 1", "line 2"]
    assert "line 0" in faas("logs", "hello", "--tail=false", "--instance")
    assert faas("logs", "hello", "--tail=false", "--since=1s").strip() == ""


@pytest.mark.usefixtures("hello")
def test_logs_are_followed(control, environment: dict[str, str]) -> None:
    journal = Journal(control.settings.log("openfaas-fn", "hello"))
    following = subprocess.Popen(
        [str(FAAS_CLI), "logs", "hello"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert following.stdout is not None

    found = []
    for number in range(3):
        write(journal, number)
        found.append(following.stdout.readline().split(" ", 1)[1].strip())
    following.kill()
    following.communicate()
    journal.close()

    assert found == ["line 0", "line 1", "line 2"]
