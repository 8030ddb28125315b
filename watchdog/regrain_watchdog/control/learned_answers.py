"""Rough latencies and use of a plan's pools, of the numbers that the learned predictor's features are made of."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.control import learned_demand as demand
from regrain_watchdog.control.learned_demand import Plan
from regrain_watchdog.control.learned_load import Seen
from regrain_watchdog.control.learned_rows import Look
from regrain_watchdog.simulate.compiled import compiled

Floats = NDArray[np.float64]

LEVELS = np.array([0.5, 0.95, 0.99])
"""Of the latencies that are told."""


@compiled
def answers(load: Seen, plan: Plan, look: Look) -> Floats:
    """Return (LEVELS + pools,) seconds of a request alone and an exponential wait at the stations; then pools' use."""
    found = np.zeros(len(LEVELS) + len(plan.pools))
    free, mean = 1.0, 0.0
    for place in range(len(plan.stations)):
        pool = len(LEVELS) + int(plan.stations[place, demand.POOL])
        found[pool] += demand.taken(look.asked, place, load.rate)
        free *= 1.0 - look.likely[place]
        mean += look.likely[place] * look.waits[place]
    waits = 1.0 - free
    mean /= max(waits, 1e-9)
    for place in range(len(LEVELS)):
        longer = mean * math.log(max(1.0, waits / (1.0 - LEVELS[place])))
        found[place] = _quantile(look.alone, load.weights, LEVELS[place]) + min(plan.slo, longer)
    for pool in range(len(LEVELS), len(found)):
        found[pool] = min(1.0, found[pool])
    return found


@compiled
def _quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return the least of the values up to which so much of the weight is."""
    found = values.max()
    for value in values:
        passed = 0.0
        for place in range(len(values)):
            passed += weights[place] if values[place] <= value else 0.0
        if passed >= level - 1e-9:
            found = min(found, value)
    return float(found)
