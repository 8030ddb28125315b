import json
from pathlib import Path

import pytest
from benchmarks.record import RESULTS, Results, arguments


def options(path, *given):
    """Return the flags of a benchmark with three options of its own, of which `parts` says which rows there are."""
    parser = arguments("adapt", "Measure.", rounds=9, seconds=5.0)
    parser.add_argument("--predictor", default="verified")
    parser.add_argument("--parts", nargs="+", default=("step", "hour"))
    parser.add_argument("--folder", type=Path, default=path.parent)
    return parser.parse_args(["--out", str(path), *given])


def begun(path, *given):
    return Results.open("adapt", options(path, *given), free=("parts",))


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def recorded(tmp_path):
    """A file with one row, recorded with the defaults."""
    path = tmp_path / "adapt.jsonl"
    begun(path).add({"kind": "step", "round": 0, "decided": 1.5})
    return path


def test_the_line_of_the_machine_says_what_a_run_was_asked_for(recorded):
    head = read(recorded)[0]

    assert {key: head[key] for key in ("rounds", "seconds", "seed", "short", "predictor", "parts")} == {
        "rounds": 9,
        "seconds": 5.0,
        "seed": 1,
        "short": False,
        "predictor": "verified",
        "parts": ["step", "hour"],
    }
    assert {"cpu", "versions", "commit"} < head.keys()
    assert not {"out", "resume", "folder"} & head.keys()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--seconds", "1"], "--seconds 5.0, this run is with --seconds 1.0"),
        (["--seed", "2"], "--seed 1, this run is with --seed 2"),
        (["--predictor", "analytic"], "--predictor verified, this run is with --predictor analytic"),
        (["--short"], "this run is with"),
    ],
)
def test_other_settings_are_not_mixed_with_what_is_recorded(recorded, given, said):
    before = recorded.read_bytes()

    with pytest.raises(SystemExit, match=said):
        begun(recorded, "--resume", *given)

    assert recorded.read_bytes() == before


def test_a_setting_is_compared_with_every_run_that_a_file_holds(recorded):
    lines = read(recorded)
    lines[0].pop("predictor")
    other = {**lines[0], "predictor": "analytic"}
    recorded.write_text("".join(json.dumps(line) + "\n" for line in [*lines, other]), encoding="utf-8")

    with pytest.raises(SystemExit, match="--predictor analytic"):
        begun(recorded, "--resume")


def test_more_rounds_and_other_parts_are_gone_on_with_under_a_line_of_their_own(recorded):
    results = begun(recorded, "--resume", "--rounds", "20", "--parts", "day")

    assert results.has(kind="step", round=0)
    assert [line.get("rounds") for line in read(recorded)] == [9, None, 20]
    assert read(recorded)[-1]["parts"] == ["day"]


def test_another_commit_is_gone_on_with(recorded):
    lines = read(recorded)
    lines[0] |= {"commit": "1234567", "cpu": "an older one"}
    recorded.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    begun(recorded, "--resume")

    assert read(recorded)[0]["cpu"] == "an older one"
    assert len(read(recorded)) == 3


def test_a_line_that_a_kill_cut_short_is_measured_anew(recorded):
    with recorded.open("a", encoding="utf-8") as file:
        file.write('{"kind": "step", "rou')

    results = begun(recorded, "--resume")

    assert [line["kind"] for line in results.lines] == ["machine", "step", "machine"]
    assert read(recorded) == results.lines


def test_without_resume_a_run_begins_anew(recorded):
    assert not begun(recorded, "--seconds", "1").has(kind="step")
    assert len(read(recorded)) == 1


@pytest.mark.parametrize(
    "path",
    sorted(path for path in RESULTS.glob("*.jsonl") if "rounds" in read(path)[0]),
    ids=lambda path: path.stem,
)
def test_every_recorded_file_can_be_gone_on_with(path, tmp_path):
    """Those of before lack fields of the line of the machine."""
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    whole = copy.read_bytes().count(b"\n")  # one may be written to meanwhile
    head = read(path)[0]
    given = ["--seconds", str(head["seconds"]), "--seed", str(head["seed"])]

    results = begun(copy, "--resume", *given)

    assert len(results.lines) == whole + 1
