from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_watchdog.policy.load import Arrivals, counts, traits
from regrain_watchdog.simulate.arrivals import MMPP, Diurnal, OnOff, Phase, Poisson, Process, Replay, sequence
from regrain_watchdog.simulate.trace import Trace

rates = st.floats(0.0, 50.0)
processes = st.one_of(
    st.builds(Poisson, rate=rates),
    st.builds(MMPP, rates=st.tuples(rates, rates, rates), dwell=st.tuples(*[st.floats(0.1, 20)] * 3)),
    st.builds(OnOff, rate=rates, on=st.floats(0.1, 9), off=st.floats(0.1, 9), idle=rates),
    st.builds(Diurnal, rate=rates, swing=st.floats(0, 1), day=st.floats(1, 90), noise=st.floats(0, 1)),
)


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def drawn(process: Process, seconds: float, seed: int = 1) -> Arrivals:
    at = process.times(seconds, np.random.default_rng(seed)).at
    return Arrivals(at, np.zeros(len(at)), np.zeros((len(at), 0), dtype=np.int32), seconds)


@settings(max_examples=60, deadline=None)
@given(processes, st.floats(0.1, 60), st.integers(0, 99))
def test_times_ascend_within_the_duration_and_follow_the_seed(
    process: Process, seconds: float, seed: int
) -> None:
    times = process.times(seconds, np.random.default_rng(seed))

    assert (np.diff(times.at) >= 0).all()
    assert ((times.at >= 0) & (times.at <= seconds)).all()
    assert len(times.rows) == len(times.at)
    assert times.at.tolist() == process.times(seconds, np.random.default_rng(seed)).at.tolist()


def test_a_poisson_process_has_its_rate_and_no_bursts() -> None:
    told = traits(drawn(Poisson(20.0), 2000))

    assert told.rate == pytest.approx(20, rel=0.03)
    assert told.cv2 == pytest.approx(1, rel=0.06)


def test_an_mmpp_spends_its_dwell_in_each_state() -> None:
    told = traits(drawn(MMPP((10.0, 40.0), (20.0, 10.0)), 20_000))

    assert told.rate == pytest.approx((10 * 20 + 40 * 10) / 30, rel=0.06)
    assert told.dispersion[1] > 5


def test_an_on_off_process_is_idle_when_it_is_off() -> None:
    found = counts(drawn(OnOff(50.0, on=5.0, off=5.0), 100), 5.0)

    assert (found[1::2] == 0).all()
    assert (found[::2] > 100).all()


