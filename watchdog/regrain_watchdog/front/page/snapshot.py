"""What the live page is told once a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from regrain_watchdog.front.measure import Measure

_encode = msgspec.json.Encoder().encode


def snapshot(
    status: Mapping[str, object], measure: Measure, misses: Sequence[object], *, now: float, wall: float
) -> bytes:
    """Return GET /status' object with more, as JSON in one line.

    `at`: unix seconds. `now`: CLOCK_MONOTONIC, which the `start` of `seconds` is told in. `totals`: what
    groups and stages have done since the start, so that a reader takes differences over any time it likes.
    """
    told = {
        **status,
        "at": wall,
        "now": now,
        "in_flight": measure.in_flight,
        "seconds": measure.seconds(now),
        "totals": {"groups": measure.groups(), "stages": measure.stages()},
        "misses": misses,
    }
    return _encode(told)
