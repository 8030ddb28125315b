import json
import sys

import pytest
from benchmarks import soak


def test_a_soak_that_is_complete_is_judged_and_kept(resume, recorded, bars, tmp_path):
    picture = tmp_path / "soak.svg"

    added = resume(soak.main, recorded("soak"), "--picture", str(picture))

    assert [line["kind"] for line in added] == ["machine", *["bar"] * (2 + len(soak.WATCHED))]
    assert bars(added)["requests that came out otherwise than they should"] == 0
    assert picture.read_text(encoding="utf-8").startswith("<svg")


def test_all_that_came_out_wrong_is_judged_not_the_kinds_that_are_told_alone(
    resume, recorded, bars, tmp_path
):
    lines = recorded("soak")
    load = next(line for line in lines if line["kind"] == "load")
    load |= {"wrong": {"json 500": 2}, "wrong_in_all": 3}

    added = resume(soak.main, lines, "--picture", str(tmp_path / "soak.svg"))

    assert bars(added)["requests that came out otherwise than they should"] == 3


def test_a_soak_of_another_length_is_not_deleted(recorded, tmp_path, monkeypatch):
    lines = recorded("soak")
    lines[0]["minutes"] = 20.0
    path = tmp_path / "soak.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    before = path.read_bytes()
    monkeypatch.setattr(sys, "argv", ["soak", "--resume", "--out", str(path), "--minutes", "1"])

    with pytest.raises(SystemExit, match="--minutes 20"):
        soak.main()

    assert path.read_bytes() == before
