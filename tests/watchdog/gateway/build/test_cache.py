"""pip's cache stays within bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from regrain_watchdog.gateway.build.cache import Cache

MIB = 1 << 20


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """A cache that may have 2 MiB, and has one."""
    cache = Cache(tmp_path / "pip", 2 * MIB)
    with cache.used() as folder:
        (folder / "wheels").mkdir()
        (folder / "wheels" / "one").write_bytes(b"x" * MIB)
    return cache


def test_what_is_within_the_bounds_stays(cache: Cache, tmp_path: Path) -> None:
    cache.trim(free=100 * MIB)

    assert (tmp_path / "pip" / "wheels" / "one").exists()


def test_what_is_too_much_is_removed(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "pip" / "two").write_bytes(b"x" * 2 * MIB)

    cache.trim(free=100 * MIB)

    assert not (tmp_path / "pip").exists()
    with cache.used() as folder:
        assert list(folder.iterdir()) == []


def test_what_is_more_than_the_disk_has_left_is_removed(cache: Cache, tmp_path: Path) -> None:
    cache.trim(free=MIB // 2)

    assert not (tmp_path / "pip").exists()


def test_nothing_is_removed_while_somebody_uses_it(cache: Cache, tmp_path: Path) -> None:
    with cache.used(), cache.used():
        cache.trim(free=0)

        assert (tmp_path / "pip" / "wheels" / "one").exists()
    cache.trim(free=0)
    assert not (tmp_path / "pip").exists()


def test_what_lies_deeper_than_a_path_may_be_long_is_counted_and_removed(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "pip")
    for _ in range(20):
        Path("d" * 250).mkdir()
        monkeypatch.chdir("d" * 250)
    Path("file").write_bytes(b"x" * 2 * MIB)
    monkeypatch.chdir(tmp_path)

    cache.trim(free=100 * MIB)

    assert not (tmp_path / "pip").exists()


def test_there_need_be_nothing(tmp_path: Path) -> None:
    Cache(tmp_path / "pip", 0).trim(free=0)

    assert not (tmp_path / "pip").exists()
