from benchmarks.granularity import report
from benchmarks.granularity.rows import Rows

CELL = {"part": "core", "pipeline": "faces", "shares": "free", "cards": 2, "slo": 1.0, "load": "light"}


def test_a_report_says_what_was_run_what_holds_and_what_was_left_out(tmp_path):
    rows = Rows(tmp_path / "core.jsonl")
    rows.begin(resume=False, head={"granularity": 1, "part": "core", "seeds": 3, "reduced": True})
    for arrivals in ("poisson", "mmpp"):
        cell = {**CELL, "arrivals": arrivals}
        figures = {"hit_rate": [0.96, 0.97, 0.96], "expected": 0.955, "plan": ["find+embed+match x1"]}
        rows.add(
            [
                {**cell, "policy": "replanned-coarse", **figures, "cost": [10.0, 10.0, 10.0]},
                {**cell, "policy": "adaptive-analytic", **figures, "cost": [7.0, 7.1, 7.0]},
                {**cell, "policy": "adaptive-simulated", "as": "adaptive-analytic", "expected": 0.96},
                {**cell, "policy": "esg", "infeasible": "no path"},
            ]
        )

    text = report.write(tmp_path).read_text(encoding="utf-8")

    assert "2 cells of 240, 3 seeds or days. **A reduced run.**" in text
    assert "| a, cost, adaptive-analytic against replanned-coarse | yes | 2 of 2 |" in text
    assert "| adaptive-fluid | not run |" in text
    assert "no path" in text
    assert "## mig\n\nNot run." in text
    assert (tmp_path / "core-policies.svg").read_text(encoding="utf-8").startswith("<svg")
    assert (tmp_path / "core-savings.svg").exists()
