"""The examples on emulated GPUs, by the scenario beside each, as docs/emulated-gpus.md has it."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("example", "needs", "declared"),
    [
        ("vision", "torch", {"vision/classify": 512 << 20, "vision/embed": 512 << 20}),
        ("ocr", "onnxruntime", {"ocr/recognise": 1 << 30}),
    ],
    ids=["vision", "ocr"],
)
def test_an_example_takes_leases_for_its_networks(serve, example, needs, declared):
    pytest.importorskip(needs)
    pictures = Path(importlib.util.find_spec("skimage").origin).parent / "data"

    served = serve(
        EXAMPLES / example,
        *("--scenario", str(EXAMPLES / example / "emulated.toml")),
        *("--grain", "fine"),
        slo="60s",  # nothing is shed on a busy machine
    )
    answer = served.post((pictures / "page.png").read_bytes(), headers={"Content-Type": "image/png"})

    assert answer.status_code == 200, answer.text
    (card,) = served.status()["gpus"]
    assert card["card"] == "v100"
    assert {one["name"]: one["declared"] for one in card["usage"] if one["grants"]} == declared
