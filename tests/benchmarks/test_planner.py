import pytest
from benchmarks.record import Results

planner = pytest.importorskip("benchmarks.planner", reason="needs OR-tools: the `plan` extra")


def judged(*off):
    results = Results(None)
    for number, one in enumerate(off):
        results.add({"kind": "p1-alone", "instance": number, "off": one, "solved": one is not None})
    planner.bars(results)
    return results


def test_who_was_better_is_said_where_the_other_found_something():
    results = judged(-0.1, -0.05, 0.0, 0.03, None)

    notes = [one["value"] for one in results.lines if one["kind"] == "note"]
    assert notes == [{"ours": 2, "CP-SAT's": 1, "neither": 1}]
    assert [
        one["value"] for one in results.lines if one.get("name") == "P1: worst distance from CP-SAT alone"
    ] == [0.03]


def test_cp_sat_alone_is_no_part_of_a_run_that_did_not_ask_for_it():
    assert not any("alone" in str(one["name"]) for one in judged().lines)


def test_ours_is_held_against_what_begins_with_nothing():
    found = planner.alone(1, 19, seconds=1.0)

    assert set(found) >= {"off", "solved"}
    assert found["solved"] is (found["off"] is not None)
