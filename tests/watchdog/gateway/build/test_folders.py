"""Whose folders are, and who may read them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from regrain_watchdog.gateway.build import folders


def test_a_shared_folder_is_readable_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        made = folders.shared(tmp_path / "a")
    finally:
        os.umask(before)

    assert oct(made.stat().st_mode)[-3:] == "755"
    assert folders.shared(made) == made


def test_what_a_build_has_made_is_settled(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    for name, mode in (("plain", 0o600), ("program", 0o700), ("open", 0o666)):
        (tmp_path / "folder" / name).touch()
        (tmp_path / "folder" / name).chmod(mode)
    (tmp_path / "link").symlink_to("/etc/passwd")
    if os.geteuid() == 0:
        folders.own(tmp_path, 49_999)

    folders.settle(tmp_path)

    modes = {path.name: oct(path.stat().st_mode)[-3:] for path in (tmp_path / "folder").iterdir()}
    assert modes == {"plain": "644", "program": "755", "open": "644"}
    assert {path.lstat().st_uid for path in tmp_path.rglob("*")} == {os.geteuid()}
    assert Path("/etc/passwd").stat().st_uid == 0


def test_nobody_is_given_what_is_outside_by_a_link_that_comes_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside / "sub", outside):
        folder.mkdir(parents=True)
        (folder / "file").touch()
        (folder / "file").chmod(0o600)
    walk = os.fwalk

    def raced(*arguments: object) -> Iterator[object]:
        """Another process puts a link in the place of the folder that is open."""
        for found in walk(*arguments):  # type: ignore[call-overload]
            if str(found[0]).endswith("sub"):
                (inside / "sub").rename(inside / "moved")
                (inside / "sub").symlink_to(outside)
            yield found

    monkeypatch.setattr("os.fwalk", raced)
    folders.settle(inside)

    assert oct((inside / "moved" / "file").stat().st_mode)[-3:] == "644"
    assert oct((outside / "file").stat().st_mode)[-3:] == "600"


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    held = folders.hold(tmp_path)

    with pytest.raises(BlockingIOError):
        folders.hold(tmp_path)
    os.close(held)
    os.close(folders.hold(tmp_path))


def test_what_was_written_is_put_on_disk_or_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")

    folders.flush(tmp_path)

    with pytest.raises(FileNotFoundError):
        folders.flush(tmp_path / "missing")


def test_files_are_put_on_disk_whatever_lies_beside_them(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_text("content")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("missing")

    folders.flush_files(tmp_path)
    folders.flush_names(tmp_path)

    with pytest.raises(NotADirectoryError):
        folders.flush_names(tmp_path / "sub" / "file")
