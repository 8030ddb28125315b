"""Profiles of real apps, measured in real processes; GPUs are emulated."""

import asyncio
import json
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from msgspec import structs

from regrain.errors import SpecError
from regrain_runtime.emulated.models import model_named
from regrain_watchdog.cli.describe import describe
from regrain_watchdog.front.config import Config
from regrain_watchdog.policy.profile import ProfileError
from regrain_watchdog.policy.service import ServiceTime
from regrain_watchdog.profile import file
from regrain_watchdog.profile.bench import RefusedError
from regrain_watchdog.profile.session import Effort
from regrain_watchdog.profile.take import take

pytestmark = pytest.mark.process
HELLO = Path(__file__).parents[3] / "examples" / "hello" / "app.py"
MIB = 1 << 20
QUICK = Effort(time=30.0, error=0.05, shares=(0.1, 0.5, 1.0), batches=(1, 4), cores=(1.0,))

CARDS = """
import numpy as np

from regrain import GPU, App

app = App("cards", sample={"text": "abc"})


@app.batched(max_size=4, gpu=GPU(memory="2Gi"))
def see(text: list[str]) -> list[object]:
    return [np.zeros(1000, np.uint8) for _ in text]


@app.stage()
def split(seen: object, text: str) -> list[str]:
    return list(text)


@app.batched(max_size=4, gpu=GPU(memory="1Gi"))
def read(letter: list[str]) -> list[str]:
    return letter


@app.flow
def flow(text: str) -> list[str]:
    return read.map(split(see(text), text))
"""
SCENARIO = """
[emulated]
seed = 1
jitter = 0.0
context = "100Mi"

[emulated.stages.see]
model = "resnet50"
weights = "98Mi"
activations = "16Mi"
load_time = "200ms"
drift = 0.5

[emulated.stages.read]
model = "resnet34"
weights = "10Mi"
activations = "4Mi"
load_time = "1ms"
"""
NAMED = SCENARIO.replace("seed = 1", 'seed = 1\ngpus = "emulated:a10"')


@pytest.fixture
def measure(tmp_path):
    """Measure an app's code; tell what was being done, in order."""

    def run(code=None, *, path=tmp_path / "cards.py", scenario="", effort=QUICK, **options):
        if code is not None:
            path.write_text(code)
        config = Config()
        if scenario:
            (tmp_path / "scenario.toml").write_text(scenario)
            config = Config(
                gpus=options.pop("gpus", "emulated:v100"), scenario=str(tmp_path / "scenario.toml")
            )
        else:
            effort = replace(effort, shares=())
        told = []
        taken = asyncio.run(
            take(
                str(path),
                describe(str(path)),
                out=tmp_path / "profile.json",
                inputs=options.pop("inputs", ()),
                config=config,
                effort=effort,
                told=told.append,
                **options,
            )
        )
        assert file.read(tmp_path / "profile.json") == taken.profile
        return taken.profile, [one.doing for one in told]

    return run


def undisturbed(measure, holds):
    """Measure until a claim about the profile holds: a machine that stands still makes times longer, and only that."""
    for _ in range(5):
        profile, _ = measure(CARDS, scenario=SCENARIO, resume=False)
        if holds(profile):
            break
    return profile


def measured(doing):
    """The stages of which points were measured."""
    return {what.partition(":")[0] for what in doing if " at once on " in what}


@pytest.mark.parametrize(
    ("effort", "scenario", "said"),
    [
        pytest.param(Effort(shares=(0.5,)), "", "is measured on one: name one by --gpus", id="shares"),
        pytest.param(Effort(cores=(1.0,)), NAMED, "'cards' has none: leave it out", id="cores"),
    ],
)
def test_what_no_stage_could_be_measured_on_is_refused(tmp_path, effort, scenario, said):
    (tmp_path / "cards.py").write_text(CARDS)
    manifest = describe(str(tmp_path / "cards.py"))
    (tmp_path / "scenario.toml").write_text(scenario)
    if scenario:
        manifest = structs.replace(manifest, stages=tuple(one for one in manifest.stages if one.gpu))

    with pytest.raises(SpecError, match=said):
        asyncio.run(
            take(
                "cards",
                manifest,
                out=tmp_path / "profile.json",
                inputs=(),
                config=Config(scenario=str(tmp_path / "scenario.toml")),
                effort=effort,
                told=lambda _: None,
            )
        )


def test_the_least_app_has_a_profile(measure, tmp_path):
    began = time.monotonic()

    profile, _ = measure(path=HELLO)

    profile.check({stage.name: stage.digest for stage in describe(str(HELLO)).stages})
    assert profile.app == "hello"
    assert profile.stages["greet"].points[0].seconds > 0
    assert profile.hop.seconds < 0.1
    assert 0 < profile.start < time.monotonic() - began
    assert profile.resident > 0


