"""What the report says of live cells: costs of runs that are not alike in length are told for what was intended."""

from benchmarks.granularity import gap
from benchmarks.granularity import protocol as protocols
from benchmarks.granularity.rows import Rows

CELL = {
    "part": "live",
    "pipeline": "image-classification",
    "slo": 1.0,
    "load": "normal",
    "arrivals": "poisson",
}
QUIET = {"hit_rate": 0.97, "simulated": 0.97, "disturbed": False}
KEPT = (
    {**QUIET, "policy": "coarse", "cost": 41.299, "requests": 1485},
    {**QUIET, "policy": "adaptive", "cost": 41.061, "requests": 13064},
)
"""Runs of 34.3 and of 300 s under one plan, as they were recorded."""


def told(tmp_path, *lines, **cell):
    rows = Rows(tmp_path / "live.jsonl")
    rows.begin(resume=False, head={"granularity": 5, "part": "live", "seeds": 1})
    rows.add([{**CELL, **cell, **line} for line in lines])
    return "\n".join(gap.told(protocols.read(), tmp_path))


def test_a_plan_that_is_kept_saves_nothing_however_long_it_was_run(tmp_path):
    text = told(tmp_path, *KEPT)

    assert "| image-classification | 1.0 | normal | 0.970, 40.942 | coarse: 0.970, 40.941 | 0.0% |" in text
    assert "saves 0.0% of the cost at the\nmedian of 1 cells (0.0% to 0.0%)." in text


def test_rows_that_tell_what_was_intended_are_taken_by_their_word(tmp_path):
    coarse, adaptive = ({**line, "intended": float(line["requests"])} for line in KEPT)

    text = told(tmp_path, coarse, {**adaptive, "intended": 26128.0}, pipeline="ocr")

    assert "| ocr | 1.0 | normal | 0.970, 20.53 | coarse: 0.970, 41.299 | 50.3% |" in text
    assert "is not in" not in text


def test_nothing_is_said_of_a_saving_where_the_rate_is_not_known(tmp_path):
    text = told(tmp_path, *KEPT, pipeline="ocr")

    assert "| ocr | 1.0 | normal | 0.970, 41.061 | coarse: 0.970, 41.299 | not known |" in text
    assert "What was reserved beside a plan while it was changed is not in the costs of 2 runs." in text
    assert "saves" not in text
