from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from regrain.errors import SpecError
from regrain.manifest import Manifest
from regrain.plan import Group, Plan
from regrain_watchdog.policy.cost import rate
from regrain_watchdog.policy.profile import Point, Profile, ProfileError, StageProfile, dumps, loads
from regrain_watchdog.simulate.scenario import Scenario, read
from regrain_watchdog.simulate.static import overcommitted, prepare

SCENARIO = """
duration = "20s"
node = {cores = 2}
[apps.ocr]
manifest = "ocr.json"
profile = "profile.json"
replicas = "2"
load = {kind = "poisson", rate = 10}
widths = [{kind = "fixed", value = 5}]
"""


@pytest.fixture
def cpu(ocr: Manifest) -> Manifest:
    """The app with no stage on a GPU."""
    stages = tuple(msgspec.structs.replace(stage, gpu=None) for stage in ocr.stages)
    return msgspec.structs.replace(ocr, stages=stages, grain="fine")


@pytest.fixture
def scenario(tmp_path: Path, cpu: Manifest):
    points = tuple(Point(batch, 0.0, 1.0, 0.002 * batch) for batch in (1, 32))
    stages = {stage.name: StageProfile(digest="", points=points) for stage in cpu.stages}
    (tmp_path / "profile.json").write_bytes(dumps(Profile(app="ocr", stages=stages)))

    def scenario(text: str = SCENARIO) -> Scenario:
        file = tmp_path / "scenario.toml"
        file.write_text(text)
        return read(file)

    return scenario


def test_an_app_has_its_plan_and_its_load(scenario, cpu: Manifest) -> None:
    made = prepare(scenario(), "ocr", cpu)

    assert [group.replicas for group in made.plan.groups] == [2] * 6
    assert len(made.model.stations) == 6
    assert made.model.slo == 0.8
    assert set(made.arrivals.widths[:, 0]) == {5}
    assert made.rate == pytest.approx(rate(made.plan, made.application.profile, scenario().prices, None))


def test_a_plan_can_come_from_a_file(scenario, cpu: Manifest, tmp_path: Path) -> None:
    stages = tuple(stage.name for stage in cpu.stages)
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(Plan((Group(stages=stages, replicas=3),))))

    made = prepare(scenario(SCENARIO.replace('replicas = "2"', 'plan = "plan.json"')), "ocr", cpu)

    assert made.plan.groups[0].replicas == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda stages: [(stages[1:], 1)], "decode left out", id="one left out"),
        pytest.param(lambda stages: [((*stages, "other"), 1)], "no stage 'other'", id="one unknown"),
        pytest.param(lambda stages: [(stages[::-1], 1)], "must be in the order of decode", id="order"),
        pytest.param(lambda stages: [(stages, 0)], "must have replicas and max_size of 1", id="no replica"),
    ],
)
def test_a_plan_from_a_file_that_is_none_of_the_app_s_is_refused(
    scenario, cpu: Manifest, tmp_path: Path, change, said: str
) -> None:
    groups = change(tuple(stage.name for stage in cpu.stages))
    plan = Plan(tuple(Group(stages=stages, replicas=replicas) for stages, replicas in groups))
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(plan))

    with pytest.raises(SpecError, match=said):
        prepare(scenario(SCENARIO.replace('replicas = "2"', 'plan = "plan.json"')), "ocr", cpu)


def test_a_plan_larger_than_the_node_is_told(scenario, cpu: Manifest) -> None:
    made = scenario()

    assert overcommitted(made, [prepare(made, "ocr", cpu)]) == [
        "the plans reserve 12 cores, and the node has 2"
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param('profile = "profile.json"', "", "apps.ocr must have a profile", id="profile"),
        pytest.param("profile.json", "none.json", "none.json cannot be read: No such file", id="file"),
        pytest.param('replicas = "2"', 'grain = "decode"', "allowed are", id="grain"),
        pytest.param('replicas = "2"', 'plan = "profile.json"', "apps.ocr.plan: .* is no plan", id="plan"),
        pytest.param(
            'widths = [{kind = "fixed", value = 5}]',
            "",
            "maps over: 1, of which there are widths: 0",
            id="width",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(scenario, cpu: Manifest, old: str, new: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        prepare(scenario(SCENARIO.replace(old, new)), "ocr", cpu)


def test_an_app_with_no_objective_needs_one(scenario, cpu: Manifest) -> None:
    with pytest.raises(SpecError, match=r"apps\.ocr must have an slo"):
        prepare(scenario(), "ocr", msgspec.structs.replace(cpu, slo=None))


def test_stages_that_were_profiled_on_a_gpu_need_one(scenario, ocr: Manifest, tmp_path: Path) -> None:
    """Those that a GPU would do good, and that were profiled on the CPU, cost and reserve none."""
    made = prepare(scenario(), "ocr", ocr)
    assert {group.gpu for group in made.plan.groups} == {None}

    known = loads((tmp_path / "profile.json").read_bytes())
    on_gpu = {
        stage.name: msgspec.structs.replace(known.stages[stage.name], on_gpu=stage.gpu is not None)
        for stage in ocr.stages
    }
    (tmp_path / "profile.json").write_bytes(dumps(msgspec.structs.replace(known, stages=on_gpu)))

    with pytest.raises(SpecError, match=r"apps\.ocr needs a GPU, as it was profiled, and the node has none"):
        prepare(scenario(), "ocr", ocr)


def test_a_profile_of_other_code_is_refused(scenario, cpu: Manifest) -> None:
    changed = msgspec.structs.replace(cpu.stages[0], digest="other")

    with pytest.raises(ProfileError, match="knows other code of decode"):
        prepare(scenario(), "ocr", msgspec.structs.replace(cpu, stages=(changed, *cpu.stages[1:])))


@pytest.mark.parametrize(("gpus", "has_pools"), [('gpus = "emulated:v100x1", ', True), ("", False)])
def test_plans_may_have_pools_where_there_is_a_gpu_as_live(
    scenario, cpu: Manifest, gpus: str, has_pools: bool
) -> None:
    made = prepare(scenario(SCENARIO.replace("cores = 2", f"{gpus}cores = 2")), "ocr", cpu)

    assert made.problem.limits.fluid is has_pools