def test_on_emulated_gpus_a_client_measures_about_what_the_truth_is_without_its_drift(measure):
    def times(profile):
        """Yield what a call takes as measured, and in truth."""
        for stage, model in (("see", "resnet50"), ("read", "resnet34")):
            service = ServiceTime.of(stage, profile.stages[stage])
            for batch, share in product((1, 4), (0.1, 0.5, 1.0)):
                yield service.call(batch, share)[0], model_named(model).time(batch, share)

    def is_true(profile):
        return all(found <= truth * 1.4 + 0.02 for found, truth in times(profile))

    profile = undisturbed(measure, is_true)

    assert profile.device == "v100"
    assert is_true(profile)
    assert all(truth * 0.99 <= found for found, truth in times(profile))


def test_memory_and_load_are_told_by_stage(measure):
    profile = undisturbed(measure, lambda one: one.stages["see"].load > one.stages["read"].load + 0.1)

    see, read = profile.stages["see"], profile.stages["read"]
    assert profile.context == 100 * MIB
    assert (see.weights, read.weights) == (98 * MIB, 10 * MIB)
    assert (see.activation, read.activation) == (16 * MIB, 4 * MIB)
    assert see.load >= 0.2
    assert see.load > read.load + 0.1
    assert 1000 <= see.out_bytes < 1200


def test_what_is_known_of_the_same_code_is_kept_and_an_edit_of_one_stage_forgets_that_one(measure):
    first, _ = measure(CARDS, scenario=SCENARIO)
    again, doing = measure(CARDS, scenario=SCENARIO)
    edited, redoing = measure(
        CARDS.replace("return list(text)", "return list(text + '!')"), scenario=SCENARIO
    )

    assert measured(doing) == set()
    assert again.stages["see"].points == first.stages["see"].points
    assert measured(redoing) == {"split"}
    assert edited.stages["read"].points == first.stages["read"].points
    assert edited.stages["split"].digest != first.stages["split"].digest


def test_more_time_makes_a_profile_finer(measure):
    coarse, _ = measure(
        CARDS, scenario=SCENARIO, effort=Effort(time=0.0, shares=(0.1, 0.5, 1.0), cores=(1.0,))
    )
    finer, _ = measure(CARDS, scenario=SCENARIO)

    found = {name: {point.batch for point in stage.points} for name, stage in coarse.stages.items()}
    assert found == {"see": {1, 4}, "split": {1}, "read": {1, 4}}
    assert len(coarse.stages["see"].points) == 2
    assert len(finer.stages["see"].points) == 6
    assert coarse.stages["see"].points[0] in finer.stages["see"].points


def test_sizes_of_requests_are_an_axis(measure, tmp_path):
    (tmp_path / "long.json").write_text(json.dumps({"text": "abcdefghijkl"}))

    profile, _ = measure(path=HELLO, inputs=[_named(tmp_path, "a"), _named(tmp_path, "abcdefgh")])

    assert len({point.size for point in profile.stages["greet"].points}) == 3


def _named(folder, name):
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"name": name}))
    return path


def test_a_batch_that_the_gpu_has_no_room_for_is_noted_and_the_rest_is_measured(measure, tmp_path):
    tight = SCENARIO.replace('activations = "16Mi"', 'activations = "1000Mi"')

    profile, _ = measure(CARDS, scenario=tight)

    assert {point.batch for point in profile.stages["see"].points} == {1}


def test_an_app_whose_sample_fails_is_refused_with_the_reason(measure):
    with pytest.raises(RefusedError, match=r"request 1 fails: stage 'split' failed: ValueError: too short"):
        measure(CARDS.replace("return list(text)", "raise ValueError('too short')"), scenario=SCENARIO)


def test_a_stage_that_no_request_reaches_is_named(measure):
    with pytest.raises(ProfileError, match=r"nothing could be measured of stage read: no request reaches it"):
        measure(CARDS.replace("return list(text)", "return []"), scenario=SCENARIO)


def test_without_a_gpu_stages_are_measured_as_they_would_be_served_and_anew_with_one(measure):
    without, _ = measure(CARDS, effort=Effort(time=0.0, cores=(1.0,)))
    profile, _ = measure(CARDS, scenario=SCENARIO, effort=Effort(time=0.0, cores=(1.0,)))

    assert {(name, stage.on_gpu) for name, stage in without.stages.items()} == {
        ("see", False),
        ("split", False),
        ("read", False),
    }
    assert profile.stages["see"].on_gpu
    assert profile.stages["see"].points[0].seconds > 0.01


def test_stages_are_measured_on_the_gpus_that_the_scenario_alone_names(measure):
    profile, _ = measure(
        CARDS, scenario=NAMED, gpus="", effort=Effort(time=0.0, shares=(0.5, 1.0), cores=(1.0,))
    )

    assert profile.device == "a10"
    assert {name: stage.on_gpu for name, stage in profile.stages.items()} == {
        "see": True,
        "split": False,
        "read": True,
    }


def test_an_unreadable_profile_is_not_overwritten(measure, tmp_path):
    (tmp_path / "profile.json").write_text("{}")

    with pytest.raises(ProfileError, match="this is no profile"):
        measure(path=HELLO)

    assert (tmp_path / "profile.json").read_text() == "{}"
