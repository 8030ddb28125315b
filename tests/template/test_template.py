"""The template's app works at once, and the real faas-cli makes functions of it and of the examples."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from flask import Flask
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from werkzeug.serving import make_server

from regrain import testing
from regrain_watchdog.gateway.build import endpoint
from regrain_watchdog.gateway.store import Store

ROOT = Path(__file__).parents[2]
CLIENT = pytest.mark.skipif("FAAS_CLI" not in os.environ, reason="FAAS_CLI names no faas-cli")

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def builds(tmp_path: Path) -> Iterator[tuple[str, Path, Store]]:
    """A gateway's endpoint for builds, served: its URL, the file of its key, its store."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    key = state / "payload-secret"
    key.write_text("a key\n")
    store = Store(state / "gateway.db")
    app = Flask("builds")
    app.register_blueprint(endpoint.make(state, store, key, os.environ))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", key, store
    server.shutdown()
    thread.join()
    server.server_close()
    store.close()


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_its_app_counts_words(template: Path, grain: str) -> None:
    spec = importlib.util.spec_from_file_location("template_app", template / "function" / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert testing.run(module.app, "The fox and the dog", grain=grain) == {
        "the": 2,
        "fox": 1,
        "and": 1,
        "dog": 1,
    }


def test_its_fields_are_those_that_the_gateway_reads(template: Path) -> None:
    read = yaml.safe_load((template / "template.yml").read_text())

    assert read["language"] == "regrain"
    assert read["fprocess"] == "regrain run function"


def test_its_container_needs_no_root_and_no_writable_one(template: Path) -> None:
    lines = (template / "Dockerfile").read_text().splitlines()

    stages = [line for line in lines if line.startswith("FROM ")]
    assert stages == ["FROM ${BASE} AS python", "FROM python AS build", "FROM python"]
    assert "USER 10001:10001" in lines[lines.index("FROM python") :]
    base = r"ARG BASE=docker\.io/library/python@sha256:[0-9a-f]{64}"
    assert any(re.fullmatch(base, line) for line in lines)


@pytest.mark.parametrize(
    ("wanted", "extras", "both", "installed"),
    [
        ("regrain", "", False, ["regrain -r requirements.txt"]),
        ("regrain==0.1.0", "", False, ["regrain==0.1.0 -r requirements.txt"]),
        ("regrain==0.1.0", "gpu,plan", False, ["regrain[gpu,plan]==0.1.0 -r requirements.txt"]),
        ("regrain >=0.1", "plan", False, ["regrain[plan] >=0.1 -r requirements.txt"]),
        (
            "./regrain-0.1.0-py3-none-any.whl",
            "plan",
            False,
            ["./regrain-0.1.0-py3-none-any.whl[plan] -r requirements.txt"],
        ),
        ("regrain", "gpu", True, ["regrain[gpu] -r requirements.txt", "--no-deps onnxruntime-gpu==1.2.3"]),
    ],
)
def test_the_container_installs_what_its_arguments_say(
    *,
    template: Path,
    tmp_path: Path,
    wanted: str,
    extras: str,
    both: bool,
    installed: list[str],
) -> None:
    text = (template / "Dockerfile").read_text()
    (command,) = re.findall(r"^RUN (touch (?:.*\\\n)*.*)", text, flags=re.MULTILINE)
    for name, body in {
        "pip": f'echo "$@" >> {tmp_path}/said; echo "Version: 1.2.3"; [ "$1" != show ] || {str(both).lower()}',
        "python": "true",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    subprocess.run(
        ["sh", "-ec", command.replace("/opt/venv/bin", str(tmp_path))],
        cwd=tmp_path,
        env={"REGRAIN": wanted, "EXTRAS": extras, "PATH": os.environ["PATH"]},
        check=True,
        timeout=60,
    )

    said = (tmp_path / "said").read_text().splitlines()
    quiet = "install --no-cache-dir --disable-pip-version-check "
    assert [line.removeprefix(quiet) for line in said if line.startswith(quiet)] == installed
    assert ("uninstall -q -y onnxruntime onnxruntime-gpu" in said) == both


def test_the_stack_deploys_the_examples() -> None:
    functions = yaml.safe_load((ROOT / "stack.yml").read_text())["functions"]

    assert set(functions) == {"hello", "ocr"}
    for function in functions.values():
        assert function["lang"] == "regrain"
        handler = ROOT / function["handler"]
        assert (handler / "app.py").is_file()
        assert "regrain" in (handler / "requirements.txt").read_text()


def test_the_stacks_requirements_bring_what_its_apps_import_and_read() -> None:
    """A build imports the app and reads its sample, where nothing else is installed."""
    functions = yaml.safe_load((ROOT / "stack.yml").read_text())["functions"]
    homes = {name: {*map(canonicalize_name, of)} for name, of in packages_distributions().items()}
    for handler in (ROOT / function["handler"] for function in functions.values()):
        app = (handler / "app.py").read_text()
        imported = re.findall(r"^(?:import|from) (\w+)", app, flags=re.MULTILINE)
        read = re.findall(r'"(\w+):\w', app)
        own = {"regrain", *sys.stdlib_module_names, *(path.stem for path in handler.glob("*.py"))}

        brought = _brought(handler / "requirements.txt")

        assert {name for name in {*imported, *read} - own if brought.isdisjoint(homes.get(name, ()))} == set()


def _brought(requirements: Path) -> set[str]:
    """The distributions that a file of requirements installs, and those that they pull in."""
    lines = (line.partition("#")[0] for line in requirements.read_text().splitlines())
    waiting = [Requirement(line) for line in lines if line.strip()]
    seen: set[tuple[str, str]] = set()
    while waiting:
        one = waiting.pop()
        home = canonicalize_name(one.name)
        for extra in {"", *one.extras} - {extra for name, extra in seen if name == home}:
            seen.add((home, extra))
            needs = map(Requirement, requires(home) or ())
            waiting += [need for need in needs if not need.marker or need.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


@CLIENT
def test_a_new_function_has_the_templates_handler(
    cli: Cli, work: Path, repository: Path, template: Path
) -> None:
    assert cli("template", "pull", str(repository)).returncode == 0

    made = cli("new", "words", "--lang", "regrain")

    assert made.returncode == 0, made.stderr
    assert "two stages" in made.stdout
    assert (work / "words" / "app.py").read_text() == (template / "function" / "app.py").read_text()
    assert sorted(path.name for path in (work / "words").iterdir()) == [
        "README.md",
        "app.py",
        "requirements.txt",
    ]


@CLIENT
def test_the_stack_becomes_contexts_without_docker(
    cli: Cli, work: Path, repository: Path, template: Path
) -> None:
    cli("template", "pull", str(repository))
    shutil.copy(ROOT / "stack.yml", work)
    for name in ("hello", "ocr"):
        shutil.copytree(ROOT / "examples" / name, work / "examples" / name)

    done = cli("build", "--shrinkwrap", "-f", "stack.yml")

    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("hello", "ocr"):
        context = work / "build" / name
        assert (context / "Dockerfile").read_text() == (template / "Dockerfile").read_text()
        assert (context / "function" / "app.py").is_file()


@CLIENT
@pytest.mark.process
def test_a_handler_is_built_by_the_remote_builder(
    cli: Cli, work: Path, repository: Path, builds: tuple[str, Path, Store]
) -> None:
    url, key, store = builds
    remote = ("--remote-builder", url, "--payload-secret", str(key))
    cli("template", "pull", str(repository))
    cli("new", "words", "--lang", "regrain")

    done = cli("publish", "-f", "stack.yaml", *remote)
    first = store.image("words:latest")
    (work / "words" / "app.py").write_text("import nothing_of_this_name\n")
    failed = cli("publish", "-f", "stack.yaml", *remote)
    key.write_text("another key")
    refused = cli("publish", "-f", "stack.yaml", *remote[:2], "--payload-secret", __file__)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "app words with the stages split, count" in done.stdout
    assert first is not None
    assert failed.returncode == 1
    assert "No module named 'nothing_of_this_name'" in failed.stdout + failed.stderr
    assert store.image("words") == first
    assert refused.returncode == 1
    assert "401" in refused.stdout + refused.stderr
