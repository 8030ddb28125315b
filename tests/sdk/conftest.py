"""Weights are kept in a folder of the test run, and ONNX models are written as the benchmarks write theirs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ONNX_FILE = Path(__file__).parents[2] / "benchmarks" / "onnx_file.py"


@pytest.fixture(autouse=True)
def kept_weights(tmp_path, monkeypatch) -> Iterator[Path]:
    """The folder in which the test's models keep their weights; they are large, so they go with the test."""
    monkeypatch.setenv("REGRAIN_WEIGHTS", str(tmp_path / "kept"))
    yield tmp_path / "kept" / "regrain-weights"
    shutil.rmtree(tmp_path / "kept", ignore_errors=True)


@pytest.fixture(scope="session")
def onnx_file() -> ModuleType:
    spec = spec_from_file_location("regrain_benchmarks_onnx_file", ONNX_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(spec.name, module_from_spec(spec))
    spec.loader.exec_module(module)
    return module
