"""What a scenario says of emulated GPUs, and what it is told when it says something else."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from regrain.cards import CARDS, GIB
from regrain.errors import SpecError
from regrain_runtime.emulated import scenario
from regrain_runtime.emulated.scenario import CONTEXT, LOAD_RATE, LOAD_START, parse, read
from regrain_runtime.emulated.truth import SPEED

DOCS = Path(__file__).parents[3] / "docs" / "emulated-gpus.md"

TEXT = """
[other]
load = "somebody else's section"

[emulated]
gpus = "emulated:v100x2"
seed = 7
drift = 0.1
prices = {v100 = 2.5}

[emulated.stages.detect]
model = "resnet50"
scale = 1.5
weights = "98Mi"
activations = "20Mi"
load_time = "1500ms"

[emulated.stages."ocr/read"]
model = "alexnet"
"""


def test_a_scenario_file_says_what_each_stage_stands_for(tmp_path):
    path = tmp_path / "scenario.toml"
    path.write_text(TEXT)

    read_back = read(path)

    detect, ocr = read_back.stages["detect"], read_back.stages["ocr/read"]
    assert [(card.name, card.price) for card in read_back.cards()] == [("v100", 2.5)] * 2
    assert (read_back.seed, read_back.drift, read_back.jitter) == (7, 0.1, scenario.JITTER)
    assert (detect.model, detect.scale, detect.drift) == ("resnet50", 1.5, None)
    assert (detect.weight_bytes(), detect.activation_bytes()) == (98 << 20, 20 << 20)
    assert detect.load_seconds() == 1.5
    assert ocr.weight_bytes() == 61_100_840 * 4
    assert ocr.load_seconds() == pytest.approx(LOAD_START + 61_100_840 * 4 / LOAD_RATE)


def test_json_says_the_same_as_toml(tmp_path):
    section = {"gpus": "emulated:a10", "context": "1Gi", "stages": {"a": {"model": "vgg11"}}}
    path = tmp_path / "scenario.json"
    path.write_text(json.dumps({"emulated": section}))

    assert read(path) == parse(section)
    assert read(path).context_bytes() == 1 << 30


def test_what_is_left_out_has_the_documented_default():
    plain = parse({"stages": {"a": {"model": "vgg11"}}})

    assert (plain.jitter, plain.drift, plain.interference) == (0.1, 0.0, 0.15)
    assert plain.context_bytes() == CONTEXT == 512 << 20
    assert [card.name for card in plain.cards()] == ["v100"]


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        pytest.param({}, "missing required field `model`", id="no model"),
        pytest.param(
            {"model": "resnet5"}, "no emulated model 'resnet5', there are alexnet", id="unknown model"
        ),
        pytest.param(
            {"model": "vgg11", "scale": 0}, r"\.scale: Expected `float` > 0.0, was 0", id="scale of 0"
        ),
        pytest.param({"model": "vgg11", "scale": "2"}, r"\.scale: Expected `float`, got `str`", id="text"),
        pytest.param({"model": "vgg11", "scale": float("nan")}, r"\.scale: Expected", id="no number"),
        pytest.param({"model": "vgg11", "scale": float("inf")}, r"\.scale: Expected", id="without end"),
        pytest.param(
            {"model": "vgg11", "drift": -1}, r"\.drift: Expected .*> -1.0, was -1", id="no time left"
        ),
        pytest.param(
            {"model": "vgg11", "pressure": -1}, r"\.pressure: Expected .*>= 0.0", id="pressure below 0"
        ),
        pytest.param(
            {"model": "vgg11", "speed": 1}, "unknown field `speed`; the fields are model", id="field"
        ),
        pytest.param({"model": "vgg11", "weights": "1Q"}, "weights must be bytes or a size", id="size"),
        pytest.param(
            {"model": "vgg11", "weights": -1}, "weights must be bytes or a size", id="negative size"
        ),
        pytest.param({"model": "vgg11", "activations": "x"}, "activations must be bytes", id="activations"),
        pytest.param({"model": "vgg11", "load_time": "soon"}, "load_time must be seconds", id="duration"),
        pytest.param("vgg11", "Expected `object`, got `str`", id="a bare name"),
    ],
)
def test_a_stage_that_says_something_else_is_refused_by_its_name(said, complaint):
    with pytest.raises(SpecError, match=rf"^emulated\.stages\.detect.*{complaint}"):
        parse({"stages": {"detect": said}})


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        pytest.param({"gpus": "emulated:t4"}, "no GPU type 't4'", id="unknown card"),
        pytest.param({"gpus": "emulated:v100x0"}, "at least 1", id="no cards"),
        pytest.param({"jitter": 1.5}, r"\.jitter: Expected `float` <= 1.0, was 1.5", id="jitter"),
        pytest.param({"drift": -0.1}, r"\.drift: Expected `float` >= 0.0, was -0.1", id="drift"),
        pytest.param({"interference": -1}, r"\.interference: Expected `float` >= 0.0", id="interference"),
        pytest.param({"context": "a lot"}, "context must be bytes", id="context"),
        pytest.param({"seed": 1.5}, r"\.seed: Expected `int`", id="seed"),
        pytest.param({"prices": {"t4": 1}}, "prices: there is no GPU type 't4'", id="price of another card"),
        pytest.param({"prices": {"a10": -1}}, "a10 must cost at least 0", id="price below 0"),
        pytest.param(
            {"gpu": "emulated:v100"}, "unknown field `gpu`; the fields are stages, gpus", id="field"
        ),
        pytest.param({"stages": []}, "must be tables", id="stages as a list"),
    ],
)
def test_a_section_that_says_something_else_is_refused_with_what_is_allowed(said, complaint):
    with pytest.raises(SpecError, match=f"^emulated.*{complaint}"):
        parse(said)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        pytest.param("a.toml", "[other]", r"needs a section \[emulated\]", id="no such section"),
        pytest.param("a.toml", "emulated = 3", "must be tables, was 3", id="no table"),
        pytest.param("a.toml", "[emulated", "not a scenario that can be read", id="no TOML"),
        pytest.param("a.json", "[1]", r"needs a section \[emulated\]", id="JSON, but no object"),
        pytest.param("a.json", "{", "not a scenario that can be read", id="no JSON"),
        pytest.param("a.toml", "[emulated]\njitter = 2", r"emulated\.jitter: Expected", id="a value"),
    ],
)
def test_a_file_that_is_no_scenario_is_refused_by_its_name(tmp_path, name, text, complaint):
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(SpecError, match=complaint) as caught:
        read(path)

    assert str(caught.value).startswith(str(path))


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path):
    with pytest.raises(SpecError, match=r"nowhere\.toml: not a scenario that can be read"):
        read(tmp_path / "nowhere.toml")


def test_the_scenario_in_the_docs_is_one():
    text = re.search(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]

    shown = parse(tomllib.loads(text)["emulated"])

    assert set(shown.stages) == {"detect", "recognise"}


def test_the_cards_in_the_docs_are_those_that_there_are():
    rows = re.findall(
        r"^\| `(\w+)` \| (\d+) \| (\d+) GiB \| ([\d.]+) \| ([\d.]+) \|$", DOCS.read_text(), re.MULTILINE
    )

    assert {name: tuple(map(float, figures)) for name, *figures in rows} == {
        card.name: (card.sms, card.memory / GIB, card.price, SPEED[card.name]) for card in CARDS.values()
    }
