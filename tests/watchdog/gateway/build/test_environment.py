"""What is installed, and when it is not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from regrain_watchdog.gateway.build import environment
from regrain_watchdog.gateway.build.command import Command
from regrain_watchdog.gateway.build.environment import Environments
from regrain_watchdog.gateway.build.errors import BuildError


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("# nothing\n\n", []),
        ("regrain\n", []),
        ("Regrain # the SDK\n", []),
        ("regrain[onnx]\nnumpy>=2  # arrays\n", ["regrain[onnx]", "numpy>=2"]),
        ("a @ https://host/a.whl#sha256=1\n", ["a @ https://host/a.whl#sha256=1"]),
    ],
)
def test_what_the_gateway_has_is_not_installed(text: str, lines: list[str]) -> None:
    assert environment.needed(text) == lines


def test_the_same_requirements_are_one_environment() -> None:
    assert environment.key(["a", "b"], "files") == environment.key(["a", "b"], "other files")
    assert environment.key(["a"], "files") != environment.key(["b"], "files")


@pytest.mark.parametrize(
    "line",
    [
        "-r more.txt",
        "-rmore.txt",
        "-cconstraints.txt",
        "--constraint c",
        "--requirement=more.txt",
        "--requirement \\",
        "-f wheels",
        "--find-links wheels",
        "--index-url file:///opt/simple",
        "--index-url https://host/simple -r more.txt",
        "-e .",
        ".",
        "./local",
        "vendor/common",
        "vendor/lib-1.0-py3-none-any.whl",
        "lib-1.0-py3-none-any.whl",
        "lib-1.0-py3-none-any.whl[extra]",
        'lib-1.0.TAR.GZ; python_version > "3"',
        "/opt/a.whl",
        "a @ file:///a.whl",
        "a @ git+file:///a",
    ],
)
def test_requirements_that_stand_for_files_depend_on_the_files(line: str) -> None:
    assert environment.key([line], "files") != environment.key([line], "other files")


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "zope.interface [testing] >= 5, < 6",
        'numpy ~= 2.0; python_version > "3"',
        "numpy (>=2)",
        "numpy==2.0 \\",
        "--hash=sha256:0123 \\",
        "a @ https://host/a.whl#sha256=1",
        "a@git+https://host/a@main ; os_name == 'posix'",
        "https://host/lib-1.0-py3-none-any.whl",
        "--extra-index-url https://host/simple",
        "-i https://host/simple",
        "--only-binary :all:",
        "--pre",
    ],
)
def test_what_comes_from_an_index_or_a_host_is_no_file(line: str) -> None:
    assert environment.key([line], "files") == environment.key([line], "other files")


def test_environments_that_no_image_needs_are_removed(tmp_path: Path) -> None:
    for name in ("kept", "old", "under-way"):
        (tmp_path / name).mkdir()
    environments = Environments(tmp_path, 1.0)

    with environments.locked("under-way") as take:
        assert take()
        environments.prune(lambda: {str(tmp_path / "kept")})

    assert {path.name for path in tmp_path.glob("*/")} == {"kept", "under-way"}


def test_an_environment_stays_that_an_image_has_come_to_need(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    known = iter([set(), {str(tmp_path / "new")}])

    Environments(tmp_path, 1.0).prune(lambda: next(known))

    assert (tmp_path / "new").is_dir()


def test_an_installation_that_fills_the_disk_ends(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / environment.REQUIREMENTS).write_text("numpy\n")
    environments = Environments(tmp_path / "environments", 30.0, spare=1 << 60)

    def step(arguments: object, writes: object, folder: str) -> Command:
        return Command(["sh", "-c", "echo; sleep 100"], environment={}, folder=Path(folder), seconds=30.0)

    with ExitStack() as until, pytest.raises(BuildError, match="leaves less than 1048576 TiB of the disk"):
        list(environments.prepare(tmp_path / "app", "", step, until))

    assert list((tmp_path / "environments").glob("*/")) == []


@pytest.mark.parametrize("exists", [False, True])
def test_a_link_that_a_package_leaves_leads_nowhere(tmp_path: Path, *, exists: bool) -> None:
    outside = tmp_path / "outside"
    if exists:
        outside.write_text("as it was")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / environment.REQUIREMENTS).write_text("package\n")
    environments = Environments(tmp_path / "environments", 30.0)
    packages = "mkdir -p lib/python3/site-packages"
    link = f"ln -sf {outside} $(ls -d {tmp_path}/environments/*/)/{environment.COMPLETE}"

    def step(arguments: Sequence[str], writes: object, folder: str) -> Command:
        script = packages if "venv" in arguments else link
        return Command(["sh", "-c", script], environment=os.environ, folder=Path(folder), seconds=30.0)

    with ExitStack() as until, pytest.raises(FileExistsError):
        list(environments.prepare(tmp_path / "app", "", step, until))

    assert outside.exists() == exists
    assert list((tmp_path / "environments").glob("*/")) == []


def test_one_build_at_a_time_has_an_environment(tmp_path: Path) -> None:
    environments = Environments(tmp_path, 1.0)

    with environments.locked("a") as first, environments.locked("a") as second:
        assert (first(), second()) == (True, False)
    with environments.locked("a") as third:
        assert third()


def test_an_environment_is_on_disk_before_it_counts_as_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / environment.REQUIREMENTS).write_text("package\n")
    environments = Environments(tmp_path / "environments", 30.0)
    flushed: list[tuple[Path, bool]] = []
    monkeypatch.setattr(
        environment,
        "flush",
        lambda folder: flushed.append((folder, (folder / environment.COMPLETE).exists())),
    )

    def step(arguments: object, writes: object, folder: str) -> Command:
        script = "mkdir -p lib/python3/site-packages"
        return Command(["sh", "-c", script], environment=os.environ, folder=Path(folder), seconds=30.0)

    with ExitStack() as until:
        list(environments.prepare(tmp_path / "app", "", step, until))

    [folder] = (tmp_path / "environments").glob("*/")
    assert flushed == [(folder, False)]
    assert (folder / environment.COMPLETE).exists()
