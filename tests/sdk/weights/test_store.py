import os
import signal
import subprocess
import sys
import textwrap

import pytest

from regrain.errors import SpecError
from regrain.weights.store import Store, folder, identity

MAKER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from regrain.weights.store import Store

    def make(folder):
        print("making", flush=True)
        if sys.argv[2] == "hang":
            sys.stdin.readline()
        (folder / "weights").write_text(sys.argv[2])

    print("ready", flush=True)
    sys.stdin.readline()
    print((Store(Path(sys.argv[1])).get("net", make) / "weights").read_text(), flush=True)
    """
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "kept")


@pytest.fixture
def start(tmp_path):
    """Starts processes that ask for the same weights, once they are told to go on."""
    running = []

    def start(name):
        command = [sys.executable, "-c", MAKER, str(tmp_path / "kept"), name]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def writing(text, made=None):
    def make(folder):
        (folder / "weights").write_text(text)
        if made is not None:
            made.append(text)

    return make


def fail(folder):
    (folder / "weights").write_text("half")
    raise RuntimeError("no model")


def test_what_is_made_once_is_found_again(store):
    made = []

    first, second = (store.get("net", writing(text, made)) for text in ("first", "second"))

    assert first == second
    assert (second / "weights").read_text() == "first"
    assert made == ["first"]


def test_what_could_not_be_made_leaves_nothing_and_is_tried_again(store):
    with pytest.raises(RuntimeError, match="no model"):
        store.get("net", fail)
    assert [path for path in store.root.iterdir() if path.is_dir()] == []

    assert (store.get("net", writing("whole")) / "weights").read_text() == "whole"


def test_what_is_dropped_is_made_anew(store):
    store.get("net", writing("first"))

    store.drop("net")

    assert (store.get("net", writing("second")) / "weights").read_text() == "second"


def test_beyond_the_limit_those_go_that_were_not_asked_for_the_longest(tmp_path):
    store = Store(tmp_path / "kept", limit=200)
    for place, name in enumerate(("first", "second")):
        os.utime(store.get(name, writing("x" * 100)), (place, place))
    os.utime(store.get("first", writing("never")), (2, 2))

    store.get("third", writing("x" * 100))

    assert sorted(path.name for path in store.root.iterdir() if path.is_dir()) == ["first", "third"]


def test_the_newest_stays_even_beyond_the_limit(tmp_path):
    store = Store(tmp_path / "kept", limit=10)

    assert store.get("net", writing("x" * 100)).is_dir()


def test_a_folder_that_others_may_write_to_is_refused(store):
    store.root.mkdir()
    store.root.chmod(0o777)

    with pytest.raises(PermissionError, match="kept is not this user's alone to write to"):
        store.get("net", writing("never"))


@pytest.mark.process
def test_of_many_that_ask_at_once_one_makes_it(start):
    processes = [start(name) for name in ("a", "b", "c", "d")]

    for process in processes:
        go(process)
    lines = [process.communicate()[0].split() for process in processes]

    makers = [found for found in lines if found[0] == "making"]
    assert len(makers) == 1
    assert {found[-1] for found in lines} == {makers[0][-1]}


@pytest.mark.process
def test_where_the_maker_is_killed_the_next_one_makes_it(start):
    hanging = start("hang")
    waiting = start("next")

    go(hanging)
    assert hanging.stdout.readline() == "making\n"
    go(waiting)
    hanging.send_signal(signal.SIGKILL)

    assert waiting.communicate()[0].split() == ["making", "next"]


@pytest.mark.process
def test_what_a_killed_maker_left_goes_once_another_is_made_and_what_one_makes_now_stays(start, tmp_path):
    hanging = start("hang")
    go(hanging)
    assert hanging.stdout.readline() == "making\n"
    kept = tmp_path / "kept"

    Store(kept, limit=10).get("other", writing("a" * 8))
    assert {path.name for path in kept.iterdir() if path.is_dir()} == {".making-net", "other"}

    hanging.kill()
    hanging.wait()
    Store(kept, limit=10).get("third", writing("b" * 8))
    assert {path.name for path in kept.iterdir() if path.is_dir()} == {"third"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({"REGRAIN_WEIGHTS": "off", "HOME": "/home/me"}, None, id="off"),
        pytest.param({"REGRAIN_WEIGHTS": "/big", "HOME": "/home/me"}, "/big/regrain-weights", id="a folder"),
        pytest.param(
            {"XDG_CACHE_HOME": "/cache", "HOME": "/home/me"}, "/cache/regrain-weights", id="cache folder"
        ),
        pytest.param({"HOME": "/home/me"}, "/home/me/.cache/regrain-weights", id="home"),
    ],
)
def test_the_folder_is_the_users_cache_unless_set(environ, expected):
    found = folder(environ)

    assert (None if found is None else str(found)) == expected


def test_a_relative_folder_is_refused():
    with pytest.raises(
        SpecError, match="REGRAIN_WEIGHTS must be \"off\" or the absolute path of a folder, was 'on'"
    ):
        folder({"REGRAIN_WEIGHTS": "on"})


def test_a_file_that_is_written_anew_is_another(tmp_path):
    path = tmp_path / "net"
    path.write_text("first")
    before = identity(path)
    os.utime(path, (1, 1))
    touched = identity(path)
    path.unlink()
    path.write_text("again")
    os.utime(path, (1, 1))

    assert len({before, touched, identity(path)}) == 3
