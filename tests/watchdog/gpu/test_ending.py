"""Ending a process that uses a GPU: what is done before it is killed, and that it is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from regrain_watchdog.gpu.ending import COMMAND, Terminator, kill

WAIT = 60.0
DAEMON = """#!{python}
import os, sys, time
command = sys.stdin.readline().split()
with open({log!r}, "a") as log:
    print(*command, file=log)
match command[0]:
    case "get_server_list": print(8)
    case "get_client_list": print(os.environ["CLIENT"])
    case "terminate_client":
        if {hangs}: time.sleep(60)
        assert os.path.exists("/proc/" + command[2]), "it was killed before"
"""

pytestmark = pytest.mark.process


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        yield process
        process.kill()


def ended(process: subprocess.Popen[bytes], end: Terminator) -> int:
    """End it on a loop; how it ended."""

    async def run() -> int:
        pidfd = os.pidfd_open(process.pid)
        end(process.pid, pidfd)
        os.close(pidfd)
        return await asyncio.wait_for(asyncio.to_thread(process.wait), WAIT)

    return asyncio.run(run())


def daemon(folder: Path, monkeypatch: pytest.MonkeyPatch, client: int, *, hangs: bool = False) -> Path:
    """Put a control daemon's command on the path, with one client; the file of what it is asked."""
    log, binary = folder / "asked", folder / "nvidia-cuda-mps-control"
    binary.write_text(DAEMON.format(python=sys.executable, log=str(log), hangs=hangs))
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("CLIENT", str(client))
    return log


def test_a_client_is_terminated_by_the_control_daemon_and_then_killed(process, tmp_path, monkeypatch, caplog):
    log = daemon(tmp_path, monkeypatch, process.pid)

    assert ended(process, Terminator(COMMAND, timeout=WAIT)) == -signal.SIGKILL

    assert log.read_text().split("\n")[-2] == f"terminate_client 8 {process.pid}"
    assert caplog.records == []


def test_a_process_is_killed_also_where_the_daemon_hangs(process, tmp_path, monkeypatch, caplog):
    daemon(tmp_path, monkeypatch, process.pid, hangs=True)

    assert ended(process, Terminator(COMMAND, timeout=0.5)) == -signal.SIGKILL

    pid = process.pid
    assert caplog.messages == [f"process {pid} was not terminated as a client: no answer in 0.5 s"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        pytest.param((sys.executable, "-c", "raise SystemExit('no daemon')"), "no daemon", id="it says why"),
        pytest.param(("no-such-command",), "No such file or directory", id="there is no such command"),
    ],
)
def test_a_process_is_killed_also_where_it_cannot_be_terminated(process, caplog, command, reason):
    assert ended(process, Terminator(command, timeout=WAIT)) == -signal.SIGKILL

    assert reason in caplog.messages[0]


def test_one_that_is_gone_already_is_no_error(process):
    pidfd = os.pidfd_open(process.pid)
    process.kill()
    process.wait()

    kill(process.pid, pidfd)

    os.close(pidfd)
