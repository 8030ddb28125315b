from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from regrain.errors import SpecError
from regrain_watchdog.simulate.arrivals import Replay, Times
from regrain_watchdog.simulate.sizes import Column, Fixed, Geometric, Lognormal, Uniform
from regrain_watchdog.simulate.trace import Trace

LLM = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:19:04.0319600,110,27
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, **options) -> Trace:
        file = tmp_path / "trace.csv"
        file.write_text(text)
        return Trace(str(file), **options)

    return write


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_dates_are_read_to_the_microsecond_and_a_gap_is_told(write) -> None:
    read = write(LLM).read()

    assert read.drawn(rng())[0].tolist() == pytest.approx([0.0, 0.052, 120.052])
    assert read.columns["ContextTokens"].tolist() == [4808, 3180, 110]
    assert read.notes == ()

    many = "t\n" + "".join(f"{second}\n" for second in [*range(100), 300])
    assert write(many).read().notes == ("nothing came for 201 seconds after second 99",)


def test_what_nobody_draws_from_may_hold_anything(write) -> None:
    read = write("t,user,longitude,size\n0,7,-3.5,2\n1,,x,4\n").read()

    assert read.drawn(rng())[0].tolist() == [0.0, 1.0]
    assert (list(read.columns), len(read.columns)) == (["t", "user", "longitude", "size"], 4)
    assert read.columns["size"].tolist() == [2, 4]
    with pytest.raises(SpecError, match="line 3: user must be a number, 0 or more; it is ''"):
        read.columns["user"]


def test_ends_and_durations_make_begins_in_any_order(write) -> None:
    text = "app,func,end_timestamp,duration\na,f,10.0,9.0\na,g,11.0,10.5\n"

    with pytest.raises(SpecError, match="line 3: this request comes before the one above; say sort = true"):
        write(text, column="end_timestamp", minus="duration").read()
    read = write(text, column="end_timestamp", minus="duration", sort=True).read()

    assert read.drawn(rng())[0].tolist() == [0.0, 0.5]
    assert read.columns["duration"].tolist() == [10.5, 9.0]


def test_counts_fall_within_their_steps(write) -> None:
    read = write("minute,count\n0,3\n1,0\n2,5\n", holds="counts", column="count").read()

    at = read.drawn(rng())[0]

    assert read.span == 180.0
    assert np.histogram(at, bins=[0, 60, 120, 180])[0].tolist() == [3, 0, 5]


def test_numbered_columns_are_summed_over_functions(write) -> None:
    read = write("HashApp,1,2,3\na,1,2,0\nb,4,0,1\n", holds="counts").read()

    assert read.counts.tolist() == [5, 2, 1]


def test_rates_give_as_many_requests_in_the_mean(write) -> None:
    read = write(
        "step_5s,rps\n" + "".join(f"{step},8\n" for step in range(400)), holds="rates", column="rps", step=5.0
    )

    assert len(read.read().drawn(rng())[0]) == pytest.approx(400 * 40, rel=0.03)


def test_a_step_that_is_left_out_is_told(write) -> None:
    read = write("minute,count\n0,3\n1,0\n5,5\n6,1\n", holds="counts", column="count").read()

    assert read.notes == ("line 4 is 4 after the one above, where 1 is usual; it was taken as the next step",)


def test_steps_that_are_told_by_dates_are_told_of_too(write) -> None:
    days = "".join(f"2023-11-16 00:0{minute}:00,1\n" for minute in (0, 1, 2, 3, 6))
    read = write("minute,count\n" + days, holds="counts", column="count").read()

    assert read.notes == (
        "line 6 is 180 after the one above, where 60 is usual; it was taken as the next step",
    )
    assert not write("app,count\na,1\nb,2\n", holds="counts", column="count").read().notes


def test_of_many_gaps_a_few_are_told_and_how_many_more_there_are(write) -> None:
    bursts = (day * 86400 + second / 1000 for day in range(20) for second in range(1000))
    notes = write("t\n" + "".join(f"{at}\n" for at in bursts)).read().notes

    assert len(notes) == 6
    assert notes[-1] == "and 14 more like this"


def test_seconds_are_no_dates_however_many_there_are(write) -> None:
    assert write("t\n10000100\n10000101\n10000102\n").read().span == 2.0


def test_dates_keep_their_zone(write) -> None:
    zones = ("18:17:03.1234567+02:00", "18:17:03.1234567+01:00")
    assert write("t\n" + "".join(f"2023-11-16 {at}\n" for at in zones)).read().span == 3600.0


