import os
import sys
from pathlib import Path

import pytest

from regrain_watchdog.cli.reload import Child, again, changed, snapshot, watched


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


APP = """
from regrain import App

app = App("app")


@app.stage()
def same(text: str) -> str:
    return text


@app.flow
def main(text: str) -> str:
    return same(text)
"""


@pytest.mark.process
def test_an_app_whose_run_file_cannot_be_trusted_is_started_again(tmp_path, monkeypatch, capsys):
    (tmp_path / "regrain").mkdir()
    (tmp_path / "regrain").chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "reloaded_app.py").write_text(APP)
    child = Child([sys.executable, "-c", ""])

    again(child, str(tmp_path / "reloaded_app.py"), "reloaded_app.py")

    assert child.wait() == 0
    assert child.pid
    assert capsys.readouterr().err.endswith("regrain: reloaded_app.py changed, starting again\n")
