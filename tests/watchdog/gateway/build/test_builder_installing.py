"""What an installation has room for, with a real one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from regrain_watchdog.gateway import sandbox
from regrain_watchdog.gateway.build.builder import Builder
from regrain_watchdog.gateway.sandbox import Cell
from regrain_watchdog.gateway.spec import Image

pytestmark = pytest.mark.process

WHEEL = "large-1.0-py3-none-any.whl"
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
BACKEND = f"""\
import os
import shutil


def build_wheel(folder, *_):
    return os.path.basename(shutil.copy({WHEEL!r}, folder))
"""


def test_wheels_that_no_tmp_would_hold_are_installed(  # noqa: PLR0917 - pytest gives them by name
    builder: Builder,
    built: Callable[[Builder, bytes], tuple[list[str], Image]],
    sent: Callable[..., bytes],
    context: Callable[..., dict[str, str]],
    wheel: Callable[..., None],
    state: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = partial(Cell, limits=sandbox.Limits(scratch=1 << 20))
    monkeypatch.setattr("regrain_watchdog.gateway.build.builder.Cell", small)
    wheel(tmp_path, "large", "1.0", "#" * (4 << 20))
    package = {
        "function/large/pyproject.toml": PROJECT,
        "function/large/backend.py": BACKEND,
        f"function/large/{WHEEL}": (tmp_path / WHEEL).read_bytes(),
    }

    _, image = built(builder, sent(context()["function/app.py"], "./large\n", **package))

    assert list(Path(image.environment).glob("lib/*/site-packages/large.py"))
    assert list((state / "builds").iterdir()) == []
