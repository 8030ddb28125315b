"""An app under MPS, over stand-ins for the driver and the control daemon: how replicas end, and what if it is gone."""

import os
import signal
from pathlib import Path

import pytest
import requests

APP = """
import os
import time

from regrain import GPU, App

app = App("mps", sample={"seconds": 0.0})


@app.stage(gpu=GPU(memory="1Gi", share=0.5), timeout=8.0)
def work(seconds: float) -> str:
    time.sleep(seconds)
    return f"{os.getpid()} {os.environ.get('CUDA_MPS_ACTIVE_THREAD_PERCENTAGE', 'turns')}"


@app.flow
def flow(seconds: float) -> str:
    return work(seconds)
"""
DAEMON = """#!/bin/sh
read -r command
if [ -e "/proc/${{command##* }}" ]; then lives=True; else lives=False; fi
echo "$command $lives" >> '{log}'
case "$command" in
    get_server_list*) echo 8 ;;
    get_server_status*)
        for pid in $(cat '{faulted}'); do
            if [ -e "/proc/$pid" ]; then echo FAULT; exit; fi
        done
        echo ACTIVE ;;
    get_client_list*) cd /proc && printf '%s\\n' [0-9]* ;;
esac
"""

HIT = """

def cuCtxSynchronize():
    import os
    from pathlib import Path
    from regrain_runtime.gpu.fake import CUresult
    if str(os.getpid()) in Path({faulted!r}).read_text().split():
        return (CUresult.CUDA_ERROR_INVALID_CONTEXT,)
    return _driver.cuCtxSynchronize()
"""


@pytest.fixture
def daemon(fake_cuda, tmp_path, monkeypatch):
    """A control daemon's command, whose clients are all processes; what it is asked is in the file beside it.

    Its server is in FAULT as long as any process lives whose id is in the file `faulted`; their contexts are lost.
    """
    binary = tmp_path / "bin" / "nvidia-cuda-mps-control"
    binary.parent.mkdir()
    (binary.parent / "faulted").touch()
    with (tmp_path / "libraries" / "cuda" / "bindings" / "driver.py").open("a") as driver:
        driver.write(HIT.format(faulted=str(binary.parent / "faulted")))
    binary.write_text(DAEMON.format(log=binary.parent / "asked", faulted=binary.parent / "faulted"))
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(binary.parent), os.environ["PATH"]]))
    (tmp_path / "app.py").write_text(APP)
    return binary


def test_a_replica_that_hangs_is_terminated_by_the_daemon_while_it_lives(serve, daemon, tmp_path, until):
    served = serve(tmp_path / "app.py", "--gpus", "mps")
    pid, percentage = served.call(seconds=0.0).text.split()

    assert served.call(seconds=60.0).status_code >= 500
    after, _ = served.call(seconds=0.0).text.split()

    assert percentage == "50"
    assert after != pid
    asked = daemon.parent / "asked"
    until(lambda: f"terminate_client 8 {pid}" in asked.read_text(), "the daemon was asked to terminate it")
    assert f"terminate_client 8 {pid} True" in asked.read_text().split("\n")
    until(lambda: not Path(f"/proc/{pid}").exists(), "it is killed")


def test_where_the_daemon_has_ended_a_new_replica_serves_in_turns(serve, daemon, tmp_path):
    served = serve(tmp_path / "app.py", "--gpus", "mps")
    daemon.unlink()

    assert served.call(seconds=60.0).status_code >= 500
    _, way = served.call(seconds=0.0).text.split()

    assert way == "turns"
    served.said("demoting this replica from mps to lease: nvidia-cuda-mps-control cannot be run")


TWO = """
import os

from regrain import GPU, App

app = App("two", sample={"text": "a"})


@app.stage(gpu=GPU(memory="1Gi", share=0.25))
def small(text: str) -> str:
    return os.environ["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"]


@app.stage(gpu=GPU(memory="1Gi", share=0.5))
def large(text: str) -> str:
    return f"{text} {os.environ['CUDA_MPS_ACTIVE_THREAD_PERCENTAGE']}"


@app.flow
def flow(text: str) -> str:
    return large(small(text))
"""


def test_a_plan_is_served_by_replicas_that_began_with_its_shares(serve, daemon, tmp_path, until):
    (tmp_path / "app.py").write_text(TWO)
    served = serve(tmp_path / "app.py", "--gpus", "mps", "--grain", "fine", "--resident", "all")
    assert served.call(text="a").text == "25 50"

    requests.post(f"{served.admin_url}/grain", json={"grain": "coarse"}, timeout=60).raise_for_status()
    until(lambda: served.status()["transitions"][0]["state"] == "done", "the old plan has ended")

    assert served.call(text="a").text == "50 50"
    (member,) = served.status()["gpus"][0]["members"]
    assert member["share"]["memory"] == 2 << 30


def test_after_a_fault_those_that_nobody_calls_end_too_so_that_newcomers_are_let_in(
    serve, daemon, tmp_path, until
):
    (tmp_path / "app.py").write_text(TWO)
    served = serve(tmp_path / "app.py", "--gpus", "mps", "--grain", "fine")
    before = served.replicas()

    (daemon.parent / "faulted").write_text(" ".join(map(str, before)))
    os.kill(before[0], signal.SIGKILL)  # as one ends whose kernel has failed

    until(lambda: len(served.replicas()) == 2 and not {*served.replicas()} & {*before}, "both are new")
    assert served.call(text="a").text == "25 50"
    served.said("MPS server 8 is in FAULT, so this process ends")
