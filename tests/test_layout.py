"""The project's own rules about its shape, held by machine."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOTS = ("sdk", "runtime", "watchdog")
SOURCES = sorted(path for root in ROOTS for path in (ROOT / root).rglob("*.py"))
FILE_LINES = 400
FUNCTION_LINES = 50


def test_the_source_roots_are_no_packages() -> None:
    """With an __init__.py in it, `watchdog` would hide the PyPI package of that name."""
    assert [root for root in ROOTS if (ROOT / root / "__init__.py").exists()] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1}"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]

    assert text.count("\n") <= FILE_LINES
    assert long == []


def test_files_of_tests_and_benchmarks_stay_short() -> None:
    files = [path for root in ("tests", "benchmarks") for path in (ROOT / root).rglob("*.py")]

    assert files
    assert [path for path in files if path.read_text().count("\n") > FILE_LINES] == []


def test_no_file_is_a_drawer_for_everything() -> None:
    assert [path for path in SOURCES if path.stem in ("utils", "util", "helpers", "misc", "common")] == []


LOOP = "runtime/regrain_runtime/loop.py"
POLICY = "watchdog/regrain_watchdog/policy/batch.py"
FRONT = "watchdog/regrain_watchdog/front/route.py"
SIMULATE = "watchdog/regrain_watchdog/simulate/__init__.py"
VIOLATIONS = [
    pytest.param(LOOP, "import regrain_watchdog.policy", id="runtime imports watchdog"),
    pytest.param(POLICY, "import time", id="a policy reads a clock"),
    pytest.param(POLICY, "import regrain_watchdog.front.route", id="a policy imports the front"),
    pytest.param(
        "watchdog/regrain_watchdog/control/outlook.py", "import time", id="the controller reads a clock"
    ),
    pytest.param("watchdog/regrain_watchdog/gpu/line.py", "import time", id="the arbiter reads a clock"),
    pytest.param(
        "watchdog/regrain_watchdog/gpu/line.py",
        "import regrain_watchdog.front.route",
        id="the arbiter imports the front",
    ),
    pytest.param("sdk/regrain/graph.py", "import regrain_runtime.loop", id="the sdk imports a room"),
    pytest.param(FRONT, "import torch", id="the front imports torch"),
    pytest.param(FRONT, "import numba", id="the front imports numba"),
    pytest.param(FRONT, "import regrain_watchdog.simulate", id="the front imports the simulator"),
    pytest.param(POLICY, "import scipy", id="a policy imports scipy, and the front with it"),
    pytest.param(
        "watchdog/regrain_watchdog/gateway/store.py", "import flask", id="the gateway's front imports flask"
    ),
    pytest.param(SIMULATE, "import regrain_watchdog.load", id="the simulator imports the load generator"),
]


@pytest.mark.parametrize(("path", "line"), VIOLATIONS)
def test_lint_imports_catches_a_broken_layer(path: str, line: str, tmp_path: Path) -> None:
    for root in ROOTS:
        shutil.copytree(ROOT / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    broken = tmp_path / path
    broken.write_text(broken.read_text() + f"\n{line}\n")

    result = _lint(tmp_path)

    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout


def test_lint_imports_finds_the_layers_kept() -> None:
    result = _lint(ROOT)

    assert result.returncode == 0, result.stdout + result.stderr


def _lint(where: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    env = {"PYTHONPATH": ":".join(str(where / root) for root in ROOTS), "PATH": os.environ["PATH"]}
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, env=env)
