"""Contexts as faas-cli sends them, and a builder over a state folder of its own."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from regrain_watchdog.gateway import sandbox
from regrain_watchdog.gateway.build.builder import Builder, Limits
from regrain_watchdog.gateway.sandbox import Cell, Means
from regrain_watchdog.gateway.spec import Image
from regrain_watchdog.gateway.store import Store

APP = """\
from regrain import App

app = App("hello")


@app.stage()
def greet(name: str) -> str:
    return f"Hello, {name}!"


@app.flow
def hello(name: str = "world") -> str:
    return greet(name)
"""
TEMPLATE = "language: regrain\nfprocess: regrain run function\n"


def _tarred(files: dict[str, str | bytes], *, image: str = "hello:latest", **config: object) -> bytes:
    """Return an archive of a context, with the config at its end."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        named: dict[str, str | bytes] = {f"context/{path}": text for path, text in files.items()}
        named["com.openfaas.docker.config"] = json.dumps({"image": image, **config})
        for path, text in named.items():
            content = text if isinstance(text, bytes) else text.encode()
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def _context(app: str = APP, requirements: str = "regrain\n", **more: str) -> dict[str, str | bytes]:
    """Return the files of a context made with our template."""
    return {
        "template.yml": TEMPLATE,
        "function/app.py": app,
        "function/requirements.txt": requirements,
        **more,
    }


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def store(state: Path) -> Iterator[Store]:
    store = Store(state / "gateway.db")
    yield store
    store.close()


@pytest.fixture(scope="session")
def means(tmp_path_factory: pytest.TempPathFactory) -> Means:
    folder = str(tmp_path_factory.mktemp("probe"))
    return sandbox.probe(Cell(user=sandbox.BUILDER, home=f"{folder}/home", hidden=folder))


@pytest.fixture
def make_builder(state: Path, store: Store, means: Means) -> Callable[..., Builder]:
    """Builders over one state; installations take what is in its folder for pip, and nothing from elsewhere."""
    shelf = state / "pip"
    shelf.mkdir()
    pip = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": str(shelf)}
    environ = {**os.environ, "OPENFAAS_PASSWORD": "hush", **pip}

    def make(**limits: object) -> Builder:
        return Builder(state, store, means, environ, Limits(spare=0, **limits))  # type: ignore[arg-type]

    return make


@pytest.fixture
def builder(make_builder: Callable[..., Builder]) -> Builder:
    return make_builder()


@pytest.fixture
def built() -> Callable[[Builder, bytes], tuple[list[str], Image]]:
    """Build an archive; return the lines and the image."""

    def build(builder: Builder, sent: bytes) -> tuple[list[str], Image]:
        lines: list[str] = []
        with builder.draft() as draft:
            path = draft / "sent.tar"
            path.write_bytes(sent)
            steps = builder.build(draft, path)
            while True:
                try:
                    lines += next(steps)
                except StopIteration as end:
                    return lines, end.value

    return build


@pytest.fixture
def tarred() -> Callable[..., bytes]:
    """Make an archive of files, with the config at its end."""
    return _tarred


@pytest.fixture
def context() -> Callable[..., dict[str, str | bytes]]:
    """Make the files of a context of our template."""
    return _context


@pytest.fixture
def sent(
    tarred: Callable[..., bytes], context: Callable[..., dict[str, str | bytes]]
) -> Callable[..., bytes]:
    """Make an archive of a context of our template."""
    return lambda *files, image="hello:latest", **more: tarred(context(*files, **more), image=image)


@pytest.fixture
def wheel() -> Callable[[Path, str, str, str], None]:
    """Write a wheel of one module into a folder."""
    return _wheel


def _wheel(folder: Path, name: str, version: str, module: str) -> None:
    """Write a wheel that holds one module."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", module)
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture
def filling(state: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Have a disk of so many bytes that builds fill; return how many were left at each look."""

    def disk(nbytes: int) -> list[int]:
        left: list[int] = []

        def look(_: object) -> SimpleNamespace:
            files = [path for path in (state / "builds").rglob("*") if path.is_file()]
            left.append(nbytes - sum(path.stat().st_size for path in files))
            return SimpleNamespace(free=left[-1])

        monkeypatch.setattr("shutil.disk_usage", look)
        return left

    return disk
