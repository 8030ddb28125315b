import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from regrain_watchdog.front import limits
from regrain_watchdog.front.limits import FRONT, Limits, obstacle, prepared

MEMORY = 256 << 20


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    """A folder that looks like a cgroup of ours."""
    own = tmp_path / "own"
    own.write_text("1:name=systemd:/\n0::/app\n")
    monkeypatch.setattr(limits, "OWN", own)
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "cgroup.controllers").write_text("cpu memory pids\n")
    (folder / "cgroup.subtree_control").write_text("")
    (folder / "cgroup.procs").write_text("")
    return folder


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(b"\n")


def test_a_replica_is_confined_to_a_cgroup_of_its_own(cgroup, child):
    made = Limits(MEMORY, root=cgroup.parent)

    made.apply(child.pid, on_gpu=True)

    folder = cgroup / f"regrain-replica-{child.pid}"
    assert (folder / "memory.max").read_text() == str(MEMORY)
    assert (folder / "cgroup.procs").read_text() == str(child.pid)
    assert (cgroup / "cgroup.subtree_control").read_text() == "+memory"
    assert (cgroup / FRONT / "cgroup.procs").exists()


def test_a_front_that_moved_before_keeps_the_cgroup_that_it_divided(cgroup, monkeypatch):
    (cgroup / FRONT).mkdir()
    (cgroup / FRONT / "cgroup.controllers").write_text("memory")
    for name in ("cgroup.subtree_control", "cgroup.procs"):
        (cgroup / FRONT / name).write_text("")
    limits.OWN.write_text(f"0::/app/{FRONT}\n")

    assert prepared(cgroup.parent) == cgroup


@pytest.mark.parametrize(
    ("missing", "controllers", "reason"),
    [
        pytest.param("", "cpu pids", "no memory controller", id="no controller"),
        pytest.param("cgroup.procs", "memory", "not writable", id="not writable"),
        pytest.param("cgroup.controllers", "memory", "no cgroup of version 2", id="version 1"),
    ],
)
def test_it_is_told_why_there_can_be_no_cgroups(cgroup, missing, controllers, reason):
    (cgroup / "cgroup.controllers").write_text(controllers)
    if missing:
        (cgroup / missing).unlink()

    assert reason in obstacle(cgroup.parent)
    assert prepared(cgroup.parent) is None


@pytest.mark.process
def test_without_cgroups_a_replica_has_a_limit_on_its_data(tmp_path, child):
    Limits(MEMORY, root=tmp_path).apply(child.pid, on_gpu=False)

    assert resource.prlimit(child.pid, resource.RLIMIT_DATA) == (MEMORY, MEMORY)


@pytest.mark.process
def test_stages_on_a_gpu_get_no_limit_that_would_count_reservations(tmp_path, child):
    before = resource.prlimit(child.pid, resource.RLIMIT_DATA)

    Limits(MEMORY, root=tmp_path).apply(child.pid, on_gpu=True)

    assert resource.prlimit(child.pid, resource.RLIMIT_DATA) == before


@pytest.mark.process
def test_the_kernel_ends_a_replica_before_the_front(child):
    Limits(0).apply(child.pid, on_gpu=False)

    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (child.pid, os.getpid())]
    assert scores[0] > scores[1]
