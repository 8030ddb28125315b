import os
from pathlib import Path

import pytest

from regrain_watchdog.cli.reload import changed, snapshot, watched


def test_a_change_an_addition_and_a_removal_are_seen(tmp_path):
    for name in ("a.py", "b.py", "c.py", "notes.txt"):
        (tmp_path / name).write_text("1")
    before = snapshot(tmp_path)

    (tmp_path / "a.py").write_text("22")
    (tmp_path / "b.py").unlink()
    (tmp_path / "d.py").write_text("1")
    (tmp_path / "notes.txt").write_text("22")

    assert changed(before, snapshot(tmp_path)) == "a.py, b.py, d.py"
    assert changed(before, before) == ""


def test_a_file_put_in_place_of_another_is_seen_even_if_it_is_as_old_and_as_long(tmp_path):
    file, other = tmp_path / "app.py", tmp_path / "other"
    file.write_text("1")
    other.write_text("2")
    before = snapshot(tmp_path)
    time = file.stat().st_mtime_ns
    os.utime(other, ns=(time, time))

    other.replace(file)

    assert changed(before, snapshot(tmp_path)) == "app.py"


def test_hidden_and_library_folders_are_not_watched(tmp_path):
    for folder in (".venv", "venv", "__pycache__", "stages"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.py").touch()

    assert list(snapshot(tmp_path)) == [tmp_path / "stages" / "x.py"]


@pytest.mark.parametrize("module", ["app.py", "app.py:ocr", "{}/app.py", "{}", "{}:ocr", "package.app"])
def test_the_folder_of_the_module_is_watched(tmp_path, monkeypatch, module):
    monkeypatch.chdir(tmp_path)

    assert watched(module.format(tmp_path)) == Path(tmp_path)
