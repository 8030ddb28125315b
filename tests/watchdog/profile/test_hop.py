"""What a hop is measured to take, on replicas that serve."""

import asyncio

import pytest

from regrain_watchdog.profile import hop


@pytest.mark.process
def test_a_hop_takes_some_time_and_leaves_nothing_behind():
    found = asyncio.run(hop.measure())

    assert 0 <= found.seconds < 0.1
    assert 0 <= found.per_byte < 1e-6
