import os
import subprocess
import sys
from pathlib import Path

from benchmarks.gateway.__main__ import PARTS, main
from benchmarks.record import Results

ROOT = Path(__file__).parents[3]

UPDATE = "s from up of a changed handler to its first answer"


def test_the_slowest_update_is_judged_and_not_the_seconds_that_were_asked_for(bars):
    results = Results(None)
    results.lines = [
        {"kind": "machine", "seconds": 30.0},
        {"kind": "update-load", "answered": 90, "failed": 0},
        {"kind": "update", "round": 0, "seconds": 0.2},
        {"kind": "update", "round": 1, "seconds": 0.1},
    ]

    _, judge = PARTS["update"]
    judge(results)

    assert bars(results.lines)[UPDATE] == 0.2
    assert all(line["met"] for line in results.lines if line["kind"] == "bar")


def test_requests_that_failed_before_a_run_was_cut_are_judged_too(bars):
    results = Results(None)
    results.lines = [
        {"kind": "update-load", "round": 0, "answered": 90, "failed": 2},
        {"kind": "update", "round": 0, "seconds": 0.2},
        {"kind": "update-load", "round": 1, "answered": 90, "failed": 1},
        {"kind": "update", "round": 1, "seconds": 0.1},
    ]

    _, judge = PARTS["update"]
    judge(results)

    assert bars(results.lines)["requests that failed during updates"] == 3


def test_parts_whose_rounds_are_there_are_judged_and_not_measured_again(resume, recorded, bars):
    lines = [
        line for line in recorded("gateway") if line["kind"] != "done"
    ]  # what runs of before ended parts with

    added = resume(main, lines)

    assert {line["kind"] for line in added} == {"machine", "bar"}
    slowest = max(line["seconds"] for line in lines if line["kind"] == "update")
    assert bars(added)[UPDATE] == round(slowest, 3)
    memory = next(line["pss_mib"] for line in lines if line["kind"] == "memory")
    assert bars(added)["MiB of PSS with 200 functions, 100 of them running"] == round(memory, 3)


def test_a_run_that_lacks_its_load_generator_measures_nothing_and_keeps_what_was_recorded(tmp_path):
    out = tmp_path / "gateway.jsonl"
    out.write_text('{"kind": "done", "part": "update"}\n', encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.gateway", "--out", str(out)]

    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},
    )

    assert done.returncode == 1
    assert "needs the load generator wrk" in done.stderr
    assert out.read_text(encoding="utf-8") == '{"kind": "done", "part": "update"}\n'
