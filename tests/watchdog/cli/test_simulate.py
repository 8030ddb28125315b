from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from regrain import manifest as manifests
from regrain.manifest import Manifest
from regrain_watchdog.policy.profile import Point, Profile, StageProfile, dumps

SCENARIO = """
duration = "20s"
node = {cores = 16}
[apps.ocr]
manifest = "ocr.json"
profile = "profile.json"
load = {kind = "poisson", rate = 20}
widths = [{kind = "uniform", low = 1, high = 9}]
"""


@pytest.fixture
def scenario(tmp_path: Path, ocr: Manifest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a scenario, and work in its folder."""
    monkeypatch.chdir(tmp_path)
    stages = tuple(msgspec.structs.replace(stage, gpu=None) for stage in ocr.stages)
    (tmp_path / "ocr.json").write_bytes(manifests.dumps(msgspec.structs.replace(ocr, stages=stages)))
    points = tuple(Point(batch, 0.0, 1.0, 0.001 * batch) for batch in (1, 32))
    profiles = {stage.name: StageProfile(digest="", points=points) for stage in ocr.stages}
    (tmp_path / "profile.json").write_bytes(dumps(Profile(app="ocr", stages=profiles)))
    file = tmp_path / "scenario.toml"
    file.write_text(SCENARIO)
    return file


def test_a_scenario_is_simulated_and_the_same_again(regrain, scenario: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"

    told = regrain("simulate", str(scenario), "-o", str(one))
    regrain("simulate", str(scenario), "-o", str(other))

    first, second = (json.loads(file.read_text()) for file in (one, other))
    assert told.code == 0
    assert first["source"] == "simulated"
    assert first["apps"] == second["apps"]
    app = first["apps"][0]
    assert app["offered"] == sum(app["outcomes"].values()) > 300
    assert 0.9 < app["hit_rate"] <= 1.0
    assert app["cost"]["total"] > 0
    assert app["grains"] == [[0.0, app["grains"][0][1]]]


ADAPTED = SCENARIO.replace(
    "node = {cores = 16}",
    """
[node.small]
cores = 16
memory = "8Gi"
plans = "joint"
[node.large]
cores = 24
memory = "8Gi"
""",
).replace(
    "[apps.ocr]",
    '[apps.ocr]\nnode = "small"\nadapt = true\nperiod = "5s"\nlimits = {nodes = 40}',
)


def test_apps_that_adapt_are_told_of_with_their_decisions(regrain, scenario: Path, tmp_path: Path) -> None:
    other = ADAPTED.partition("[apps.ocr]")[2]
    still = "\n".join(
        line for line in other.splitlines() if not line.startswith(("adapt", "period", "limits"))
    )
    tables = f"[apps.also]{other}[apps.still]{still.replace('small', 'large')}"
    scenario.write_text(ADAPTED + tables)
    files = [(tmp_path / f"{name}.json", tmp_path / f"{name}.jsonl") for name in ("one", "other")]

    for report, log in files:
        told = regrain("simulate", str(scenario), "-o", str(report), "--log", str(log))
        assert told.code == 0

    first, second = (json.loads(report.read_text())["apps"] for report, _ in files)
    assert first == second
    assert [app["app"] for app in first] == ["ocr", "also", "still"]
    assert [app["decisions"] is None for app in first] == [False, False, True]
    assert all(app["decisions"]["made"] == sum(app["decisions"]["reasons"].values()) for app in first[:2])
    lines = [json.loads(line) for line in files[0][1].read_text().splitlines()]
    assert files[0][1].read_bytes() == files[1][1].read_bytes()
    assert {line["app"] for line in lines} == {"ocr", "also"}
    assert len(lines) == sum(app["decisions"]["made"] for app in first[:2])
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert {"all", "apps", "changes", "decisions"} <= set(told.out.split())


def test_two_reports_are_held_side_by_side(regrain, scenario: Path, tmp_path: Path) -> None:
    before = tmp_path / "before.json"
    regrain("simulate", str(scenario), "-o", str(before))
    scenario.write_text(SCENARIO.replace("rate = 20", "rate = 300"))

    told = regrain("simulate", str(scenario), "--against", str(before), "-o", str(tmp_path / "both.html"))

    assert told.code == 0
    assert "points" in told.out
    assert "note: " not in told.err
    assert "p95, other" in (tmp_path / "both.html").read_text()


@pytest.mark.parametrize("seconds", [123, 290])
def test_a_duration_that_no_period_divides_is_reported_of_to_its_end(
    regrain, scenario: Path, tmp_path: Path, seconds: int
) -> None:
    """A begin of a last period that lay at the end up to rounding made one of no time, and a division by zero."""
    scenario.write_text(SCENARIO.replace("20s", f"{seconds}s").replace("rate = 20", "rate = 1"))

    told = regrain("simulate", str(scenario), "-o", str(tmp_path / "report.json"))

    assert told.code == 0
    assert json.loads((tmp_path / "report.json").read_text())["apps"][0]["cost"]["total"] > 0


def test_that_the_other_report_is_of_another_load_is_said(regrain, scenario: Path, tmp_path: Path) -> None:
    before = tmp_path / "before.json"
    regrain("simulate", str(scenario), "-o", str(before))
    scenario.write_text("seed = 9\n" + SCENARIO.replace("20s", "5s"))

    told = regrain("simulate", str(scenario), "--against", str(before))

    assert told.code == 0
    assert "note: the other report is of 20 seconds and this one of 5\n" in told.err
    assert "note: the other report is drawn by seed " in told.err


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b'{"app": 3}', b"\xff"])
def test_a_manifest_that_is_none_is_named(regrain, scenario: Path, data: bytes) -> None:
    scenario.with_name("ocr.json").write_bytes(data)

    told = regrain("simulate", str(scenario))

    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "ocr.json is no manifest: " in told.err


def test_a_profile_that_is_none_or_of_other_code_is_named(regrain, scenario: Path) -> None:
    profile = scenario.with_name("profile.json")
    other = profile.read_text().replace('"digest": ""', '"digest": "x"', 1)
    for text, said in ((other, "the profile of ocr knows other code of"), ("{}", "this is no profile")):
        profile.write_text(text)
        told = regrain("simulate", str(scenario))
        assert told.code == 1
        assert f"profile.json: {said}" in told.err


def test_a_hit_rate_below_what_is_asked_for_fails(regrain, scenario: Path) -> None:
    scenario.write_text(SCENARIO.replace("rate = 20", "rate = 900"))

    told = regrain("simulate", str(scenario), "--fail-under", "0.9")

    assert told.code == 1
    assert "asked for 90.0 %" in told.err


def test_an_objective_that_no_plan_can_meet_is_said_at_the_start_with_the_least_there_is(
    regrain, scenario: Path
) -> None:
    own = 'adapt = true\npredictor = "analytic"\nslo = {latency = "3ms", attainment = 0.95}\nload'
    scenario.write_text(SCENARIO.replace("load", own))

    told = regrain("simulate", str(scenario))

    assert told.code == 0
    start, _, end = told.err.partition("simulating")
    assert "note: ocr: no plan can answer within 0.003 s: the lightest request takes 0.00" in start
    assert "no plan can answer" not in end
    assert end.count("no plan could be found, the plan stays as it is: ocr is to answer within 0.003 s") == 1


def test_a_node_that_is_too_small_for_any_plan_is_said_with_what_lacks(regrain, scenario: Path) -> None:
    node = 'node = {cores = 16, memory = "1Mi"}'
    scenario.write_text(
        SCENARIO.replace("node = {cores = 16}", node).replace(
            "load", 'adapt = true\npredictor = "analytic"\nload'
        )
    )
    profile = scenario.with_name("profile.json")
    profile.write_text(json.dumps({**json.loads(profile.read_text()), "resident": 2 << 20}))

    told = regrain("simulate", str(scenario))

    assert told.code == 0
    assert "stage decode needs 2 MiB of memory, the node has 1" in told.err
    assert "the plans reserve 0.001953 GiB of memory, and the node has 0.0009766" in told.err


def test_without_what_it_is_compiled_by_the_way_out_is_told() -> None:
    start = "from regrain_watchdog.cli import main; main.main(['simulate', 'x'])"
    code = f"import sys; sys.modules['numba'] = None; {start}"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (
        1,
        "regrain: simulate needs numba: pip install 'regrain[plan]'\n",
    )


def test_a_report_that_cannot_be_written_is_refused_before_anything_runs(
    regrain, scenario: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.json").symlink_to("none/r.json")

    told = regrain("simulate", str(scenario), "-o", "r.json")

    assert (told.code, told.err) == (2, "regrain: -o: r.json cannot be written: No such file or directory\n")


@pytest.mark.usefixtures("scenario")
def test_what_comes_to_nothing_leaves_reports_as_they_were(regrain, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    (tmp_path / "link.json").symlink_to("new.json")

    regrain("simulate", "none.toml", "-o", "old.json", "-o", "link.json", "-o", "other.json")

    assert (tmp_path / "old.json").read_text() == "old"
    assert (tmp_path / "link.json").is_symlink()
    assert not (tmp_path / "new.json").exists()
    assert not (tmp_path / "other.json").exists()


TRACED = SCENARIO.replace(
    '{kind = "poisson", rate = 20}', '{kind = "trace", trace = {file = "day.csv", holds = "times"}}'
)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        pytest.param("1 2 1.5", "day.csv, line 4: this request comes before the one above", id="unordered"),
        pytest.param("1 -2", "day.csv, line 3: t must be a number, 0 or more; it is '-2'", id="negative"),
        pytest.param("1 soon", "day.csv, line 3: t must be a number, 0 or more; it is 'soon'", id="a word"),
        pytest.param("", "day.csv must have a header and a row at least", id="empty"),
    ],
)
def test_a_trace_that_is_wrong_is_refused_with_its_line(
    regrain, scenario: Path, rows: str, said: str
) -> None:
    scenario.write_text(TRACED)
    scenario.with_name("day.csv").write_text("\n".join(["t", *rows.split()]) + "\n")

    told = regrain("simulate", str(scenario))

    assert (told.code, told.err.count("\n")) == (2, 1)
    assert said in told.err


def test_gaps_and_blank_lines_of_a_trace_are_told_in_the_report(
    regrain, scenario: Path, tmp_path: Path
) -> None:
    scenario.write_text(TRACED.replace('"20s"', '"400s"'))
    times = [*range(100), "", 300, 390, 400]
    scenario.with_name("day.csv").write_text("\n".join(["t", *map(str, times)]) + "\n")

    told = regrain("simulate", str(scenario), "-o", str(tmp_path / "report.json"))

    assert told.code == 0, told.err
    notes = json.loads((tmp_path / "report.json").read_text())["notes"]
    assert any("blank lines were left out: 1, from line 102 on" in note for note in notes)
    assert any("nothing came for 201 seconds after second 99" in note for note in notes)


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        pytest.param(("none.toml",), 2, "none.toml cannot be read: No such file", id="no scenario"),
        pytest.param(
            ("scenario.toml", "-o", "r.txt"),
            2,
            "a report is written as .json, .html, .svg, .png",
            id="ending",
        ),
        pytest.param(
            ("scenario.toml", "-o", "no/r.png"), 2, "-o: no/r.png cannot be written: No such", id="folder"
        ),
        pytest.param(
            ("scenario.toml", "--against", "ocr.json"), 1, "ocr.json: this is no report", id="no report"
        ),
        pytest.param(("scenario.toml", "--log", "no/log"), 2, "--log: no/log cannot be written", id="no log"),
        pytest.param(("scenario.toml", "--against", "none.json"), 1, "No such file", id="no file"),
        pytest.param(("scenario.toml", "--fail-under", "2"), 2, "0<=x<=1", id="no share"),
    ],
)
@pytest.mark.usefixtures("scenario")
def test_what_is_wrong_is_one_line(regrain, args: tuple[str, ...], code: int, said: str) -> None:
    told = regrain("simulate", *args)

    assert (told.code, told.err.count("\n")) == (code, 1)
    assert said in told.err
