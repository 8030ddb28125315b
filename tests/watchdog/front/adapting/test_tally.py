import numpy as np

from regrain.wire.frames import Timing
from regrain_watchdog.front.adapting import tally as tallies
from regrain_watchdog.front.adapting.tally import Tally


def floats(data):
    return np.frombuffer(data).tolist()


def test_requests_are_numbered_through_and_told_once():
    tally = Tally()
    assert [tally.note(10.0, 1.0), tally.note(30.0, 2.0)] == [0, 1]
    tally.widen(1, 0, 7)

    first = tally.take()
    assert tally.note(5.0, 3.0) == 2
    second = tally.take()

    assert (floats(first.at), floats(first.size), first.first, first.mean_size) == (
        [1.0, 2.0],
        [10.0, 30.0],
        0,
        20.0,
    )
    assert np.frombuffer(first.widened, np.int64).tolist() == [1, 0, 7]
    assert (floats(second.at), second.first, second.widened) == ([3.0], 2, b"")


def test_what_nobody_takes_does_not_grow_for_ever(monkeypatch):
    monkeypatch.setattr(tallies, "MOST", 3)
    tally = Tally()
    for number in range(5):
        tally.note(1.0, float(number))
        tally.widen(number, 0, 1)

    assert (len(tally._at), len(tally._widened)) == (3, 3 * 3)


def test_of_more_than_is_kept_nothing_is_told_since_the_rest_would_look_like_the_end_of_the_load(monkeypatch):
    monkeypatch.setattr(tallies, "MOST", 3)
    tally = Tally()
    for number in range(3):
        tally.note(1.0, float(number))
    assert floats(tally.take().at) == [0.0, 1.0, 2.0]

    for number in range(3, 7):
        tally.note(2.0, float(number))
        tally.widen(number, 0, 1)
    tally.ran("a", [Timing("a", 0.1, 4, 1)])
    taken = tally.take()
    assert (taken.at, taken.size, taken.widened, taken.first, taken.mean_size) == (b"", b"", b"", 7, 2.0)
    assert len(taken.seen({("a", "a"): 1.0})) == 1

    assert tally.note(1.0, 9.0) == 7
    after = tally.take()
    assert (floats(after.at), after.first) == ([9.0], 7)


def test_calls_of_stages_are_added_up_by_group_and_batch_and_told_with_the_share_they_had():
    tally = Tally()
    tally.ran("a+b", [Timing("a", 0.1, 4, 1), Timing("b", 0.3, 8, 2)])
    tally.ran("a+b", [Timing("a", 0.2, 2, 1)])
    tally.ran("a+b", [Timing("a", 0.4, 8, 2), Timing("a", 0.0, 0, 0)])

    four, two = tally.take().seen({("a+b", "a"): 0.5})

    assert (four.stage, four.share, four.units, four.calls, round(four.seconds, 9)) == ("a", 0.5, 12, 3, 0.5)
    assert (two.units, two.calls, two.seconds) == (2, 1, 0.2)
    assert (four.batch, two.batch) == (4.0, 2.0)


def test_a_stages_seconds_are_told_with_the_waits_for_its_leases_as_a_profile_has_them():
    tally = Tally()
    tally.ran("detect", [Timing("detect", 0.25, 1, 1, leased=0.125), Timing("detect", 0.25, 1, 1)])

    (seen,) = tally.take().seen({("detect", "detect"): 0.5})

    assert (seen.calls, seen.seconds) == (2, 0.625)


def test_calls_that_end_while_nothing_comes_are_of_requests_as_large_as_those_that_came_last():
    tally = Tally()
    tally.note(1e6, 1.0)
    tally.take()
    tally.ran("detect", [Timing("detect", 0.25, 1, 1)])

    (seen,) = tally.take().seen({("detect", "detect"): 0.5})

    assert seen.size == 1e6
