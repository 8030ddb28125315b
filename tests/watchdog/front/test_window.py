import pytest

from regrain_watchdog.front.window import Window


def _filled(latencies, *, hit=True, now=100.0):
    window = Window(10)
    for seconds in latencies:
        window.add(seconds, hit=hit, now=now)
    return window


def test_an_empty_window_knows_nothing():
    summary = Window(10).summary(100.0)

    assert (summary.requests, summary.rate, summary.p50, summary.hit_rate) == (0, 0.0, None, None)


@pytest.mark.parametrize("seconds", [0.00005, 0.001, 0.3, 20.0])
def test_a_percentile_is_right_to_three_percent(seconds):
    assert _filled([seconds]).summary(100.0).p50 == pytest.approx(seconds, rel=0.03)


def test_percentiles_tell_the_tail_from_the_middle():
    summary = _filled([0.01] * 94 + [0.1] * 4 + [1.0] * 2).summary(100.0)

    assert (summary.p50, summary.p95, summary.p99) == pytest.approx((0.01, 0.1, 1.0), rel=0.03)


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_what_is_shorter_or_longer_than_every_bin_counts_too(seconds):
    assert _filled([seconds]).summary(100.0).requests == 1


def test_the_rate_is_over_the_time_that_was_measured():
    window = Window(10)
    for tick in range(50):
        window.add(0.01, hit=True, now=100.0 + tick / 10)

    assert window.summary(105.0).rate == pytest.approx(10.0)


def test_what_is_older_than_the_window_is_forgotten():
    window = _filled([0.01], now=100.0)

    assert window.summary(110.9).requests == 1
    assert window.summary(111.0).requests == 0


def test_a_slot_of_the_ring_is_used_again_after_a_pause():
    window = _filled([0.01] * 5, now=100.0)

    window.add(0.01, hit=True, now=111.0)

    assert window.summary(111.0).requests == 1


def test_hit_rate_and_percentiles_leave_out_what_counts_neither_way():
    window = _filled([0.01, 0.01, 0.01])
    window.add(1.0, hit=False, now=100.0)
    window.add(60.0, hit=None, now=100.0)

    summary = window.summary(100.0)
    assert (summary.hit_rate, summary.requests) == (0.75, 5)
    assert summary.p99 == pytest.approx(1.0, rel=0.03)


def test_each_whole_second_is_told_from_the_first_in_which_anything_ended():
    window = Window(seconds=5)
    for now in (100.2, 100.7, 102.1, 103.4):
        window.add(0.01, hit=now != 102.1, now=now)

    told = window.seconds(103.5)

    assert [(second.start, second.requests, second.misses) for second in told] == [
        (100, 2, 0),
        (101, 0, 0),
        (102, 1, 1),
    ]
    assert told[0].p99 == pytest.approx(0.01, rel=0.03)
    assert told[1].p50 is None


def test_seconds_that_are_too_long_ago_are_not_told():
    window = Window(seconds=5)
    window.add(0.01, hit=True, now=100.0)

    assert [second.requests for second in window.seconds(108.0)] == [0] * 5


def test_a_window_that_saw_nothing_has_no_seconds():
    assert Window().seconds(50.0) == []
