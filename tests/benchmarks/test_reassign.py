import statistics

from benchmarks import reassign

HEAD = {"kind": "machine", "benchmark": "reassign", "seconds": 0.1, "seed": 1}


def test_rounds_that_there_are_are_kept_and_requests_counted_on(resume, bars):
    rows = [
        {"kind": "change", "round": turn, "seconds": 0.25, "answered": 1000 + turn, "failed": 1}
        for turn in range(2)
    ]

    added = resume(reassign.main, [HEAD, *rows], "--seconds", "0.1", "--rounds", "3")

    change = next(line for line in added if line["kind"] == "change")
    assert [line["kind"] for line in added] == ["machine", "change", "bar", "bar"]
    assert change["round"] == 2
    assert change["answered"] > 1001
    assert change["failed"] == 1
    assert bars(added)["requests failed"] == 1


def test_a_run_that_is_complete_is_judged_alone(resume, recorded, bars):
    lines = recorded("reassign")

    added = resume(reassign.main, lines)

    took = statistics.median(line["seconds"] for line in lines if line["kind"] == "change")
    assert [line["kind"] for line in added] == ["machine", "bar", "bar"]
    assert bars(added)["seconds until in force in all pods, at the median"] == round(took, 3)
