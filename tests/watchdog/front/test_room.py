from http import HTTPStatus

import pytest

from regrain.graph import Graph, Ref
from regrain.manifest import Manifest, Parameter, StageSpec
from regrain.plan import Group, Plan
from regrain_watchdog.front.room import free_memory, memory_of, no_room

MIB = 1 << 20


@pytest.fixture
def machine(tmp_path):
    """A machine with 4 GiB available, and what its cgroup says."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       8388608 kB\nMemAvailable:   4194304 kB\n")

    def make(limit="", used=""):
        for name, text in (("memory.max", limit), ("memory.current", used)):
            if text:
                (tmp_path / name).write_text(f"{text}\n")
        return free_memory(meminfo, tmp_path)

    return make


@pytest.mark.parametrize(
    ("limit", "used", "free"),
    [
        pytest.param("", "", 4096, id="no cgroup"),
        pytest.param("max", str(9 * MIB), 4096, id="a cgroup without a limit"),
        pytest.param(str(100 * MIB), str(30 * MIB), 70, id="a cgroup that has less than the machine"),
        pytest.param(str(100 * MIB), str(130 * MIB), 0, id="a cgroup that is over its limit"),
        pytest.param(str(1 << 40), str(MIB), 4096, id="a machine that has less than the cgroup may take"),
    ],
)
def test_what_is_free_is_the_less_of_what_machine_and_cgroup_have(machine, limit, used, free):
    assert machine(limit, used) == free * MIB


def test_a_plan_needs_what_its_stages_declare_once_per_replica():
    manifest = Manifest(
        app="a",
        stages=(
            StageSpec(name="x", digest="1", memory=3),
            StageSpec(name="y", digest="2", memory=40),
            StageSpec(name="z", digest="3"),
        ),
        graph=Graph(inputs=(), nodes=(), output=Ref("z")),
        parameters=(),
        answer=Parameter(name="", kind="json"),
    )
    plan = Plan((Group(stages=("x", "y"), replicas=2), Group(stages=("z",), replicas=9)))

    assert memory_of(plan, manifest) == 86


def test_a_plan_that_does_not_fit_is_refused_with_both_numbers():
    refused = no_room(3 * MIB, 2 * MIB)

    assert "needs 3 MiB, 2 MiB are free" in refused.detail
    assert refused.status == HTTPStatus.CONFLICT