def test_blank_lines_are_told_but_at_the_end_and_lines_keep_their_numbers(write) -> None:
    read = write("t\n1\n\n2\n   \n3\n\n").read()

    assert read.drawn(rng())[0].tolist() == [0.0, 1.0, 2.0]
    assert read.notes == ("blank lines were left out: 2, from line 3 on",)
    with pytest.raises(SpecError, match="line 5: this request comes before the one above"):
        write("t\n1\n\n2\n1\n").read()
    with pytest.raises(SpecError, match="line 4: t must be a number"):
        write("t\n1\n\nsoon\n").read()
    counted = write("minute,count\n0,3\n\n1,0\n", holds="counts", column="count").read()
    assert counted.notes == ("blank lines were left out: 1, from line 3 on",)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        pytest.param("t\n1\nnan\n", {}, "line 3: t must be a number, 0 or more; it is 'nan'", id="nan"),
        pytest.param("t\n1\n-2\n", {}, "line 3: t must be a number, 0 or more; it is '-2'", id="negative"),
        pytest.param("t\n1\nsoon\n", {}, "line 3: t must be a number", id="a word"),
        pytest.param("t\n2\n1\n", {}, "line 3: this request comes before the one above", id="unordered"),
        pytest.param("t,size\n1\n", {}, "line 2: 1 columns, but the header has 2", id="ragged"),
        pytest.param(
            "t,size\n1,2\n", {"column": "when"}, "has no column 'when'; it has t, size", id="column"
        ),
        pytest.param("t\n", {}, "must have a header and a row at least", id="empty"),
        pytest.param("1.5\n2.5\n", {}, "must name the columns; it begins with '1.5'", id="no header"),
        pytest.param(
            "2023-11-16 18:17:03.97\n2023-11-16 18:17:04.03\n",
            {},
            "must name the columns; it begins with '2023-11-16 18:17:03.97'",
            id="no header but a date",
        ),
        pytest.param("5\n3\n", {"holds": "counts"}, "must be successive steps.*found 5", id="counts alone"),
        pytest.param(
            "1\n3\n4\n", {"holds": "counts"}, "must be successive steps.*found 1", id="counts from 1"
        ),
        pytest.param("f,²,³\na,5,5\n", {"holds": "counts"}, "line 2", id="digits that are no numbers"),
        pytest.param("f," + "9" * 5000 + "\na,5\n", {"holds": "counts"}, "line 2", id="digits without end"),
        pytest.param("f,1,2,4\na,5,5,5\n", {"holds": "counts"}, "found 1, 2, 4", id="a column left out"),
        pytest.param(
            "n\n1e300\n",
            {"holds": "rates"},
            "6e\\+301 requests are more than the 9007199254740992 that a trace may have",
            id="far too many",
        ),
        pytest.param(
            "m,n\n0,1.5\n", {"holds": "counts", "column": "n"}, 'say holds = "rates"', id="fraction"
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(write, text: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        write(text, **options).read()


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x01")

    with pytest.raises(SpecError, match=r"none\.csv cannot be read: No such file"):
        Trace(str(tmp_path / "none.csv")).read()
    with pytest.raises(SpecError, match=r"binary\.csv cannot be read"):
        Trace(str(binary)).read()
    with pytest.raises(SpecError, match="step must be seconds above 0"):
        Trace("x", step=0)


def test_sizes_of_a_trace_go_with_its_requests(write) -> None:
    trace = write(LLM)
    times = Replay(trace, part=(0.0, 0.5)).times(60.0, rng())

    assert Column(trace, "ContextTokens", scale=0.5).draw(times, rng()).tolist() == [2404, 1590]


@pytest.mark.parametrize("options", [{}, {"speed": 2.0}, {"rate": 0.5}])
def test_requests_that_a_trace_only_counts_draw_from_the_column(write, options) -> None:
    counted = write("minute,count\n0,30\n1,50\n", holds="counts", column="count")
    times = Replay(counted, **options).times(60.0, rng())

    drawn = Column(Trace(counted.file), "count").draw(times, rng())

    assert set(times.rows) == {-1}
    assert set(drawn) == {30, 50}


def test_a_trace_that_is_read_otherwise_has_other_rows(write) -> None:
    ends = write("end,took\n10.0,9.0\n11.0,10.5\n", column="end")
    begins = Trace(ends.file, column="end", minus="took", sort=True)
    times = Replay(begins).times(0.5, rng())

    paired = Column(begins, "took").draw(times, rng())
    drawn = [Column(ends, "took").draw(times, np.random.default_rng(seed))[0] for seed in range(20)]

    assert paired.tolist() == [10.5]
    assert set(drawn) == {9.0, 10.5}


def test_requests_of_another_process_draw_from_the_column(write) -> None:
    times = Times(np.arange(500.0), np.full(500, -1))

    drawn = Column(write(LLM), "ContextTokens").draw(times, rng())

    assert set(drawn) == {4808, 3180, 110}


def test_a_column_without_numbers_is_refused(write) -> None:
    with pytest.raises(
        SpecError, match="no numbers in column 'Context'; it has them in ContextTokens, GeneratedTokens"
    ):
        Column(write(LLM), "Context").draw(Times(np.zeros(1), np.zeros(1, dtype=np.int64)), rng())


def test_distributions_have_the_moments_that_they_say() -> None:
    times = Times(np.zeros(20_000), np.full(20_000, -1))

    assert set(Fixed(7).draw(times, rng())) == {7}
    assert np.median(Lognormal(1000, 0.5).draw(times, rng())) == pytest.approx(1000, rel=0.02)
    assert Geometric(4).draw(times, rng()).mean() == pytest.approx(4, rel=0.03)
    assert Geometric(4).draw(times, rng()).min() == 1
    assert set(Uniform(2, 4).draw(times, rng())) == {2, 3, 4}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Fixed(-1), "value must be 0 or more, was -1"),
        (lambda: Lognormal(1, -1), "sigma must be 0 or more"),
        (lambda: Geometric(0.5), "mean must be 1 or more, was 0.5"),
        (lambda: Uniform(3, 2), "ascending and 0 or more, were 3 and 2"),
        (lambda: Column(Trace("x"), "c", scale=0), "scale must be"),
    ],
)
def test_what_is_no_distribution_is_refused(make, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        make()
