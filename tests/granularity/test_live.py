"""The live cells: the protocol's pipelines as apps that can be served, and the files that say what is run."""

import pytest
from benchmarks.cells.pipelines import write
from benchmarks.granularity import live
from benchmarks.granularity import protocol as protocols
from benchmarks.granularity.pipelines import Setting, World

from regrain_watchdog.cli.describe import describe
from regrain_watchdog.policy.model import lists

PROTOCOL = protocols.read()


@pytest.mark.parametrize("name", PROTOCOL.live.pipelines)
def test_an_app_that_is_served_has_the_flow_that_is_simulated(name, tmp_path):
    write(live.of(PROTOCOL, name), tmp_path)

    served = describe(str(tmp_path / "app.py"))

    simulated = World(PROTOCOL, name, Setting.of(PROTOCOL)).offer(1.0).app.manifest
    assert served.graph.stages == simulated.graph.stages
    assert len(lists(served.graph)) == len(lists(simulated.graph))
    for one in simulated.stages:
        other = served.stage(one.name)
        assert bool(served.graph.scope(one.name)) == bool(simulated.graph.scope(one.name))
        assert (other.batched, other.max_size, other.gpu is None) == (
            one.batched,
            one.max_size,
            one.gpu is None,
        )
