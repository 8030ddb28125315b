"""Which handlers can be served without a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from regrain_watchdog.gateway.build import template
from regrain_watchdog.gateway.build.errors import BuildError
from regrain_watchdog.gateway.build.template import Handler


def context(tmp_path: Path, text: str, folder: str = "function") -> Path:
    (tmp_path / folder).mkdir()
    (tmp_path / "template.yml").write_text(text)
    return tmp_path


def test_our_template_has_its_handler_in_function(tmp_path: Path) -> None:
    made = context(tmp_path, "language: regrain\nfprocess: regrain run function\n")

    assert template.handler(made) == Handler(template="regrain", folder=tmp_path / "function")


def test_an_application_is_named_by_what_the_template_starts(tmp_path: Path) -> None:
    made = context(tmp_path, "language: flask\nfprocess: wsgi:site.main:app\n")

    assert template.handler(made) == Handler(
        template="flask", folder=tmp_path / "function", application="site.main:app"
    )


@pytest.mark.parametrize("starts", ["python index.py", "python3 index.py", '"/usr/bin/python3 index.py"'])
def test_a_handler_of_openfaas_python_template_is_taken(starts: str, tmp_path: Path) -> None:
    made = context(tmp_path, f"language: python3-http\nfprocess: {starts}\nhandler_folder: src\n", "src")

    assert template.handler(made) == Handler(template="python3-http", folder=tmp_path / "src")


@pytest.mark.parametrize(
    "text", ["language: go\nfprocess: ./handler\n", "", "fprocess: python index.py --x\n"]
)
def test_what_only_a_container_can_start_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="in a container, and there is none here"):
        template.handler(context(tmp_path, text))


@pytest.mark.parametrize("folder", ["other", "../..", "/etc"])
def test_a_handler_folder_is_in_the_context(folder: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no folder"):
        template.handler(context(tmp_path, f"language: regrain\nhandler_folder: {folder}\n"))
