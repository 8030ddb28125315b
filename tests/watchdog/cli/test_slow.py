import pytest

from regrain_watchdog.cli.admin import Miss, Span
from regrain_watchdog.cli.slow import BAR, headline, overview, stages

MISS = Miss(
    call_id="0f6c",
    at=1000.0,
    status=200,
    reason="late",
    seconds=0.5,
    slo=0.3,
    spans=[
        Span(group="decode", stage="", kind="wait", seconds=0.4),
        Span(group="decode", stage="decode", kind="service", seconds=0.1, batch=8),
        Span(group="decode", stage="", kind="hop", seconds=0.0001),
    ],
)


def cells(table):
    return [list(column.cells) for column in table.columns]


def test_a_miss_is_told_in_a_line():
    assert headline(MISS) == "0f6c  200 late  500 ms, objective 300 ms"


def test_the_overview_says_where_most_of_the_time_went():
    assert cells(overview([MISS], now=1042.0)) == [
        ["0f6c"],
        ["42 s"],
        ["200"],
        ["late"],
        ["500 ms"],
        ["300 ms"],
        ["queue of decode 400 ms"],
    ]


def test_a_miss_that_reached_no_stage_is_told_too():
    bare = Miss(call_id="1", at=0.0, status=503, reason="shed", seconds=0.0)

    assert cells(overview([bare], now=0.0))[-1] == ["-"]
    assert cells(stages(bare)) == [[], [], [], []]


def test_the_stages_come_in_order_with_bars_to_scale():
    names, took, batches, bars = cells(stages(MISS))

    assert names == ["queue of decode", "decode", "hop of decode"]
    assert took == ["400 ms", "100 ms", "100 us"]
    assert batches == ["", "8", ""]
    assert [len(bar) for bar in bars] == [BAR, pytest.approx(BAR / 4, abs=1), 0]


@pytest.mark.parametrize(("limit", "said"), [(0, "0 is not in the range"), (257, "1<=x<=256")])
def test_no_more_misses_are_asked_for_than_an_app_keeps(regrain, limit, said):
    outcome = regrain("slow", "--limit", str(limit))

    assert outcome.code == 2
    assert said in outcome.err
