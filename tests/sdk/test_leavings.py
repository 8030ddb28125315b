import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from regrain.leavings import GRACE, PIDFD_SIGNAL_PROCESS_GROUP, Leavings, kill_group

pytestmark = pytest.mark.process
TIMEOUT = 60.0
UNKNOWN = 1 << 30
"""A flag that no kernel knows, as older ones do not know that of groups."""
LEADER = """
import subprocess, sys
ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
started = [subprocess.Popen([sys.executable, "-c", act + "print('up', flush=True); import signal; signal.pause()"],
    stdout=subprocess.PIPE) for act in {"meek": [""], "stubborn": [ignore], "none": []}[sys.argv[1]]]
for one in started:
    one.stdout.readline()
print(*(one.pid for one in started))
"""
SHARES = """
import os
from multiprocessing import resource_tracker, shared_memory
memory = shared_memory.SharedMemory(create=True, size=8)
print(resource_tracker._resource_tracker._pid, memory.name, flush=True)
os._exit(0)
"""


def led(kind: str) -> tuple[int, int]:
    """Return a leader that has ended and is not reaped yet, and a pidfd of the process that it has left, if any."""
    leader = subprocess.Popen([sys.executable, "-c", LEADER, kind], stdout=subprocess.PIPE, process_group=0)
    with leader.stdout:
        pids = leader.stdout.readline().split()
    return unreaped(leader), os.pidfd_open(int(pids[0])) if pids else -1


def unreaped(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a process, which is the test's to reap; return its id."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    process.returncode = 0
    return process.pid


def has_ended(pidfd: int, within: float = TIMEOUT) -> bool:
    return bool(select.select([pidfd], [], [], within)[0])


def test_what_takes_sigterm_ends_by_it():
    leavings = Leavings()
    leader, left = led("meek")

    leavings.end(leader, now=0.0)
    os.waitpid(leader, 0)

    assert has_ended(left)
    os.close(left)


def test_shared_memory_that_a_killed_process_has_left_is_removed_before():
    """By multiprocessing's tracker, which is in the group and takes no SIGTERM."""
    leavings = Leavings()
    leader = subprocess.Popen([sys.executable, "-c", SHARES], stdout=subprocess.PIPE, process_group=0)
    with leader.stdout:
        tracker, name = leader.stdout.readline().decode().split()
    left = os.pidfd_open(int(tracker))

    leavings.end(unreaped(leader), now=0.0)

    assert has_ended(left)
    assert not Path("/dev/shm", name).exists()
    os.waitpid(leader.pid, 0)
    os.close(left)


def test_what_does_not_is_killed_once_it_has_had_its_time():
    leavings = Leavings()
    leader, left = led("stubborn")

    leavings.end(leader, now=0.0)
    os.waitpid(leader, 0)

    assert leavings.look(now=GRACE / 2)
    assert not has_ended(left, within=0.0)
    assert not leavings.look(now=GRACE)
    assert has_ended(left)
    os.close(left)


def test_who_leaves_nothing_is_forgotten_at_the_first_look():
    leavings = Leavings()
    leader, _ = led("none")

    leavings.end(leader, now=0.0)
    os.waitpid(leader, 0)

    assert not leavings.look(now=0.0)


def test_a_process_that_led_no_group_yet_has_left_nothing():
    leavings = Leavings()
    pid = unreaped(subprocess.Popen(["true"]))

    leavings.end(pid, now=0.0)

    assert os.waitpid(pid, 0) == (pid, 0)
    assert not leavings.look(now=0.0)


@pytest.mark.parametrize("flag", [PIDFD_SIGNAL_PROCESS_GROUP, UNKNOWN])
def test_a_group_is_killed_by_its_leader(monkeypatch, flag):
    monkeypatch.setattr("regrain.leavings.PIDFD_SIGNAL_PROCESS_GROUP", flag)
    leader, left = led("stubborn")
    pidfd = os.pidfd_open(leader)

    kill_group(pidfd)

    assert has_ended(left)
    os.waitpid(leader, 0)
    kill_group(pidfd)  # nobody is there any more
    os.close(pidfd)
    os.close(left)


def test_an_older_kernel_does_not_tell_the_group_of_a_leader_that_is_reaped(monkeypatch):
    monkeypatch.setattr("regrain.leavings.PIDFD_SIGNAL_PROCESS_GROUP", UNKNOWN)
    leader, left = led("stubborn")
    pidfd = os.pidfd_open(leader)
    os.waitpid(leader, 0)

    kill_group(pidfd)

    assert not has_ended(left, within=0.0)
    os.killpg(leader, signal.SIGKILL)
    os.close(pidfd)
    os.close(left)
