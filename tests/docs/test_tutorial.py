"""The tutorial, done as a reader would: files written, commands typed into one shell, output compared.

In expected output "..." stands for anything, within a line or for any number of lines. A command that ends in
"&" runs in the background; its output goes on arriving, so it is awaited, and compared once more at its end.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = "\n## 9. As a function: faas-cli up\n"
"""What needs faas-cli begins here."""
FAAS_CLI = shutil.which(os.environ.get("FAAS_CLI", ""))
PATIENCE = 60.0
LOOK = 0.5
"""Seconds between two looks at what tells a state."""
STATES = ("regrain status",)
"""Commands that tell a state, which may come a moment later: a reader asks again."""
ANNOUNCED = re.compile(r"^.* \.\.\.\n", re.MULTILINE)
"""What a command says on a machine where something takes it long."""


@dataclass(frozen=True)
class Command:
    line: str
    expected: str


def commands(block: str) -> list[Command]:
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [Command(*part.split("\n", 1)) for part in parts]


def pattern(expected: str) -> re.Pattern[str]:
    return re.compile("".join(map(line_pattern, expected.splitlines())))


def line_pattern(line: str) -> str:
    if line == "...":
        return r"(?:.*\n)*?"
    return ".*?".join(map(re.escape, line.split("..."))) + "\n"


class Shell:
    """One reader at one prompt, with at most one job in the background."""

    def __init__(self, folder: Path, ports: dict[str, str], **variables: str) -> None:
        self.folder = folder
        self.ports = ports
        self.env = {
            **os.environ,
            **variables,
            "PATH": f"{Path(sys.executable).parent}:{variables.get('PATH', os.environ['PATH'])}",
            "XDG_RUNTIME_DIR": str(folder.parent),
            "REGRAIN_METRICS_PORT": ports["8081"],
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.job: subprocess.Popen[bytes] | None = None
        self.log = folder.parent / "job.log"

    def run(self, command: Command) -> None:
        line, expected = self._moved(command.line), pattern(self._moved(command.expected))
        if line == "kill %1":
            self.stop()
            self._await(expected)
        elif line.endswith("&"):
            self.start(line.removesuffix("&"))
            self._await(expected)
        else:
            self._compare(line, expected)

    def start(self, line: str) -> None:
        with self.log.open("wb") as log:
            self.job = subprocess.Popen(
                ["bash", "-c", f"exec {line}"],
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> None:
        if self.job is not None:
            self.job.send_signal(signal.SIGTERM)
            assert self.job.wait(PATIENCE) == 0
            self.job = None

    def _compare(self, line: str, expected: re.Pattern[str]) -> None:
        until = time.monotonic() + (PATIENCE if line.startswith(STATES) else 0.0)
        while not expected.fullmatch(output := self._said(line)):
            assert time.monotonic() < until, f"$ {line}\n{output}\nis not\n{expected.pattern}"
            time.sleep(LOOK)

    def _said(self, line: str) -> str:
        """Do a command; return what it printed, and how it ended if not well."""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        output = (done.stdout + ANNOUNCED.sub("", done.stderr)).replace("\r\n", "\n")
        if done.returncode:
            output += f"[exit code {done.returncode}]\n"
        if output and not output.endswith("\n"):
            output += "\n"
        return output

    def _await(self, expected: re.Pattern[str]) -> None:
        """Wait until the job has printed what is expected of it so far."""
        until = time.monotonic() + PATIENCE
        ended = re.compile(expected.pattern + r"(?:.*\n)*")
        while not ended.fullmatch(self.log.read_text()):
            assert time.monotonic() < until, f"{self.log.read_text()}\nis not\n{expected.pattern}"
            if self.job is not None:
                try:
                    assert self.job.wait(0.05) is None, self.log.read_text()
                except subprocess.TimeoutExpired:
                    continue

    def _moved(self, text: str) -> str:
        """The tutorial's ports are whichever are free here."""
        for told, free in self.ports.items():
            text = text.replace(told, free)
        return text


def done(shell: Shell, text: str) -> int:
    """Do what a text says; return how many commands that were."""
    ran = 0
    try:
        for language, file, block in BLOCK.findall(text):
            if file:
                (shell.folder / file).write_text(block)
            elif language == "console":
                for command in commands(block):
                    shell.run(command)
                    ran += 1
    finally:
        shell.stop()
    return ran


@pytest.fixture
def folder() -> Iterator[Path]:
    """A reader's empty folder; its home's path is short, as that of a Unix socket may have 107 bytes."""
    with tempfile.TemporaryDirectory() as home:
        made = Path(home) / "tutorial"
        made.mkdir()
        yield made


@pytest.mark.process
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial calls curl, which is not installed")
def test_the_tutorial_does_what_it_says(folder: Path, free_ports: list[int]) -> None:
    shell = Shell(folder, {"8080": str(free_ports[0]), "8081": str(free_ports[1])})

    assert done(shell, TUTORIAL.read_text().partition(SECTION)[0]) >= 15


@pytest.mark.process
@pytest.mark.timeout(300)
@pytest.mark.skipif(FAAS_CLI is None, reason="FAAS_CLI does not name the faas-cli binary")
def test_the_tutorial_goes_on_with_faas_cli(folder: Path, free_ports: list[int]) -> None:
    before, heading, section = TUTORIAL.read_text().partition(SECTION)
    for _, file, text in BLOCK.findall(before):
        if file:
            (folder / file).write_text(text)
    programs = folder.parent / "bin"
    programs.mkdir()
    (programs / "faas-cli").symlink_to(str(FAAS_CLI))
    shell = Shell(
        folder,
        {"8080": str(free_ports[0]), "8081": str(free_ports[1])},
        PATH=f"{programs}:{os.environ['PATH']}",
        HOME=str(folder.parent),
        OPENFAAS_URL=f"http://127.0.0.1:{free_ports[0]}",
        REGRAIN=str(clone(folder.parent / "regrain")),
        REGRAIN_GATEWAY_METRICS_PORT=str(free_ports[1]),
    )
    shell.env.pop("XDG_STATE_HOME", None)

    assert heading
    assert done(shell, section) >= 10


def clone(folder: Path) -> Path:
    """A git repository that holds the template, as a clone of this project does."""
    shutil.copytree(ROOT / "template", folder / "template")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "templates"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True, capture_output=True)
    return folder
