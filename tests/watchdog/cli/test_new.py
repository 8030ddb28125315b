import os
import subprocess
import sys

import pytest

from regrain_watchdog.cli.scaffold import FILES


def test_an_app_is_written_with_its_name_in_it(regrain, tmp_path):
    outcome = regrain("new", "page-reader", "--into", str(tmp_path))

    folder = tmp_path / "page-reader"
    assert outcome.code == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert 'App(\n    "page-reader"' in (folder / "app.py").read_text()
    assert not any("{name}" in path.read_text() for path in folder.iterdir())
    assert f"next: cd {folder} && regrain run app.py" in outcome.out


def test_what_is_there_is_left_as_it_is(regrain, tmp_path):
    (tmp_path / "hello").mkdir()
    kept = tmp_path / "hello" / "app.py"
    kept.write_text("mine")

    outcome = regrain("new", "hello", "--into", str(tmp_path))

    assert outcome.code == 1
    assert "exists already and is left as it is" in outcome.err
    assert [path.read_text() for path in (tmp_path / "hello").iterdir()] == ["mine"]


def test_an_empty_directory_is_filled(regrain, tmp_path):
    (tmp_path / "hello").mkdir()

    assert regrain("new", "hello", "--into", str(tmp_path)).code == 0


@pytest.mark.parametrize("name", ["Hello", "1st", "a_b", "a--b", "../x", "-a", "a-", "é", "a" * 64, ""])
def test_a_name_that_no_platform_takes_is_refused(regrain, tmp_path, name):
    outcome = regrain("new", "--into", str(tmp_path), "--", name)

    assert outcome.code == 2
    assert repr(name) in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_the_new_app_s_own_tests_pass(regrain, tmp_path):
    regrain("new", "hello", "--into", str(tmp_path))

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=tmp_path / "hello",
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


@pytest.mark.process
def test_the_new_app_is_drawn_in_every_form(regrain, tmp_path):
    regrain("new", "hello", "--into", str(tmp_path))
    app = str(tmp_path / "hello" / "app.py")

    text = regrain("graph", app, "--grain", "split | weigh + rank")
    svg = regrain("graph", app, "-o", str(tmp_path / "app.svg"))
    png = regrain("graph", app, "-o", str(tmp_path / "app.png"))
    wrong = regrain("graph", app, "--grain", "split")

    assert "weigh   ← each of split   1 core   batch ≤ 32, 2 ms" in text.out
    assert "╭─ weigh+rank " in text.out
    assert (svg.code, svg.err) == (0, f"wrote {tmp_path / 'app.svg'}\n")
    assert (tmp_path / "app.svg").read_text().startswith("<svg ")
    assert png.code == 0
    assert (tmp_path / "app.png").read_bytes().startswith(b"\x89PNG")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)


@pytest.mark.process
def test_without_a_module_the_app_of_this_folder_is_drawn(regrain, tmp_path, monkeypatch):
    regrain("new", "hello", "--into", str(tmp_path))
    monkeypatch.chdir(tmp_path / "hello")

    assert regrain("graph").out.startswith("hello\n")


@pytest.mark.process
def test_a_module_that_fails_is_told_in_one_line(regrain, tmp_path):
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found\n")

    outcome = regrain("graph", str(tmp_path / "broken.py"))

    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "nowhere_to_be_found" in outcome.err
