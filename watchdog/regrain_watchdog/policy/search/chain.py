"""P1 on a chain, exactly: a dynamic programme over (stages done, ticks gone), for all deadlines at once."""

from __future__ import annotations

import numpy as np

from regrain_watchdog.policy.search.partition import Lattice
from regrain_watchdog.policy.search.table import Design, Table


def frontier(table: Table, ways: Lattice, horizon: int) -> list[Design]:
    """Return the cheapest design for each number of ticks where one more tick makes it cheaper; dearest first.

    Args:
        table: of the lattice's groups.
        ways: serial: on each way through it all latencies add up.
        horizon: the most ticks.

    With f(i, t) the least cost at which the stages of ideal i are done within t ticks:

        f(j, t) = min over steps i -> j by group g, configurations c of g:  f(i, t - ticks(g, c)) + cost(g, c).
    """
    best = np.full((ways.ideals, horizon + 1), np.inf)
    best[0] = 0.0
    came = np.full((ways.ideals, horizon + 1), -1, np.int64)
    codes: list[tuple[int, int, int]] = []
    for low, high, group in ways.steps:
        for config, (cost, ticks) in enumerate(zip(table.cost[group], table.ticks[group], strict=True)):
            if ticks > horizon:
                continue
            reached = best[low, : horizon + 1 - ticks] + cost
            target = best[high, ticks:]
            cheaper = reached < target
            if cheaper.any():
                target[cheaper] = reached[cheaper]
                came[high, ticks:][cheaper] = len(codes)
                codes.append((low, group, config))
    end = best[-1]
    found = [
        tick
        for tick in range(horizon + 1)
        if np.isfinite(end[tick]) and (not tick or end[tick] < end[tick - 1])
    ]
    return [_way_back(table, came, codes, ways.ideals - 1, tick) for tick in found]


def _way_back(
    table: Table,
    came: np.ndarray[tuple[int, int], np.dtype[np.int64]],
    codes: list[tuple[int, int, int]],
    ideal: int,
    tick: int,
) -> Design:
    chosen: list[tuple[int, int]] = []
    left = tick
    while ideal:
        ideal, group, config = codes[int(came[ideal, left])]
        chosen.append((group, config))
        left -= int(table.ticks[group][config])
    chosen.reverse()
    return Design(
        tuple(group for group, _ in chosen),
        tuple(config for _, config in chosen),
        float(sum(table.cost[group][config] for group, config in chosen)),
        int(sum(table.ticks[group][config] for group, config in chosen)),
    )
