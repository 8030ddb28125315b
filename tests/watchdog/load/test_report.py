from __future__ import annotations

import math
import re

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.load import draw
from regrain_watchdog.load.drive import Sent
from regrain_watchdog.load.report import (
    OUTCOMES,
    AppReport,
    Decisions,
    Report,
    ReportError,
    Results,
    Spending,
    dumps,
    judge,
    loads,
    results,
    summarise,
)


def one(at: float, latency: float, status: int = 200, error: str = "") -> Sent:
    return Sent(number=0, at=at, target=0, latency=latency, late=0.001, status=status, error=error)


@pytest.mark.parametrize(
    ("sent", "outcome"),
    [
        pytest.param(one(0, 0.1), "hit", id="in time"),
        pytest.param(one(0, 0.2), "hit", id="just in time"),
        pytest.param(one(0, 0.3), "late", id="too late"),
        pytest.param(one(0, 0.1, 504), "late", id="deadline"),
        pytest.param(one(0, 0.1, 503), "shed", id="no capacity"),
        pytest.param(one(0, 0.1, 429), "shed", id="too many"),
        pytest.param(one(0, 0.1, 500), "failed", id="stage failed"),
        pytest.param(one(0, 0.1, 0, "Connection refused"), "failed", id="refused"),
        pytest.param(one(0, 9.0, 0, "timeout"), "unfinished", id="given up"),
        pytest.param(one(0, 0.1, 0, "interrupted"), "cancelled", id="ended by the user"),
        pytest.param(one(0, 0.1, 400), "malformed", id="bad request"),
    ],
)
def test_what_came_of_a_request_has_one_name(sent: Sent, outcome: str) -> None:
    assert judge(sent, 0.2) == outcome


def test_without_an_objective_any_answer_is_a_hit() -> None:
    assert judge(one(0, 100.0), None) == "hit"


def summed(sent: list[Sent], duration: float = 10.0, **more) -> AppReport:
    return summarise("app", results(sent, 0.2), duration, slo=0.2, attainment=0.95, sent=sent, **more)


def test_misses_of_all_kinds_count_and_what_is_left_out_does_not() -> None:
    told = summed(
        [
            *[one(at, 0.1) for at in range(6)],
            one(6, 0.5),
            one(7, 0.1, 503),
            one(8, 0.1, 500),
            one(9, 30.0, 0, "timeout"),
            one(9, 0.1, 400),
            one(9, 0.1, 0, "interrupted"),
        ]
    )

    assert told.offered == 10
    assert told.hit_rate == 0.6
    assert told.outcomes == dict(zip(OUTCOMES, (6, 1, 1, 1, 1, 1, 1), strict=True))
    assert told.rate == 1.0
    assert told.throughput == 0.7
    assert told.errors == {"timeout": 1, "interrupted": 1}
    assert told.latency["max"] == 0.5
    assert told.lateness is not None
    assert told.lateness.most == 0.001


def test_no_requests_are_no_hit_rate() -> None:
    told = summed([])

    assert (told.offered, told.hit_rate, told.latency, told.distribution) == (0, None, {}, ())
    assert told.lateness is None
    assert [bin_.hit_rate for bin_ in told.course] == [None] * 10


def test_the_course_tells_requests_by_their_intended_arrival() -> None:
    told = summed([one(0.1, 0.1), one(0.2, 5.0), one(9.9, 0.1), one(10.0, 0.1)])

    assert [bin_.rate for bin_ in told.course] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert told.course[0].hit_rate == 0.5
    assert told.course[9].hit_rate == 1.0


def test_cost_is_what_was_reserved_over_the_time_and_the_requests() -> None:
    spending = Spending(at=[0.0, 4.0], rate=[2.0, 1.0], request=0.5)

    told = summed([one(at, 0.1) for at in range(10)], spending=spending)

    assert told.cost is not None
    assert told.cost.total == pytest.approx(4 * 2 + 6 * 1 + 10 * 0.5)
    assert told.cost.per_thousand == pytest.approx(1900)
    assert [bin_.cost for bin_ in told.course][3:5] == [pytest.approx(7200), pytest.approx(3600)]


def test_a_report_of_nothing_known_has_no_cost() -> None:
    assert summed([one(0, 0.1)], spending=Spending(at=[], rate=[], request=0.0)).cost is None
    assert summed([one(0, 0.1)]).cost is None


def report(source: str, app: AppReport) -> Report:
    return Report(
        source=source,
        began=0.0,
        took=1.0,
        scenario="day.toml",
        seed=1,
        duration=10.0,
        interrupted=False,
        notes=("a <gap> of 3 s",),
        apps=(app,),
    )


def test_a_report_comes_back_as_it_was_written() -> None:
    told = report(
        "live", summed([one(0.5, 0.1), one(1, 0.4)], spending=Spending(at=[0.0], rate=[1.0], request=0.0))
    )

    assert loads(dumps(told)) == told


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{}", "this is no report: .*missing"),
        (b"no", "this is no report"),
        (b'{"source": "\xff"}', "this is no report"),
        (None, "has version 9; this Regrain reads"),
    ],
)
def test_what_is_no_report_is_refused(data: bytes | None, said: str) -> None:
    good = dumps(report("live", summed([])))

    with pytest.raises(ReportError, match=said):
        loads(data if data is not None else good.replace(b'"version": 1', b'"version": 9'))


