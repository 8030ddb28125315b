"""The template as faas-cli takes it: from a git repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def template() -> Path:
    return ROOT / "template" / "regrain"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with the template and nothing else."""
    folder = tmp_path / "repository"
    shutil.copytree(ROOT / "template", folder / "template", ignore=shutil.ignore_patterns("__pycache__"))
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "template"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True, timeout=60)
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def cli(work: Path) -> Cli:
    """faas-cli, run in a folder of its own."""
    binary = os.environ.get("FAAS_CLI")
    if not binary:
        pytest.skip("FAAS_CLI names no faas-cli")

    def run(*arguments: str, folder: Path = work) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(work), "OPENFAAS_CONFIG": str(work / "config")}
        return subprocess.run(
            [binary, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            check=False,
        )

    return run
