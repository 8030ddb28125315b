"""Builds on a disk that is short: what is freed for them, what is left free, and what is said where neither will do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from regrain_watchdog.gateway.build import images
from regrain_watchdog.gateway.build.builder import Builder, Limits
from regrain_watchdog.gateway.build.errors import BuildError
from regrain_watchdog.gateway.sandbox import Means
from regrain_watchdog.gateway.spec import DEFAULT_NAMESPACE, Deployment, Image
from regrain_watchdog.gateway.store import Store

pytestmark = pytest.mark.process

Built = Callable[[Builder, bytes], tuple[list[str], Image]]
Sent = Callable[..., bytes]
MIB = 1 << 20


def test_a_full_disk_is_said(state: Path, store: Store, built: Built, sent: Sent) -> None:
    builder = Builder(state, store, Means(), {}, Limits(spare=1 << 60))

    with pytest.raises(BuildError, match=r"the disk has .* left, and builds leave 1048576 TiB"):
        built(builder, sent())


def test_a_short_disk_is_freed_of_what_nobody_needs_any_more(  # noqa: PLR0917 - pytest gives them by name
    state: Path, store: Store, means: Means, built: Built, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = Builder(state, store, means, os.environ, Limits(spare=1))
    _, old = built(builder, sent())
    store.put(Deployment(service="hello", image="hello").validated(), old)
    for number in range(2):
        built(builder, sent(requirements=f"regrain # {number}\n"))
    store.remove("hello", DEFAULT_NAMESPACE)
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _: SimpleNamespace(free=0 if Path(old.folder).exists() else MIB)
    )

    _, image = built(builder, sent(image="new"))

    assert store.image("new") == image


def test_a_short_disk_is_freed_of_what_pip_keeps(  # noqa: PLR0917 - pytest gives them by name
    state: Path, store: Store, means: Means, built: Built, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = Builder(state, store, means, os.environ, Limits(spare=MIB))
    (state / "pip").mkdir(exist_ok=True)
    kept = state / "pip" / "wheels"
    kept.write_bytes(b"x" * 100)
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _: SimpleNamespace(free=MIB // 2 if kept.exists() else 2 * MIB)
    )

    _, image = built(builder, sent())

    assert store.image("hello") == image


def test_a_build_succeeds_though_what_others_left_cannot_be_removed(  # noqa: PLR0917 - pytest gives them by name
    builder: Builder, state: Path, store: Store, built: Built, sent: Sent, caplog: pytest.LogCaptureFixture
) -> None:
    (state / "images" / "odd" / images.IN_USE).mkdir(parents=True)

    _, image = built(builder, sent())

    assert store.image("hello") == image
    assert "cannot be removed" in caplog.text


def test_an_archive_leaves_what_is_to_stay_free(
    state: Path, store: Store, built: Built, sent: Sent, filling: Callable[[int], list[int]]
) -> None:
    left = filling(8 * MIB)
    builder = Builder(state, store, Means(), {}, Limits(spare=2 * MIB))

    with pytest.raises(BuildError, match=r"the disk has .* left, and builds leave 2 MiB"):
        built(builder, sent(large="x" * 4 * MIB))

    assert min(left) >= 2 * MIB
    assert list((state / "builds").iterdir()) == []


def test_what_pip_keeps_is_bounded(
    state: Path, make_builder: Callable[..., Builder], built: Built, sent: Sent
) -> None:
    kept = state / "pip" / "wheels"
    kept.write_bytes(b"x" * 100)

    built(make_builder(cached=100), sent())
    assert kept.exists()
    built(make_builder(cached=99), sent())

    assert not kept.exists()


def test_a_disk_that_fills_up_is_said(
    builder: Builder, state: Path, built: Built, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr("regrain_watchdog.gateway.build.template.handler", full)

    with pytest.raises(BuildError, match="the build ended: the disk is full"):
        built(builder, sent())
    assert list((state / "builds").iterdir()) == []
