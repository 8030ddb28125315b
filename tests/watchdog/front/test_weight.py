"""Replicas that start give way, and come back with all of their threads."""

import os
import subprocess
import sys

import pytest

from regrain_watchdog.front import weight

pytestmark = pytest.mark.process
THREADED = """
import sys
import threading

gate = threading.Event()
for _ in range(2):
    threading.Thread(target=gate.wait, daemon=True).start()
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process():
    with subprocess.Popen(
        [sys.executable, "-c", THREADED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout.readline() == "up\n"
        yield running


def niceness(pid):
    return [os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in os.listdir(f"/proc/{pid}/task")]


def test_a_process_gives_way_with_all_of_its_threads(process):
    ours = os.getpriority(os.PRIO_PROCESS, 0)

    weight.give_way(process.pid)

    assert niceness(process.pid) == [min(19, ours + weight.STARTING)] * 3


@pytest.mark.skipif(not weight.may_restore(), reason="this process may not make others more urgent")
def test_it_comes_back_where_the_system_allows_it(process):
    weight.give_way(process.pid)

    weight.come_back(process.pid)

    assert niceness(process.pid) == [os.getpriority(os.PRIO_PROCESS, 0)] * 3


def test_a_process_that_has_ended_is_let_be(process):
    process.stdin.close()
    process.wait(60)

    weight.give_way(process.pid)
    weight.come_back(process.pid)


@pytest.mark.parametrize(("mask", "may"), [("0000000000800000", True), ("0000000000000000", False)])
def test_the_capability_is_read_from_the_status(tmp_path, mask, may, monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (0, 0))
    (tmp_path / "status").write_text(f"Name:\tx\nCapEff:\t{mask}\n")

    assert weight.may_restore(tmp_path / "status") is may
