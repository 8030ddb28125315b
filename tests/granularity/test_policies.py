import pytest
from benchmarks.granularity import cells, judge
from benchmarks.granularity import protocol as protocols
from benchmarks.granularity.pipelines import Setting, World
from benchmarks.granularity.settle import Settling

PROTOCOL = protocols.read()


@pytest.mark.parametrize(
    ("pipeline", "slo", "load", "arrivals", "grain"),
    [
        pytest.param(
            "image-classification", 1.0, "heavy", "mmpp", "enhance+segment | classify", id="overload"
        ),
        pytest.param(
            "shots", 1.0, "light", "mmpp", "split | look+tag | tell", id="misled by queueing theory"
        ),
        pytest.param(
            "shots", 0.8, "heavy", "poisson", "split | look | tag+tell", id="a walk that leaves its grain"
        ),
    ],
)
def test_where_any_grain_may_be_none_that_is_kept_is_better(pipeline, slo, load, arrivals, grain):
    world = World(PROTOCOL, pipeline, Setting.of(PROTOCOL))
    cell = cells.Cell(
        part="core", pipeline=pipeline, shares="free", cards=2, slo=slo, load=load, arrivals=arrivals
    )
    found = judge.Judge(world, cell, (1000,))
    mind = Settling(found).begun()

    free = mind.planned(found.calibration)
    kept = mind.planned(found.calibration, grain=grain)

    assert kept.plan.grain == grain
    if kept.expected >= PROTOCOL.slo.attainment:
        assert free.expected >= PROTOCOL.slo.attainment
        assert mind.cost(free.plan) <= 1.001 * mind.cost(kept.plan)
    else:
        assert free.expected >= kept.expected