def test_a_day_has_its_peak_and_its_trough() -> None:
    found = counts(drawn(Diurnal(20.0, swing=0.9, day=400.0), 400), 100.0)

    assert found[0] > 2500
    assert found[2] < 1500
    assert drawn(Diurnal(20.0, swing=0.9, day=400.0, noise=0.5, step=10), 4000).rate == pytest.approx(
        20, rel=0.15
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(
            lambda: Poisson(-1.0), "rate must be requests a second, 0 or more; was -1", id="negative rate"
        ),
        pytest.param(lambda: Poisson(float("nan")), "rate must be requests a second", id="no rate"),
        pytest.param(
            lambda: MMPP((1.0,), (1.0,)), "same length, 2 or more; they have 1 and 1", id="one state"
        ),
        pytest.param(lambda: MMPP((1.0, 2.0), (1.0,)), "they have 2 and 1", id="lengths"),
        pytest.param(lambda: MMPP((1.0, 2.0), (1.0, 0.0)), "dwell must be seconds", id="dwell"),
        pytest.param(lambda: OnOff(1.0, on=0.0, off=1.0), "on and off must be", id="never on"),
        pytest.param(lambda: Diurnal(1.0, swing=1.5), r"swing must be in \[0, 1\], was 1.5", id="swing"),
        pytest.param(lambda: Diurnal(1.0, noise=9), r"noise must be in \[0, 2\]", id="noise"),
        pytest.param(
            lambda: Replay(Trace("x"), part=(0.5, 0.5)), "part must be two ascending shares", id="part"
        ),
        pytest.param(lambda: Replay(Trace("x"), speed=0), "speed must be", id="speed"),
        pytest.param(lambda: Phase(0.0, Poisson(1.0)), "seconds must be", id="phase"),
    ],
)
def test_what_is_no_process_is_refused(make, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        make()


def test_more_than_fits_is_refused_before_it_is_drawn() -> None:
    with pytest.raises(SpecError, match="1000000000000 requests are more than the 20000000"):
        drawn(Poisson(1e9), 1000)


@pytest.mark.parametrize(
    ("process", "seconds", "said"),
    [
        pytest.param(OnOff(1e6, on=1, off=1), 86400, "43200000000 requests", id="on"),
        pytest.param(OnOff(0.0, on=1, off=9, idle=1e3), 86400, "77760000 requests", id="idle"),
        pytest.param(MMPP((1e6, 1e6), (1.0, 1.0)), 86400, "requests are more than the 20000000", id="states"),
        pytest.param(OnOff(1.0, on=1e-9, off=1e-9), 1, "1e\\+09 changes of the rate", id="blink"),
        pytest.param(OnOff(1.0, on=1e-320, off=1e-320), 1, "inf changes of the rate", id="no time"),
        pytest.param(MMPP((1.0, 1.0), (1e-9, 3e-9)), 1, "5e\\+08 changes of the rate", id="dwell"),
        pytest.param(Diurnal(1.0, noise=1.0, step=1e-9), 60, "6e\\+10 changes of the rate", id="step"),
    ],
)
def test_more_than_fits_in_parts_is_refused_too(process: Process, seconds: float, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        drawn(process, seconds)


def test_phases_have_together_no_more_than_one_load_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regrain_watchdog.simulate.arrivals.MOST", 1000)
    phases = tuple(Phase(10.0, Poisson(60.0)) for _ in range(3))

    assert len(sequence(phases[:1], np.random.default_rng(1)).at) > 500
    with pytest.raises(SpecError, match="requests are more than the 1000 that one load may have"):
        sequence(phases, np.random.default_rng(1))


def trace(folder: Path, times: list[float], **options) -> Trace:
    file = folder / "trace.csv"
    file.write_text("t,size\n" + "".join(f"{time},{number}\n" for number, time in enumerate(times)))
    return Trace(str(file), **options)


def test_a_trace_is_replayed_as_it_is(tmp_path: Path) -> None:
    process = Replay(trace(tmp_path, [5.0, 6.0, 6.5, 9.0, 15.0]))

    assert process.times(5.0, np.random.default_rng(1)).at.tolist() == [0.0, 1.0, 1.5, 4.0]


def test_a_part_of_a_trace_begins_at_its_begin_and_keeps_its_rows(tmp_path: Path) -> None:
    process = Replay(trace(tmp_path, [0.0, 1.0, 5.0, 6.0, 10.0]), part=(0.4, 1.0), speed=2.0)

    times = process.times(3.0, np.random.default_rng(1))

    assert times.at.tolist() == [0.5, 1.0]
    assert times.rows.tolist() == [2, 3]


@pytest.mark.parametrize("rate", [0.5, 2.0, 5.0])
def test_a_trace_at_another_rate_keeps_its_shape(tmp_path: Path, rate: float) -> None:
    at = np.concatenate([np.arange(0, 1000, 1.0), np.arange(1000, 2000, 0.5), [2000.0]])
    process = Replay(trace(tmp_path, at.tolist()), rate=rate * 1.5)

    times = process.times(2000.0, np.random.default_rng(1)).at

    assert len(times) / 2000 == pytest.approx(rate * 1.5, rel=0.06)
    assert (times > 1000).sum() / len(times) == pytest.approx(2 / 3, rel=0.06)


def counted(folder: Path, holds: Literal["counts", "rates"], *counts: float) -> Trace:
    file = folder / "counts.csv"
    file.write_text("n\n" + "".join(f"{count:.0f}\n" for count in counts))
    return Trace(str(file), holds=holds)


def test_of_counts_a_part_takes_what_falls_into_it(tmp_path: Path) -> None:
    at = Replay(counted(tmp_path, "counts", 4000, 10, 30), part=(1 / 6, 1.0)).times(150.0, rng()).at

    first, *others = np.histogram(at, bins=[0, 30, 90, 150])[0].tolist()
    assert first == pytest.approx(2000, rel=0.1)
    assert others == [10, 30]


@pytest.mark.parametrize("holds", ["counts", "rates"])
def test_what_is_not_taken_of_a_trace_may_be_more_than_one_load_may_have(tmp_path: Path, holds) -> None:
    many = counted(tmp_path, holds, 5e9, 40, 60)

    apart = Replay(many, part=(1 / 3, 1.0)).times(120.0, rng())
    thinned = Replay(many, rate=10.0).times(60.0, rng())

    assert (apart.at > 60).mean() == pytest.approx(0.6, rel=0.05)
    assert len(thinned.at) == pytest.approx(1800, rel=0.1)


def test_of_a_trace_of_times_the_part_is_repeated_and_no_more(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("regrain_watchdog.simulate.arrivals.MOST", 1000)
    process = Replay(trace(tmp_path, [float(at) for at in range(1001)]), part=(0.9, 1.0), rate=5.0)

    times = process.times(100.0, rng())

    assert len(times.at) == pytest.approx(500, rel=0.05)
    assert set(times.rows) == set(range(900, 1000))


@pytest.mark.parametrize("options", [{}, {"rate": 1e6}, {"part": (0.0, 0.5)}])
def test_of_a_trace_too_no_more_is_taken_than_one_load_may_have(tmp_path: Path, options) -> None:
    with pytest.raises(SpecError, match="requests are more than the 20000000 that one load may have"):
        Replay(counted(tmp_path, "counts", 5e9), **options).times(30.0, rng())


def test_a_trace_that_is_too_short_says_how_long_it_is(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="lasts 10 seconds, asked for were 11"):
        Replay(trace(tmp_path, [0.0, 10.0])).times(11.0, np.random.default_rng(1))


def test_a_part_without_requests_has_no_rate(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="this part of the trace has no requests"):
        Replay(trace(tmp_path, [0.0, 10.0]), part=(0.3, 0.6), rate=1.0).times(1.0, np.random.default_rng(1))


@pytest.mark.parametrize("seed", range(5))
def test_a_trace_of_rates_is_brought_to_the_rate_that_is_asked_for_however_many_were_drawn(
    tmp_path: Path, seed: int
) -> None:
    process = Replay(counted(tmp_path, "rates", 1, 1, 1, 1), rate=20.0)

    times = process.times(240.0, np.random.default_rng(seed))

    assert len(times.at) == pytest.approx(4800, rel=0.02)


def test_phases_come_one_after_the_other(tmp_path: Path) -> None:
    phases = (
        Phase(10.0, Poisson(0.0)),
        Phase(5.0, Replay(trace(tmp_path, [0.0, 1.0, 9.0]))),
        Phase(10.0, Poisson(9.0)),
    )

    times = sequence(phases, np.random.default_rng(1))

    assert times.at[:2].tolist() == [10.0, 11.0]
    assert times.rows[:3].tolist() == [0, 1, -1]
    assert ((times.at[2:] >= 15) & (times.at[2:] <= 25)).all()
    assert times.trace is None
