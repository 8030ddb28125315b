"""Live cells that were recorded: their picture, and what is needed to predict them anew."""

import pytest
from benchmarks.cells.draw import pipeline_of
from benchmarks.cells.judge import judged
from benchmarks.cells.picture import picture
from benchmarks.cells.pipelines import write

MACHINE = {"kind": "machine", "commit": "abc1234"}


def row(number, **more):
    told = dict.fromkeys(("replayed", "simulated", "learned", "analytic"), 0.75)
    return {
        "kind": "cell", "number": number, "pipeline": "pair", "process": "poisson", "grain": "fine",
        "requests": 1600, "observed": 0.5, **told, **more,
    }  # fmt: skip


def test_a_picture_has_a_dot_for_each_cell_and_predictor():
    drawn = picture([MACHINE, row(0), row(6, process="mmpp"), row(12, kind="disturbed")])

    assert drawn.count("<title>cell 0: pair, poisson, fine</title>") == 4
    assert drawn.count("<title>cell 6: pair, mmpp, fine</title>") == 4
    assert "cell 12" not in drawn


def test_a_cell_whose_scenario_is_missing_is_named(tmp_path):
    write(pipeline_of(0), tmp_path / "pair")

    with pytest.raises(RuntimeError, match=r"cell 0 has no scenario: .*cell-0.toml is missing"):
        judged([MACHINE, row(0)], tmp_path)
