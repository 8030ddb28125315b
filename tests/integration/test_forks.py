"""What stages start ends with their replica, however that ends, and not before it."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest

KERNEL = tuple(int(part) for part in os.uname().release.split(".")[:2])


@pytest.fixture(params=["forked", "afresh"])
def forks(request, serve, monkeypatch):
    """The app, whose replicas are forked or started afresh."""
    if request.param == "afresh":
        monkeypatch.setenv("FRESH", "1")
    return serve("forks.py")


def lives(pid):
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_it_ends_with_a_replica_that_is_killed(forks, until):
    started = forks.call().json()
    (replica,) = forks.replicas()
    assert all(map(lives, started))

    os.kill(replica, signal.SIGKILL)

    until(lambda: not any(map(lives, started)), "what it has started has ended, too")
    until(lambda: forks.replicas() not in ([], [replica]), "another one is ready")
    assert not set(forks.call().json()) & set(started)


@pytest.mark.skipif(KERNEL < (6, 9), reason="no pidfd stands for a group before Linux 6.9")
def test_it_ends_with_a_replica_whose_zygote_was_killed_before(serve, until):
    forks = serve("forks.py")
    started = forks.call().json()
    (replica,) = forks.replicas()
    os.kill(forks.zygote(), signal.SIGKILL)
    forks.said("starting it again")

    os.kill(replica, signal.SIGKILL)

    until(lambda: not any(map(lives, started)), "what it has started has ended, too")


def test_it_ends_with_the_app(forks):
    assert len(forks.call().json()) == 3

    assert forks.stop() == 0


def test_it_does_not_end_by_a_signal_to_all_processes_of_the_group_before_the_requests_under_way(
    forks, until, tmp_path
):
    note = tmp_path / "note"
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(forks.call, do="wait", note=str(note))
        until(note.exists, "the pool of its stage is at work")

        os.killpg(forks.process.pid, signal.SIGTERM)
        forks.said("regrain: draining")
        note.unlink()

        assert asked.result().status_code == 200
    assert forks.ended() == 0


@pytest.mark.parametrize("whole", [True, False], ids=["with its group", "alone"])
def test_it_ends_with_a_front_that_is_killed_while_the_stage_hangs(forks, until, tmp_path, whole):
    note = tmp_path / "note"
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(forks.call, do="hang", note=str(note))
        until(note.exists, "its stage hangs")

        (os.killpg if whole else os.kill)(forks.process.pid, signal.SIGKILL)

        assert asked.exception() is not None
    assert forks.ended() == -signal.SIGKILL


def test_it_ends_with_a_front_that_is_told_to_end_at_once(forks, until, tmp_path):
    note = tmp_path / "note"
    with ThreadPoolExecutor() as pool:
        pool.submit(forks.call, do="hang", note=str(note))
        until(note.exists, "its stage hangs")

        forks.signal()
        forks.said("regrain: draining")
        forks.signal()

    assert forks.ended() == 1


def test_it_ends_with_a_front_that_is_told_to_end_at_once_while_the_zygote_does_not_move(
    serve, until, tmp_path
):
    forks = serve("forks.py")
    note = tmp_path / "note"
    with ThreadPoolExecutor() as pool:
        pool.submit(forks.call, do="hang", note=str(note))
        until(note.exists, "its stage hangs")
        os.kill(forks.zygote(), signal.SIGSTOP)

        forks.signal()
        forks.said("regrain: draining")
        forks.signal()

    assert forks.ended() == 1
