"""A step of a build: its lines, its time, and nothing of it left."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from regrain_watchdog.gateway.build import command
from regrain_watchdog.gateway.build.command import Command, Lines
from regrain_watchdog.gateway.build.errors import BuildError


def shell(script: str, tmp_path: Path, **options: object) -> Command:
    return Command(
        ["sh", "-c", script],
        environment={"PATH": os.environ["PATH"]},
        folder=tmp_path,
        **{"seconds": 30.0, **options},  # type: ignore[arg-type]
    )


def some(running: Lines) -> list[str]:
    """The next lines; it says that it goes on where they take long."""
    return next(filter(None, running))


def test_its_lines_come_as_they_are_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    step = shell("echo one; cat go; echo two >&2; exit 3", tmp_path)
    running = step.run("it")

    first = some(running)
    (tmp_path / "go").write_text("")
    rest = [line for lines in running for line in lines]

    assert (first, rest, step.code) == (["one"], ["two"], 3)


def test_standard_output_can_go_to_a_file(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as output:
        lines = [*shell("echo out; echo err >&2", tmp_path, output=output).run("it")]

    assert [line for some in lines for line in some] == ["err"]
    assert (tmp_path / "out").read_text() == "out\n"


def test_it_ends_when_its_time_is_over(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"it took more than 0\.2 s"):
        list(shell("sleep 100", tmp_path, seconds=0.2).run("it"))


def test_one_that_closes_its_output_and_goes_on_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "END", 0.1)

    with pytest.raises(BuildError, match="it closed its output and went on"):
        list(shell("exec sleep 100 >&- 2>&-", tmp_path).run("it"))


def test_it_is_ended_with_its_children_when_nobody_listens_any_more(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    reading = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    running = shell("sleep 100 > alive & echo started; wait", tmp_path).run("it")
    assert some(running) == ["started"]

    running.close()

    os.set_blocking(reading, True)
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_an_empty_line_says_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "BEAT", 0.01)
    os.mkfifo(tmp_path / "go")
    running = shell("cat go", tmp_path).run("it")

    assert next(running) == []
    (tmp_path / "go").write_text("")
    assert [line for lines in running for line in lines] == []


def test_its_output_is_bounded(tmp_path: Path) -> None:
    program = "print('x' * 5000); [print(n) for n in range(9000)]"
    step = Command([sys.executable, "-c", program], environment={}, folder=tmp_path, seconds=60.0)

    lines = [line for some in step.run("it") for line in some]

    assert len(lines) == command.LINES
    assert len(lines[0]) == command.LINE
    assert lines[-1] == "(more is left out)"


def test_a_line_without_an_end_is_bounded(tmp_path: Path) -> None:
    step = Command(
        [sys.executable, "-c", "print('x' * 10_000_000)"], environment={}, folder=tmp_path, seconds=60.0
    )

    assert [len(line) for some in step.run("it") for line in some] == [command.LINE]
