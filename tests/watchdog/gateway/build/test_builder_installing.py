"""Installing what a handler requires: once, whole or not at all, and with room for large packages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from regrain_watchdog.gateway import sandbox
from regrain_watchdog.gateway.build import environment
from regrain_watchdog.gateway.build.builder import Builder
from regrain_watchdog.gateway.build.errors import BuildError
from regrain_watchdog.gateway.sandbox import Cell
from regrain_watchdog.gateway.spec import Image
from regrain_watchdog.gateway.store import Store

Built = Callable[[Builder, bytes], tuple[list[str], Image]]
Sent = Callable[..., bytes]
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
    built: Built,
    sent: Sent,
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


def test_requirements_are_installed_once(  # noqa: PLR0917 - pytest gives them by name
    builder: Builder,
    state: Path,
    built: Built,
    sent: Sent,
    context: Callable[..., dict[str, str]],
    wheel: Callable[..., None],
) -> None:
    wheel(state / "pip", "regrain_test_word", "1.0", "word = 'hi'\n")
    app = "from regrain_test_word import word\n" + context()["function/app.py"]
    requirements = "regrain\nregrain-test-word==1.0\n"

    first_lines, first = built(builder, sent(app, requirements))
    again_lines, again = built(builder, sent(app + "# changed\n", requirements))

    assert any("Successfully installed regrain" in line for line in first_lines)
    assert first.environment == again.environment != ""
    assert f"requirements: as installed before ({Path(first.environment).name})" in again_lines
    assert first.digest != again.digest


def test_an_installation_that_was_killed_is_done_again(
    builder: Builder, state: Path, built: Built, sent: Sent
) -> None:
    left = state / "environments" / environment.key(["numpy>=2"], "")
    (left / "lib").mkdir(parents=True)
    (left / "mark").touch()

    _, image = built(builder, sent(requirements="numpy>=2\n"))

    assert image.environment == str(left)
    assert (left / environment.COMPLETE).exists()
    assert not (left / "mark").exists()


def test_requirements_that_the_gateway_meets_need_no_index(
    builder: Builder, built: Built, sent: Sent
) -> None:
    lines, image = built(builder, sent(requirements="regrain\nnumpy>=2\n"))

    assert image.environment
    assert lines[1] == "requirements: installing numpy>=2"
    assert not any("already satisfied" in line for line in lines)


def test_a_requirement_that_does_not_exist_is_named(
    builder: Builder, store: Store, state: Path, built: Built, sent: Sent
) -> None:
    _, before = built(builder, sent())

    with pytest.raises(BuildError, match=r"could not be installed: .*no-such-thing-at-all"):
        built(builder, sent(requirements="no-such-thing-at-all==1.0\n"))

    assert store.image("hello") == before
    assert list((state / "environments").glob("*/")) == []
    assert list((state / "builds").iterdir()) == []


def test_an_installation_that_takes_too_long_ends(
    make_builder: Callable[..., Builder], state: Path, built: Built, sent: Sent
) -> None:
    with pytest.raises(BuildError, match=r"installing the requirements took more than 0\.1 s"):
        built(make_builder(install=0.1), sent(requirements="numpy\n"))

    assert list((state / "environments").glob("*/")) == []


def test_two_builds_of_the_same_requirements_install_once(builder: Builder, sent: Sent) -> None:
    with builder.draft() as one, builder.draft() as two:
        for draft, image in ((one, "one"), (two, "two")):
            (draft / "sent.tar").write_bytes(sent(requirements="numpy\n", image=image))
        first, second = builder.build(one, one / "sent.tar"), builder.build(two, two / "sent.tar")
        while "installing" not in "".join(next(first)):
            pass
        waiting = [next(second), next(second)][-1]
        rest = [line for lines in first for line in lines]
        then = [line for lines in second for line in lines]

    assert waiting == ["requirements: another build is at the same ones; waiting for it"]
    assert rest[-1].startswith("image one")
    assert then[0].startswith("requirements: as installed before")
    assert then[-1].startswith("image two")


def test_an_installation_whose_app_does_not_start_serves_the_next_try_and_goes_where_none_needs_it(
    builder: Builder, state: Path, built: Built, sent: Sent
) -> None:
    for requirements in ("numpy>=2\n", "numpy>=1\n"):
        with pytest.raises(BuildError, match="ZeroDivisionError"):
            built(builder, sent("1 / 0\n", requirements))

    lines, image = built(builder, sent(requirements="numpy>=2\n"))

    assert any("as installed before" in line for line in lines)
    assert [str(found) for found in (state / "environments").glob("*/")] == [image.environment]
