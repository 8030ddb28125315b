import json

import pytest
from benchmarks.granularity.rows import Rows, cells, key

from regrain.errors import SpecError

HEAD = {"granularity": 1, "part": "core", "seeds": 2}
CELL = {
    "part": "core",
    "pipeline": "faces",
    "shares": "free",
    "cards": 2,
    "slo": 1.0,
    "load": "light",
    "arrivals": "mmpp",
}


def begun(path, *, resume=False, head=HEAD):
    rows = Rows(path)
    rows.begin(resume=resume, head=head)
    return rows


def test_what_is_done_is_known_after_a_restart(tmp_path):
    path = tmp_path / "core.jsonl"
    begun(path).add([{**CELL, "policy": "esg", "hit_rate": [1.0], "cost": [2.0]}])

    again = begun(path, resume=True)

    assert again.done() == {key(CELL): {"esg"}}
    assert begun(path).done() == {}


def test_each_run_that_adds_rows_says_once_on_what_machine_and_by_which_commit(tmp_path):
    path = tmp_path / "core.jsonl"
    begun(path).add([{**CELL, "policy": "esg"}])
    other = begun(path, resume=True)
    other.add([])
    other.add([{**CELL, "policy": "infless"}])
    other.add([{**CELL, "policy": "adaptive"}])

    lines = Rows(path).rows

    assert [line.get("kind", line.get("policy")) for line in lines] == [
        None,
        "machine",
        "esg",
        "machine",
        "infless",
        "adaptive",
    ]
    assert {"cpu", "versions", "commit", "at"} < lines[1].keys()
    assert set(cells(lines)[key(CELL)]) == {"esg", "infless", "adaptive"}


def test_a_run_that_lacks_nothing_leaves_what_is_recorded_as_it_is(tmp_path):
    path = tmp_path / "core.jsonl"
    lines = [HEAD, {**CELL, "policy": "esg"}]  # as those of before: no machine
    path.write_text(
        "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines), encoding="utf-8"
    )
    before = path.read_bytes()

    begun(path, resume=True).add([])

    assert path.read_bytes() == before


def test_a_line_that_a_kill_cut_short_is_run_again(tmp_path):
    path = tmp_path / "core.jsonl"
    begun(path).add([{**CELL, "policy": "esg"}, {**CELL, "policy": "infless"}])
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")

    again = begun(path, resume=True)
    again.add([{**CELL, "policy": "infless"}])

    assert begun(path, resume=True).done() == {key(CELL): {"esg", "infless"}}


def test_another_line_that_is_none_is_an_error(tmp_path):
    path = tmp_path / "core.jsonl"
    path.write_text('{"granularity": 1}\nno\n{}\n', encoding="utf-8")

    with pytest.raises(SpecError, match="line 2"):
        Rows(path)


def test_a_run_goes_on_only_with_what_it_was_begun_with(tmp_path):
    path = tmp_path / "core.jsonl"
    begun(path)

    with pytest.raises(SpecError, match="begun with"):
        begun(path, resume=True, head={**HEAD, "seeds": 20})


def test_plans_that_policies_share_are_said_once_and_found_by_all():
    first = {**CELL, "policy": "esg", "plan": ["a x1"], "hit_rate": [0.9], "cost": [3.0]}

    found = cells([HEAD, first, {**CELL, "policy": "infless", "as": "esg", "expected": 0.8}])

    assert found[key(CELL)]["infless"]["hit_rate"] == [0.9]
    assert found[key(CELL)]["infless"]["expected"] == 0.8
