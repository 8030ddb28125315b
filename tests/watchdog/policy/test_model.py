from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

import regrain
from regrain.manifest import SLOSpec
from regrain.plan import Fluid, GpuShare, Group, Lane, Plan
from regrain_watchdog.policy.model import PER_REQUEST, Application, lists, make_model
from regrain_watchdog.policy.profile import Hop, OutOfRangeError, Point, Profile, StageProfile
from regrain_watchdog.policy.service import ServiceTime

app = regrain.App("pages", slo=regrain.SLO(latency=0.5, attainment=0.95))


@app.stage()
def decode(body: bytes) -> int:
    return len(body)


@app.batched(gpu=regrain.GPU(memory="1Gi"), max_size=4)
def detect(images: list[int]) -> list[list[int]]:
    return [[image] for image in images]


@app.batched(gpu=regrain.GPU(memory="1Gi"), max_size=8)
def recognise(crops: list[int]) -> list[int]:
    return crops


@app.flow
def read(body: bytes) -> list[int]:
    return recognise.map(detect(decode(body)))


def stage(*, on_gpu: bool, batches: tuple[int, ...]) -> StageProfile:
    shares = (0.1, 0.5, 1.0) if on_gpu else (1.0,)
    points = tuple(Point(batch, 0.0, share, batch * 0.01 / share) for share in shares for batch in batches)
    return StageProfile(digest="", on_gpu=on_gpu, points=points, load=0.5)


def application() -> Application:
    stages = {
        "decode": stage(on_gpu=False, batches=(1,)),
        "detect": stage(on_gpu=True, batches=(1, 4)),
        "recognise": stage(on_gpu=True, batches=(1, 8)),
    }
    return Application(
        manifest=app.manifest(),
        profile=Profile(app="pages", stages=stages),
        slo=SLOSpec(latency=0.5, attainment=0.95),
    )


def model(plan: Plan):
    pages = application()
    return make_model(
        pages, plan, {name: ServiceTime.of(name, one) for name, one in pages.profile.stages.items()}
    )


def test_a_flow_has_as_many_lists_as_it_maps_over():
    assert len(lists(app.manifest().graph)) == 1


def test_a_split_map_takes_items_and_a_fused_one_takes_requests():
    split = model(
        Plan(
            (
                Group(stages=("decode",)),
                Group(stages=("detect",), gpu=GpuShare(fraction=0.5)),
                Group(stages=("recognise",), gpu=GpuShare(fraction=0.5), max_size=8),
            )
        )
    )
    assert [station.scope for station in split.stations] == [PER_REQUEST, PER_REQUEST, 0]
    assert [station.after for station in split.stations] == [(), (0,), (1,)]
    fused = model(Plan((Group(stages=("decode", "detect", "recognise"), gpu=GpuShare(fraction=0.5)),)))
    assert [work.scope for work in fused.stations[0].works] == [PER_REQUEST, PER_REQUEST, 0]
    assert fused.last == (0,)


def test_work_is_linear_between_batches_and_amdahl_between_shares():
    station = model(
        Plan((Group(stages=("decode", "detect", "recognise"), gpu=GpuShare(fraction=0.25)),))
    ).stations[0]
    detect_work = station.works[1]
    assert detect_work.chunk == 4
    assert detect_work.seconds[:, 0] == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16])
    assert detect_work.total(6) == pytest.approx(0.24)


def test_each_stage_is_counted_on_the_cores_that_it_declares_whatever_its_group_books():
    pages, points = application(), tuple(Point(1, 0.0, cores, 0.08 / cores) for cores in (1.0, 2.0, 8.0))
    profile = structs.replace(
        pages.profile, stages={**pages.profile.stages, "decode": StageProfile(digest="", points=points)}
    )
    times = {name: ServiceTime.of(name, one) for name, one in profile.stages.items()}
    plan = Plan(
        (Group(stages=("decode", "detect", "recognise"), cpu=8.0, gpu=GpuShare(fraction=0.5), replicas=1),)
    )

    (station,) = make_model(replace(pages, profile=profile), plan, times).stations

    assert pages.manifest.stage("decode").cpu == 1.0
    assert station.works[0].total(1) == pytest.approx(0.08)


def test_a_fluid_group_is_a_station_for_each_stage_over_one_pool():
    lanes = (
        Lane(stage="decode"),
        Lane(stage="detect", fraction=0.5, max_size=4),
        Lane(stage="recognise", fraction=0.1, max_size=8),
    )
    fluid = Group(
        stages=("decode", "detect", "recognise"),
        replicas=3,
        gpu=GpuShare(),
        fluid=Fluid(share=1.5, lanes=lanes),
    )
    made = model(Plan((fluid,)))
    assert [station.take for station in made.stations] == [0.0, 0.5, 0.1]
    assert {station.pool for station in made.stations} == {0}
    assert made.pools[0].servers == 3
    assert made.pools[0].cards == (1.0, 0.5)


def test_what_was_not_measured_is_not_made_up():
    with pytest.raises(
        OutOfRangeError, match=r"a share of 0.05 was not measured for stage detect; measured were 0.1 to 1"
    ):
        model(Plan((Group(stages=("decode", "detect", "recognise"), gpu=GpuShare(fraction=0.05)),)))


def test_sizes_of_all_stages_are_joined():
    pages = application()
    stages = dict(pages.profile.stages)
    points = tuple(Point(1, size, 1.0, size) for size in (1.0, 3.0))
    stages["decode"] = StageProfile(digest="", points=points)
    times = {name: ServiceTime.of(name, one) for name, one in stages.items()}
    made = make_model(
        Application(manifest=pages.manifest, profile=Profile(app="pages", stages=stages), slo=pages.slo),
        Plan((Group(stages=("decode", "detect", "recognise"), gpu=GpuShare()),)),
        times,
    )
    assert np.array_equal(made.sizes, [0.0, 1.0, 3.0])
    assert made.stations[0].works[0].seconds[1] == pytest.approx([1.0, 1.0, 3.0])


def test_each_group_on_another_pod_is_a_hop_further_from_the_answer():
    pages = application()
    profile = structs.replace(
        pages.profile,
        hop=Hop(0.001),
        remote=Hop(0.01, 1e-6),
        stages={name: structs.replace(one, out_bytes=1000.0) for name, one in pages.profile.stages.items()},
    )
    times = {name: ServiceTime.of(name, one) for name, one in profile.stages.items()}
    share = GpuShare(fraction=0.5)

    def answer(*groups, spread=True):
        plan = Plan(tuple(Group(stages=stages, gpu=share) for stages in groups))
        made = make_model(replace(pages, profile=profile, spread=spread), plan, times)
        assert {station.hop for station in made.stations} == {0.001}
        return made.answer

    fused, split = (("decode", "detect", "recognise"),), (("decode",), ("detect",), ("recognise",))
    assert answer(*split, spread=False) == answer(*fused, spread=False) == 0.001
    assert answer(*fused) == pytest.approx(0.001 + 0.011)
    assert answer(*split) == pytest.approx(0.001 + 0.011 + 2 * 0.012)
