"""What functions have of their own goes with them."""

from __future__ import annotations

from pathlib import Path

from regrain_watchdog.gateway.plane.homes import Homes


def test_homes_go_with_their_functions_and_secrets_with_the_front(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    for key in (("dev", "a"), ("dev", "b"), ("red", "a")):
        for name in ("secrets/1", "scratch"):
            (homes.of(key) / name).mkdir(parents=True)
            (homes.of(key) / name / "file").touch()

    homes.keep({("dev", "a")})
    assert list(tmp_path.glob("*/*")) == [homes.of(("dev", "a"))]

    homes.clear()
    assert [path.name for path in homes.of(("dev", "a")).iterdir()] == ["scratch"]


def test_where_there_are_none_nothing_is_removed(tmp_path: Path) -> None:
    homes = Homes(tmp_path / "none")

    homes.clear()
    homes.keep(set())
