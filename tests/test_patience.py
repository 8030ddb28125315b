"""What a second try forgives."""

from __future__ import annotations

from pathlib import Path

import pytest

told = pytest.mark.skipif(
    not Path("/proc/pressure").exists(), reason="this kernel does not tell what was waited for"
)


@told
def test_a_fault_that_comes_and_goes_is_not_tried_away(with_time):
    tries = []

    def attempt(seconds):
        tries.append(seconds)
        assert len(tries) > 1

    with pytest.raises(AssertionError):
        with_time(attempt, 600.0)

    assert tries == [600.0]


def test_what_fails_where_the_machine_stood_still_is_tried_with_more_time(with_time):
    tries = []

    def attempt(seconds):
        tries.append(seconds)
        sum(range(10_000_000))  # in which no other thread gets a turn
        assert len(tries) > 2

    with_time(attempt, 0.01)

    assert tries == [0.01, 0.1, 1.0]
