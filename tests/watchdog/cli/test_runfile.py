import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.cli import runfile
from regrain_watchdog.cli.runfile import RunFileError, Running


def an_app(app="ocr", pid=None, started=None):
    pid = pid or os.getpid()
    return Running(
        app=app,
        pid=pid,
        started=runfile.started(pid) or 0 if started is None else started,
        url="http://127.0.0.1:8080",
        metrics="http://127.0.0.1:8081",
        admin="http://127.0.0.1:8082",
    )


def test_an_app_is_found_while_it_is_registered(tmp_path):
    folder = tmp_path / "regrain"
    app = an_app()

    with runfile.registered(folder, app) as path:
        assert runfile.find(folder) == app
        assert path.name == f"ocr-{os.getpid()}.json"
    assert runfile.apps(folder) == []
    assert list(folder.iterdir()) == []


def test_a_file_that_cannot_be_removed_is_left_to_whoever_meets_it(tmp_path):
    with runfile.registered(tmp_path / "regrain", an_app()) as path:
        path.unlink()
        path.mkdir()

    assert path.is_dir()


def test_the_directory_is_closed_to_other_users(tmp_path):
    folder = tmp_path / "regrain"

    runfile.write(folder, an_app())

    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.process
def test_the_file_of_a_process_that_is_gone_is_removed(tmp_path):
    folder = tmp_path / "regrain"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        path = runfile.write(folder, an_app(pid=process.pid))
        assert [app.pid for app in runfile.apps(folder)] == [process.pid]
        process.kill()

    assert runfile.apps(folder) == []
    assert not path.exists()


@pytest.mark.process
def test_a_zombie_counts_as_gone():
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert runfile.started(process.pid) is None
    process.wait()


def test_a_pid_that_belongs_to_another_process_by_now_counts_as_gone(tmp_path):
    folder = tmp_path / "regrain"
    path = runfile.write(folder, an_app(started=1))

    assert runfile.apps(folder) == []
    assert not path.exists()


def test_a_file_that_is_no_run_file_is_skipped_and_left_alone(tmp_path):
    folder = tmp_path / "regrain"
    runfile.write(folder, an_app())
    strange = folder / "notes.json"
    strange.write_text("{}")

    assert len(runfile.apps(folder)) == 1
    assert strange.exists()


def test_of_several_apps_one_must_be_chosen(tmp_path):
    folder = tmp_path / "regrain"
    runfile.write(folder, an_app("ocr"))
    runfile.write(folder, an_app("hello"))

    with pytest.raises(
        RunFileError, match=r"several apps are running: hello .*, ocr .*choose one with --app"
    ):
        runfile.find(folder)
    assert runfile.find(folder, "hello").app == "hello"
    with pytest.raises(RunFileError, match=r"no running app is called 'vision'; running are hello .*, ocr"):
        runfile.find(folder, "vision")


@pytest.mark.process
def test_of_two_of_one_name_the_address_must_be_given(tmp_path):
    folder = tmp_path / "regrain"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        runfile.write(folder, an_app())
        runfile.write(folder, an_app(pid=other.pid))

        with pytest.raises(RunFileError, match="choose one with --url"):
            runfile.find(folder, "ocr")
        other.kill()


def test_without_a_directory_no_app_runs(tmp_path):
    with pytest.raises(RunFileError, match=r"no running app found; start one with 'regrain run MODULE'"):
        runfile.find(tmp_path / "regrain")
    with pytest.raises(RunFileError, match="no running app 'ocr' found"):
        runfile.find(tmp_path / "regrain", "ocr")


def test_a_directory_that_others_may_write_to_is_not_trusted(tmp_path):
    folder = tmp_path / "regrain"
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(RunFileError, match=r"closed to other users \(mode 700\), its mode is 777"):
        runfile.apps(folder)
    with pytest.raises(RunFileError, match="closed to other users"):
        runfile.write(folder, an_app())


def test_a_link_in_place_of_the_directory_is_not_trusted(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder = tmp_path / "regrain"
    folder.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RunFileError, match="must be a directory"):
        runfile.write(folder, an_app())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_not_trusted(tmp_path):
    folder = tmp_path / "regrain"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, -1)

    with pytest.raises(RunFileError, match="must belong to user 0, it belongs to 12345"):
        runfile.apps(folder)


def test_the_runtime_directory_is_used_where_there_is_one(tmp_path):
    assert runfile.directory({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "regrain"
    assert runfile.directory({"XDG_RUNTIME_DIR": str(tmp_path / "gone")}).name == f"regrain-{os.getuid()}"
    assert runfile.directory({}).name == f"regrain-{os.getuid()}"


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_any_name_of_an_app_makes_one_file_in_the_directory(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("run") / "regrain"

    path = runfile.write(folder, an_app(name))

    assert path.parent == folder
    assert runfile.find(folder).app == name
