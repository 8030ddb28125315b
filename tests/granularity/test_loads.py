from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from benchmarks.granularity import loads, run
from benchmarks.granularity import protocol as protocols

PROTOCOL = protocols.read()
PAGES = PROTOCOL.pipeline_named("pages")


@pytest.mark.parametrize("kind", protocols.SYNTHETIC)
def test_a_cell_has_as_many_requests_as_the_protocol_says_at_about_its_rate(kind):
    drawn = loads.requests(PROTOCOL, PAGES, kind, 1.0, seed=1000)

    assert len(drawn) == PROTOCOL.cell.requests
    assert drawn.rate == pytest.approx(1.0, rel=0.15)
    assert (np.diff(drawn.at) >= 0).all()


def test_a_seed_draws_the_same_again():
    one, same = (loads.requests(PROTOCOL, PAGES, "mmpp", 5.0, seed=7) for _ in range(2))

    assert (one.at == same.at).all()
    assert (one.widths == same.widths).all()


def test_a_day_moves_between_settings_and_fills_its_hours():
    drawn, stretches = loads.day(PROTOCOL, PAGES, 20.0, seed=1003)

    assert drawn.span == PROTOCOL.days.hours * 3600
    assert len({one.load for one in stretches}) > 1
    assert len({one.slo for one in stretches}) > 1
    for one, after in pairwise(stretches):
        stretch = drawn.between(one.begin, after.begin)
        if one.arrivals == "poisson" and stretch.span > 60:
            assert stretch.rate == pytest.approx(PROTOCOL.load.part(one.load) * 20.0, rel=0.5)


def test_a_trace_is_cut_in_two_and_stretched(tmp_path):
    rows = "\n".join(f"{10 * number},{number + 1}" for number in range(1000))
    (tmp_path / "azure_llm_2023_code.csv").write_text(f"TIMESTAMP,ContextTokens\n{rows}\n", encoding="utf-8")

    calibration, test = (
        loads.requests(PROTOCOL, PAGES, "azure-code", 4.0, seed=seed, traces=tmp_path) for seed in (1, 1000)
    )

    assert len(calibration) == 400
    assert len(test) == 600
    assert calibration.rate == pytest.approx(4.0)
    assert test.rate == pytest.approx(4.0)
    assert test.widths[-1, 0] == max(test.widths[:, 0])  # the longest context is the widest request
    assert test.widths.min() >= calibration.widths.max()


def test_traces_need_a_folder():
    with pytest.raises(FileNotFoundError, match="--traces"):
        loads.requests(PROTOCOL, PAGES, "azure-code", 4.0, seed=1)


def test_the_pipelines_take_turns_over_the_days_and_the_largest_comes_last():
    order = run.Order(
        part="days",
        only=(),
        seeds=PROTOCOL.days.count,
        resume=False,
        traces=None,
        out=run.RESULTS,
        workers=1,
    )

    drawn = run._drawn(order, PROTOCOL)

    assert sorted(day for day, _ in drawn) == list(range(1000, 1020))
    assert {name for _, name in drawn} == {one.name for one in PROTOCOL.pipeline}
    assert [name for _, name in drawn].index("twelve") == len(drawn) - 2


def test_who_has_a_single_predictor_is_run_on_the_first_day_of_each_pipeline_unless_it_is_asked_for():
    order = run.Order(part="days", only=(), seeds=20, resume=False, traces=None, out=run.RESULTS, workers=1)
    asked = replace(order, policies=("adaptive-learned",))

    days = {
        name: sum(run._is_run(one, PROTOCOL, name, day) for day, _ in run._drawn(one, PROTOCOL))
        for one, name in ((order, "adaptive"), (order, "replanned-fine"), (order, "adaptive-analytic"))
    }

    assert days == {"adaptive": 20, "replanned-fine": 20, "adaptive-analytic": 8}
    assert run._is_run(asked, PROTOCOL, "adaptive-learned", 1019)
    assert not run._is_run(asked, PROTOCOL, "adaptive", 1000)