def test_a_page_holds_tables_and_pictures_and_nothing_from_elsewhere() -> None:
    page = draw.page([report("live", summed([one(at, 0.1) for at in range(5)]))])

    assert page.count("<svg") == 1
    assert "a &lt;gap&gt; of 3 s" in page
    assert "100.0 % of 95.0 % within 200 ms" in page
    assert "src=" not in page
    assert "href=" not in page


def test_two_reports_stand_side_by_side_with_the_gap() -> None:
    live = report("live", summed([one(at, 0.1) for at in range(8)] + [one(9, 0.9)] * 2))
    simulated = report("simulated", summed([one(at, 0.12) for at in range(10)]))

    head, rows = draw.rows(next(draw.by_app([live, simulated])))

    told = {row[0]: row[1:] for row in rows}
    assert head == ["", "live", "simulated", "gap"]
    assert told["hit rate"][-1] == "+20.0 points"
    assert told["p50"] == ["100 ms", "120 ms", "+20.0 %"]
    assert told["grain"][-1] == ""
    assert {"p95, live", "p95, simulated"} <= set(re.findall(">(p95[^<]*)<", draw.picture([live, simulated])))
    assert {"p95, this", "p95, other"} <= set(re.findall(">(p95[^<]*)<", draw.picture([live, live])))


@given(
    st.lists(
        st.tuples(st.floats(0, 60), st.floats(0, 2), st.sampled_from(range(len(OUTCOMES)))), max_size=60
    ),
    st.floats(0.5, 60),
)
def test_counts_add_up_whatever_came(requests: list[tuple[float, float, int]], duration: float) -> None:
    at, latency, outcome = zip(*requests, strict=True) if requests else ((), (), ())
    told = summarise(
        "app",
        Results(
            at=np.minimum(np.array(at, dtype=float), duration),
            latency=np.where(np.array(outcome) < 2, np.array(latency, dtype=float), math.nan),
            outcome=np.array(outcome, dtype=np.int64),
        ),
        duration,
        slo=1.0,
        attainment=0.95,
    )

    assert sum(told.outcomes.values()) == len(requests)
    assert told.offered == sum(1 for place in outcome if place < 5)
    assert told.hit_rate is None or 0 <= told.hit_rate <= 1
    assert list(told.distribution) == sorted(told.distribution)
    ends = [bin_.begin for bin_ in told.course[1:]] + [duration]
    assert sum(
        bin_.rate * (end - bin_.begin) for bin_, end in zip(told.course, ends, strict=True)
    ) == pytest.approx(told.offered)


def test_what_was_decided_and_the_grain_over_time_stand_side_by_side() -> None:
    decisions = Decisions(made=4, changes=1, reasons={"BEST": 3, "CHEAPER": 1})
    grains = [(0.0, "a | b"), (6.0, "a+b")]
    sent = [one(at, 0.1) for at in range(10)]
    live = report("live", summed(sent, grains=grains, decisions=decisions))
    simulated = report("simulated", summed(sent, grains=[(0.0, "a | b")]))

    _, rows = draw.rows(next(draw.by_app([live, simulated])))

    told = {row[0]: row[1:] for row in rows}
    assert told["grain"] == ["a | b from 0 s; a+b from 6 s", "a | b", ""]
    assert told["decisions"] == ["4, 1 for another plan (3 best, 1 cheaper)", "-", ""]
    picture = draw.picture([live, simulated])
    assert "app: grain: 1 = a | b, 2 = a+b" in picture
    assert {"grain, live", "grain, simulated"} <= set(re.findall(">(grain[^<]*)<", picture))


def test_that_nothing_was_decided_is_told_without_reasons() -> None:
    decisions = Decisions(made=0, changes=0, reasons={})

    _, rows = draw.rows(next(draw.by_app([report("live", summed([one(0, 0.1)], decisions=decisions))])))

    assert dict(rows)["decisions"] == "0, 0 for another plan"


def test_of_many_grains_the_first_and_the_last_are_named() -> None:
    grains = [(float(at), f"g{at}") for at in range(9)]

    _, rows = draw.rows(next(draw.by_app([report("live", summed([one(0, 0.1)], grains=grains))])))

    told = dict(rows)["grain"]
    assert told == "g0 from 0 s; g1 from 1 s; g2 from 2 s; 4 more; g7 from 7 s; g8 from 8 s"


def test_several_apps_are_told_of_together() -> None:
    spending = Spending(at=[0.0], rate=[0.01], request=0.0)
    apps = (
        summed([one(at, 0.1) for at in range(8)], spending=spending),
        summed(
            [one(9, 0.9)] * 2, spending=spending, decisions=Decisions(made=2, changes=1, reasons={"HITS": 2})
        ),
    )
    live = msgspec.structs.replace(report("live", apps[0]), apps=apps)
    unknown = msgspec.structs.replace(live, apps=(apps[0], msgspec.structs.replace(apps[1], cost=None)))

    head, rows = draw.totals([live, unknown])

    assert head == ["", "live", "live", "gap"]
    assert {row[0]: row[1:] for row in rows} == {
        "hit rate": ["80.0 %", "80.0 %", "+0.0 points"],
        "requests": ["10", "10", "+0.0 %"],
        "cost": ["$0.2000", "unknown", ""],
        "cost of 1,000": ["$20.0000", "unknown", ""],
        "changes of plan": ["1", "1", "+0.0 %"],
    }
    assert "All apps" in draw.page([live])
