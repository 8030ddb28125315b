"""A load as the learned predictor sees it: what of it a station of some capacity and patience would have to refuse.

That a burst is too much depends on who serves it. So the window is run through simple servers of many capacities and
patiences once, and each plan looks its own stations up.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.predict.traffic import Traffic, heavier
from regrain_watchdog.simulate.compiled import compiled, entry

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

CAPACITIES = np.geomspace(0.125, 16.0, 22)
"""Of the servers, in times the mean rate of the load."""
PATIENCES = np.geomspace(0.001, 64.0, 17)
"""Seconds of work before it at which a server refuses."""
REPLAYED, PARTS, APART = 2000, 4, 3600.0
"""Requests that are replayed at most, parts of the load that they are of, and seconds between these."""
SAMPLE = 48
"""Requests on which common pools are run."""
CLASSES = 6
"""Classes of requests, from the lightest to the heaviest; see policy.predict.traffic."""

_LEAST, _STEP = math.log(CAPACITIES[0]), math.log(CAPACITIES[1] / CAPACITIES[0])
_SOONEST, _LATER = math.log(PATIENCES[0]), math.log(PATIENCES[1] / PATIENCES[0])


class Seen(NamedTuple):
    """A load in the numbers that features are made of; compiled functions take it as it is.

    Attributes:
        rate: requests a second.
        burst: of its process, the most of them a second over the mean.
        spread, speed: how much the index of dispersion of counts is more than 1 over a long time, and how many times a
            second it comes nearer to that; see policy.predict.mmpp.
        weights: (classes,) share of the requests in each class, from the lightest on.
        levels: (CLASSES,) places among the classes, some the same where there are fewer.
        widths: (scopes + 1, classes + 1) mean units of a request of each class, then of all; once per request is the
            last scope, all 1.
        bunches: (scopes + 1,) E[w^2] / E[w] of the units; once per request is the last, 1.
        sizes: (classes + 1,) mean size of the requests of each class, then of all.
        lost: (scopes + 1, CAPACITIES, PATIENCES) the share of the requests that a server refuses whose work is as much
            as the requests bring of a scope.
        at: (requests,) when those come that are replayed: all, or some that follow each other from each of PARTS parts;
            a part long after the one before.
        brings: (scopes + 2, requests) the class of each of these, then its units by scope; once per request is the
            last.
        sample: (scopes + 1, SAMPLE) units by scope of some of them; once per request is the last.
    """

    rate: float
    burst: float
    spread: float
    speed: float
    weights: Floats
    levels: Places
    widths: Floats
    bunches: Floats
    sizes: Floats
    lost: Floats
    at: Floats
    brings: Places
    sample: Places


def seen(load: Arrivals, found: Traffic) -> Seen:
    """Return a load that is not empty in few numbers; `found`: its process and its classes of requests."""
    classes = len(found.weights)
    widths = [np.append(column, found.weights @ column) for column in found.widths.T]
    process, (at, brings) = found.process, _stretch(load, found)
    return Seen(
        rate=load.rate,
        burst=max(process.rates) / max(process.rate, 1e-6),
        spread=process.dispersion(math.inf) - 1.0,
        speed=sum(1.0 / stay for stay in process.stays),
        weights=found.weights,
        levels=np.array([min(place * classes // CLASSES, classes - 1) for place in range(CLASSES)]),
        widths=np.array([*widths, np.ones(classes + 1)]),
        bunches=np.append(found.bunches, 1.0),
        sizes=np.append(found.sizes, found.weights @ found.sizes),
        lost=np.array(
            [_lost(load, work) for work in (*load.widths.T.astype(np.float64), np.ones(len(load)))]
        ),
        at=at,
        brings=brings,
        sample=np.ascontiguousarray(brings[1:, np.linspace(0, len(at) - 1, SAMPLE).astype(np.int64)]),
    )


@compiled
def dispersion(load: Seen, seconds: float) -> float:
    """Return the index of dispersion of the counts of requests in so many seconds; Process.dispersion compiled."""
    times = load.speed * seconds
    return 1.0 + load.spread * (1.0 + math.expm1(-times) / max(times, 1e-12))


@compiled
def refused(load: Seen, scope: int, capacity: float, patience: float) -> float:
    """Return the share that is refused by a server of so many requests a second and so many seconds' patience."""
    table = load.lost[scope]
    row = (math.log(max(capacity, 1e-9) / load.rate) - _LEAST) / _STEP
    column = (math.log(max(patience, 1e-9)) - _SOONEST) / _LATER
    row = min(max(row, 0.0), table.shape[0] - 1.001)
    column = min(max(column, 0.0), table.shape[1] - 1.001)
    i, j = int(row), int(column)
    down, right = row - i, column - j
    share: float = (1.0 - down) * ((1.0 - right) * table[i, j] + right * table[i, j + 1]) + down * (
        (1.0 - right) * table[i + 1, j] + right * table[i + 1, j + 1]
    )
    return share


def _stretch(load: Arrivals, found: Traffic) -> tuple[Floats, Places]:
    """Return `at` and `brings` of Seen."""
    count = len(load)
    kinds = np.empty(count, np.int64)
    ends = np.round(np.cumsum(found.weights) * count)
    kinds[heavier(load)] = np.minimum(np.searchsorted(ends, np.arange(count), "right"), len(ends) - 1)
    at, places = load.at - load.at[0], np.arange(count)
    if count > REPLAYED:
        each = REPLAYED // PARTS
        begins = np.linspace(0, count - each, PARTS).astype(np.int64)
        places = (begins[:, None] + np.arange(each)).ravel()
        ends = np.cumsum(at[begins + each - 1] - at[begins] + APART) - APART
        at = at[places] - np.repeat(at[begins] - np.append(0.0, ends[:-1] + APART), each)
    brings = np.vstack((kinds[places], load.widths[places].T, np.ones(len(places))))
    return at, np.ascontiguousarray(brings, np.int64)


def _lost(load: Arrivals, work: Floats) -> Floats:
    """Return (CAPACITIES, PATIENCES) the share of the requests that are refused."""
    mean = float(work.mean())
    if mean <= 0.0:
        return np.zeros((len(CAPACITIES), len(PATIENCES)))
    return refusals(load.at, work / mean, CAPACITIES * load.rate, PATIENCES)


def _make(digest: int) -> Callable[[Floats, Floats, Floats, Floats], Floats]:
    def refusals(at: Floats, work: Floats, capacities: Floats, patiences: Floats) -> Floats:
        """Return (capacities, patiences) the share of requests that find more seconds of work than a patience.

        The workload of a single server falls by a second a second and rises by w / c with each request that it takes
        (Lindley's recursion with balking).
        """
        if digest < 0:  # never; but so it is compiled anew where this source has changed
            return patiences.reshape(1, -1)
        found = np.zeros((len(capacities), len(patiences)))
        for row in range(len(capacities)):
            for column in range(len(patiences)):
                ahead, before = 0.0, 0.0
                for place in range(len(at)):
                    ahead = max(0.0, ahead - (at[place] - before))
                    before = at[place]
                    if ahead > patiences[column]:
                        found[row, column] += 1.0
                    else:
                        ahead += work[place] / capacities[row]
        return found / len(at)

    return refusals


refusals = entry(_make(zlib.crc32(Path(__file__).read_bytes())))
