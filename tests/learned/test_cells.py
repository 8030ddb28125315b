"""Live cells that were recorded: their picture, and what is needed to predict them anew."""

import pytest
from benchmarks.cells.draw import pipeline_of
from benchmarks.cells.judge import judged
from benchmarks.cells.picture import picture
from benchmarks.cells.pipelines import write
from benchmarks.cells.rows import classified

MACHINE = {"kind": "machine", "commit": "abc1234"}


def row(number, **more):
    told = dict.fromkeys(("replayed", "simulated", "learned", "analytic"), 0.75)
    return {
        "kind": "cell", "number": number, "pipeline": "pair", "process": "poisson", "grain": "fine",
        "requests": 1600, "observed": 0.5, **told, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        pytest.param({"busy_cores": 1.2, "late_p99_ms": 2.5}, "cell", id="quiet"),
        pytest.param({"busy_cores": 1.21, "late_p99_ms": 0.5}, "disturbed", id="busy"),
        pytest.param({"busy_cores": 0.3, "late_p99_ms": 2.51}, "disturbed", id="late"),
        pytest.param(
            {"pipeline": "ocr", "busy_cores": 2.0, "late_p99_ms": 5.0, "slo_ms": 500},
            "cell",
            id="the real app",
        ),
        pytest.param(
            {"pipeline": "ocr", "late_p99_ms": 5.1, "slo_ms": 500}, "disturbed", id="the real app, late"
        ),
        pytest.param({"pipeline": "ocr", "late_p99_ms": 2.5, "slo_ms": 50}, "cell", id="the real app, soon"),
        pytest.param({"late_p99_ms": 1.0}, "cell", id="of before it was recorded"),
    ],
)
@pytest.mark.parametrize("written", ["cell", "disturbed"])
def test_a_row_is_taken_by_the_rule_that_holds_now(more, kind, written):
    assert classified(row(0, **more) | {"kind": written}) == row(0, **more) | {"kind": kind}


def test_a_line_of_the_machine_is_no_row_of_a_cell():
    assert classified(MACHINE) is MACHINE


def test_a_picture_has_a_dot_for_each_cell_and_predictor():
    drawn = picture([MACHINE, row(0), row(6, process="mmpp"), row(12, kind="disturbed")])

    assert drawn.count("<title>cell 0: pair, poisson, fine</title>") == 4
    assert drawn.count("<title>cell 6: pair, mmpp, fine</title>") == 4
    assert "cell 12" not in drawn


def test_a_cell_whose_scenario_is_missing_is_named(tmp_path):
    write(pipeline_of(0), tmp_path / "pair")

    with pytest.raises(RuntimeError, match=r"cell 0 has no scenario: .*cell-0.toml is missing"):
        judged([MACHINE, row(0)], tmp_path)
