"""OpenFaaS' own clients, unmodified, each where a variable names its binary."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
PATIENCE = 60.0
FAAS_CLI = shutil.which(os.environ.get("FAAS_CLI", ""))


class FaasCli:
    """The unmodified faas-cli in a folder, logged in to a gateway; its output is stdout and stderr."""

    def __init__(self, gateway: Any, folder: Path) -> None:
        self.gateway = gateway
        self.folder = folder
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("OPENFAAS_")},
            "OPENFAAS_CONFIG": str(folder / "config"),
            "OPENFAAS_URL": gateway.url,
        }
        self("login", "--password-stdin", stdin=gateway.auth[1])

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        done = subprocess.run(
            [str(FAAS_CLI), *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=self.environment,
            cwd=self.folder,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def up(self, stack: str = "stack.yaml", code: int = 0) -> str:
        """Build with the gateway, and deploy."""
        key = str(self.gateway.state / "payload-secret")
        builder = ["--remote-builder", self.gateway.url, "--payload-secret", key]
        return self("up", "-f", stack, *builder, code=code)

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Run it beside the test."""
        return subprocess.Popen(
            [str(FAAS_CLI), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            cwd=self.folder,
        )


@pytest.fixture
def faas(gateway: Any, tmp_path: Path) -> FaasCli:
    """faas-cli, logged in to the test's gateway."""
    if FAAS_CLI is None:
        pytest.skip("FAAS_CLI does not name the faas-cli binary")
    folder = tmp_path / "work"
    folder.mkdir()
    return FaasCli(gateway, folder)


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository that holds the template, as a clone of this project does."""
    repository = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "template", repository / "template")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "templates"]):
        subprocess.run([*git, *arguments], cwd=repository, check=True, capture_output=True)
    return repository
