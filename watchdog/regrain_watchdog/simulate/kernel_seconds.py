"""How long a dispatch takes: the works of its station, each with a jitter that depends on the request and stage alone.

So plans that are compared see the same luck (common random numbers), however they group the stages.
"""

from __future__ import annotations

import math

import numpy as np

from regrain_watchdog.simulate import rows
from regrain_watchdog.simulate.compiled import compiled
from regrain_watchdog.simulate.rows import Memory
from regrain_watchdog.simulate.state import ITEMS

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
STAGE, ITEM = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xA0761D6478BD642F)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S27, S30, S31, S11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)
UNIFORM = 2.0**-53


@compiled
def mix(bits: np.uint64) -> np.uint64:
    """Return bits that look random (splitmix64: Steele, Lea and Flood 2014)."""
    bits = (bits ^ (bits >> S30)) * FIRST
    bits = (bits ^ (bits >> S27)) * SECOND
    return bits ^ (bits >> S31)


@compiled
def jitter(seed: np.uint64, request: int, stage: int, item: int, cv: float) -> float:
    """Return a lognormal of mean 1 and a standard deviation of `cv`."""
    bits = mix(seed + GOLDEN * np.uint64(request + 1))
    bits = mix(bits + STAGE * np.uint64(stage + 1) + ITEM * np.uint64(item))
    radius = math.sqrt(-2.0 * math.log((np.float64(bits >> S11) + 0.5) * UNIFORM))
    normal = radius * math.cos(2.0 * math.pi * np.float64(mix(bits + GOLDEN) >> S11) * UNIFORM)
    variance = math.log1p(cv * cv)
    return math.exp(math.sqrt(variance) * normal - 0.5 * variance)


@compiled
def dispatch_seconds(s: Memory, row: int, units: list[int], count: int) -> float:
    """Return how long the first `count` of some units take together, and count the calls of their stages."""
    station = rows.stations(s)[row]
    place, rest = _between_sizes(s, row, units, count)
    n_sizes = rows.plans(s)[station.plan].n_sizes
    first = rows.slots(s)[units[0] // ITEMS].request
    item = units[0] % ITEMS if station.scope >= 0 else 0
    seconds = 0.0
    for number in range(station.works, station.works_end):
        work = rows.works(s)[number]
        todo = count
        if work.scope != station.scope and work.scope >= 0:
            todo = 0
            for index in range(count):
                todo += rows.widths(s)[rows.slots(s)[units[index] // ITEMS].request, work.scope]
        if todo == 0:
            continue
        full, part = todo // work.chunk, todo % work.chunk
        whole = work.seconds + work.chunk * n_sizes + place
        other = work.seconds + part * n_sizes + place
        mean = full * rows.seconds(s)[whole] + rows.seconds(s)[other]
        if rest > 0.0:
            beyond = full * rows.seconds(s)[whole + 1] + rows.seconds(s)[other + 1]
            mean += rest * (beyond - mean)
        calls = full + (1 if part else 0)
        if work.cv > 0.0:
            mean *= jitter(rows.seed(s)[0], first, work.stage, item, work.cv / math.sqrt(calls))
        called = rows.called(s)[work.seconds + (2 * todo + calls) // (2 * calls) * n_sizes]
        called.units += todo
        called.calls += calls
        called.took += mean
        seconds += mean
    return seconds


@compiled
def _between_sizes(s: Memory, row: int, units: list[int], count: int) -> tuple[int, float]:
    """Return the size below the mean of some units' requests, as a place, and how far it is to the next, in [0, 1]."""
    plan = rows.plans(s)[rows.stations(s)[row].plan]
    if plan.n_sizes == 1:
        return 0, 0.0
    mean = 0.0
    for index in range(count):
        mean += rows.size(s)[rows.slots(s)[units[index] // ITEMS].request]
    mean /= count
    place = 0
    while place < plan.n_sizes - 2 and rows.sizes(s)[plan.sizes + place + 1] <= mean:
        place += 1
    low, high = rows.sizes(s)[plan.sizes + place], rows.sizes(s)[plan.sizes + place + 1]
    return place, min(1.0, max(0.0, (mean - low) / (high - low)))
