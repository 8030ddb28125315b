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
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE = 30.0
PORT = 8080


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

    def __init__(self, folder: Path, ports: dict[str, str]) -> None:
        self.folder = folder
        self.ports = ports
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
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
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        output = (done.stdout + done.stderr).replace("\r\n", "\n")
        if done.returncode:
            output += f"[exit code {done.returncode}]\n"
        if not output.endswith("\n"):
            output += "\n"
        assert expected.fullmatch(output), f"$ {line}\n{output}\nis not\n{expected.pattern}"

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


@pytest.mark.process
@pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial calls curl, which is not installed")
def test_the_tutorial_does_what_it_says(tmp_path: Path, free_ports: list[int]) -> None:
    folder = tmp_path / "tutorial"
    folder.mkdir()
    shell = Shell(folder, {"8080": str(free_ports[0]), "8081": str(free_ports[1])})
    ran = 0

    try:
        for language, file, text in BLOCK.findall(TUTORIAL.read_text()):
            if file:
                (folder / file).write_text(text)
            elif language == "console":
                for command in commands(text):
                    shell.run(command)
                    ran += 1
    finally:
        shell.stop()

    assert ran >= 15
