import pytest
from msgspec.structs import replace

from regrain.errors import SpecError
from regrain.grain import make_plan
from regrain.manifest import GPUSpec
from regrain_watchdog.platforms.controller import manifests
from regrain_watchdog.platforms.gpu import Need
from regrain_watchdog.platforms.wanted import Wishes, function

IMAGE = "example.org/ocr:1"


def test_an_app_as_it_is(ocr):
    made = function(replace(ocr, digest="abc"), Wishes(image=IMAGE))

    assert (made.name, made.image, made.environment) == ("ocr", IMAGE, {})
    assert made.annotations == {
        "regrain.dev/app": "ocr",
        "regrain.dev/version": "abc",
        "regrain.slo": "0.8s",
        "regrain.dev/attainment": "0.95",
        "regrain.grain": "coarse",
    }
    assert (made.cpu, made.memory, made.gpu) == (1.0, 0, Need(share=1.0, memory=1 << 30))


def test_what_is_wished_is_set_and_told(ocr):
    made = function(ocr, Wishes(image=IMAGE, slo="300ms", grain="fine", adapt="on"))

    assert made.environment == {
        "REGRAIN_SLO": "300ms",
        "REGRAIN_GRAIN": "fine",
        "REGRAIN_ADAPT": "on",
        "REGRAIN_CORES": f"{made.cpu:g}",
    }
    assert made.annotations["regrain.slo"] == "300ms"
    assert made.annotations["regrain.grain"] == "fine"
    assert made.annotations["regrain.adapt"] == "on"


@pytest.mark.parametrize("remote_key", ["", "shared"])
@pytest.mark.parametrize(("cpu", "cores"), [(4.0, "4"), (2.5, "3"), (0.5, "1"), (0.0, "1")])
def test_a_plan_that_adapts_has_the_cores_that_are_asked_for(ocr, cpu, cores, remote_key):
    """Those of its node are others' as well."""
    made = function(ocr, Wishes(image=IMAGE, adapt="on", cpu=cpu, remote_key=remote_key))

    assert made.environment["REGRAIN_CORES"] == cores


def test_a_plan_that_adapts_has_the_cores_that_its_largest_stage_declares(ocr):
    first, *rest = ocr.stages
    large = replace(ocr, stages=(replace(first, cpu=1.5), *rest))

    made = function(large, Wishes(image=IMAGE, adapt="on", cpu=0.25))

    assert made.environment["REGRAIN_CORES"] == "2"


def test_the_cores_of_a_plan_are_those_that_are_named(ocr):
    named = {"REGRAIN_CORES": "7"}

    assert function(ocr, Wishes(image=IMAGE, adapt="on", environment=named)).environment == {
        "REGRAIN_ADAPT": "on",
        **named,
    }
    assert "REGRAIN_CORES" not in function(ocr, Wishes(image=IMAGE, adapt="off", cpu=4.0)).environment


def test_a_variable_that_is_named_wins(ocr):
    made = function(ocr, Wishes(image=IMAGE, adapt="on", environment={"REGRAIN_ADAPT": "off"}))

    assert made.environment == {"REGRAIN_ADAPT": "off"}
    assert made.annotations["regrain.adapt"] == "off"


def test_replicas_that_run_groups_for_each_other_share_a_secret(ocr):
    made = function(ocr, Wishes(image=IMAGE, secrets=("key", "shared"), remote_key="shared"))

    assert made.environment == {"REGRAIN_REMOTE_KEY_FILE": "/var/openfaas/secrets/shared"}
    assert (made.secrets, made.remote_key) == (("key", "shared"), "shared")


def test_replicas_that_run_groups_for_each_other_are_adapted_together(ocr):
    made = function(ocr, Wishes(image=IMAGE, adapt="on", remote_key="shared"))

    assert "REGRAIN_ADAPT" not in made.environment
    assert made.annotations["regrain.adapt"] == "on"


@pytest.mark.parametrize(
    ("text", "told"),
    [("1", "on"), ("true", "on"), ("ON", "on"), ("0", "off"), ("False", "off"), ("off", "off")],
)
@pytest.mark.parametrize("remote_key", ["", "shared"])
def test_whether_it_adapts_is_told_in_one_word_however_it_is_written(ocr, text, told, remote_key):
    wishes = Wishes(image=IMAGE, environment={"REGRAIN_ADAPT": text}, remote_key=remote_key)

    made = function(ocr, wishes)

    assert made.annotations["regrain.adapt"] == told
    assert made.environment.get("REGRAIN_ADAPT") == (None if remote_key else text)
    assert any("--adapt" in str(one) for one in manifests(made, "")) is bool(remote_key and told == "on")


@pytest.mark.parametrize("grain", ["coarse", "fine", "decode+detect | crop+orient+recognise | assemble"])
def test_a_replica_asks_for_what_its_groups_may_use(ocr, grain):
    stages = tuple(replace(stage, cpu=2.0, memory=1 << 20) for stage in ocr.stages)
    made = function(replace(ocr, stages=stages), Wishes(image=IMAGE, grain=grain))

    assert made.cpu == 2.0 * len(make_plan(ocr, grain).groups)
    assert made.memory == len(stages) << 20


def test_gpus_of_several_groups_are_one_need(ocr):
    gpus = {"detect": GPUSpec(memory=1 << 20, share=0.25), "recognise": GPUSpec(memory=1 << 21, share=0.5)}
    stages = tuple(replace(stage, gpu=gpus.get(stage.name)) for stage in ocr.stages)
    told = replace(ocr, stages=stages)

    assert function(told, Wishes(image=IMAGE, grain="fine")).gpu == Need(share=0.75, memory=3 << 20)
    assert function(told, Wishes(image=IMAGE, grain="coarse")).gpu == Need(share=0.5, memory=3 << 20)


def test_resources_that_are_named_win(ocr):
    made = function(ocr, Wishes(image=IMAGE, cpu=0.25, memory=1 << 30))

    assert (made.cpu, made.memory) == (0.25, 1 << 30)


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"slo": "soon"}, 'slo must be seconds or a duration like "300ms"'),
        ({"slo": "0"}, "slo: a duration over 0"),
        ({"environment": {"REGRAIN_ADAPT": "perhaps"}}, "adapt must be on or off, was 'perhaps'"),
        ({"grain": "decode | read"}, "grain 'decode | read'"),
        ({"name": "My App"}, "name: up to 63 of"),
        ({"image": ""}, "image: a name such as registry/name:tag"),
        ({"environment": {"1X": "a"}}, "environment: letters, digits and _"),
        ({"secrets": ("a/b",)}, "secret: a DNS name, was 'a/b'"),
        ({"least": 3, "most": 2}, "the most replicas are 2, fewer than the least, 3"),
        ({"most": 1001}, "replicas: 0 to 1000, was 1001"),
        ({"cpu": -1.0}, "cpu: 0 to 4096 cores, was -1"),
        ({"cpu": float("nan")}, "cpu: 0 to 4096 cores, was nan"),
        ({"target": -1}, "target: 0 or more requests in flight, was -1"),
    ],
)
def test_a_wish_that_cannot_be_is_named(ocr, wish, told):
    with pytest.raises(SpecError, match=told.replace("|", r"\|")):
        function(ocr, Wishes(**{"image": IMAGE, **wish}))
